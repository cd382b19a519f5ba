"""What kind of answer a question wants, and where a line of words has one."""

from __future__ import annotations

import doctest

import pytest

from serving.answering import spans
from serving.answering.spans import Kind, asked_for, spans_of


def test_examples() -> None:
    assert doctest.testmod(spans).failed == 0


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When does the night watch begin?", "when"),
        ("What time does the café open?", "time"),
        ("What is the date of the letter?", "date"),
        ("In which year was the harbour dredged?", "year"),
        ("How much is a cardamom bun?", "amount"),
        ("What is the time limit for appeals?", "text"),
        ("What is the time to maturity?", "text"),
        ("What is the time of high water?", "time"),
        ("At what hours is the bar open?", "time"),
        ("Who trims the lamp?", "text"),
    ],
)
def test_kinds_of_questions(question: str, kind: Kind) -> None:
    assert asked_for(question) == kind


@pytest.mark.parametrize(
    ("kind", "line", "found"),
    [
        ("time", "The night watch begins at 21:40.", ["21:40"]),
        ("time", "Open daily 7 a.m. to 6.30 pm", ["7 a.m.", "6.30 pm"]),
        ("time", "Printed 13:14:32 on till 4", ["13:14:32"]),
        ("time", "Invoice 12:345, part 3.15, ratio 1:90, 12 March 2024", []),
        ("date", "From 12 March 2024, 08:00", ["12 March 2024"]),
        ("when", "From 12 March 2024, 08:00", ["12 March 2024", "08:00"]),
    ],
)
def test_times_and_dates_of_a_line(kind: Kind, line: str, found: list[str]) -> None:
    assert [span.text for span in spans_of(kind, line.split())] == found

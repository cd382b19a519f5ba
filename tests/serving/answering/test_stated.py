"""Values that a page states outright, and questions that it does not answer though nearly."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answering import conflicts, layout, quantities, spans, wanted
from serving.answering.layout import lay_out
from serving.answering.quantities import is_quantity, quantities_in
from serving.answering.reader import read
from serving.answering.stated import find_stated
from serving.answering.types import EvidencePage
from tests.serving.answering.pages import table_page

STEPS = (
    ("Start-up of the press",),
    ("Step 1: Open valve A and wait 30 seconds.",),
    ("Step 2: Set pressure to 3.4 bar",),
    ("Step 3: Heat the plate to 180 \u00b0C, then the die to 165 \u00b0C.",),
    ("Grease the guide every 40 hours. Do not exceed 12 kN.",),
)
SALES = (
    ("Acme in figures",),
    ("Revenue",),
    ("", "2023", "2024"),
    ("North", "812", "934"),
    ("Total", "2,356", "2,585"),
)
SHEET = (
    ("Pump X4",),
    ("Rated voltage", "400 V"),
    ("Maximum flow", "42 m\u00b3/h"),
    ("Weight:", "64 kg"),
    ("Impellers", "3 pieces"),
)
FERRY = (
    ("Skerry ferry, all summer",),
    ("Departure", "Skerry", "Mainland"),
    ("Evening", "18:20", "19:40"),
)
BOARD = (
    ("Minutes of the board",),
    ("The next meeting is on 9 July 2024.",),
    ("Last inspection", "2 March 2024"),
    ("Breaks last 30 minutes. Store the files between 5 \u00b0C and 35 \u00b0C.",),
)
TANKS = (
    ("Managers have 30 days of leave, staff 25 days.",),
    ("The old tank held 400 l, the new tank holds 650 l.",),
)
BUSES = (
    ("Line 9",),
    ("Stop", "Bus 1", "Bus 2"),
    ("Quay", "06:10", "07:25"),
    ("Mill", "06:18", "07:34"),
)


@pytest.mark.parametrize("module", [conflicts, layout, quantities, spans, wanted])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def said(question: str, *pages: Sequence[Sequence[str]]) -> str | None:
    """The value that is surely meant, None if there is none."""
    made: list[EvidencePage] = [
        table_page(rows, page_id=i, rank=i, source=f"doc-{i}.pdf")
        for i, rows in enumerate(pages, 1)
    ]
    best = read(question, made)
    return best[0].text if best and best[0].kind == "stated" and best[0].told else None


@pytest.mark.parametrize(
    ("question", "rows", "value"),
    [
        ("What pressure is set in step 2?", STEPS, "3.4 bar"),
        ("what is the pressure setting", STEPS, "3.4 bar"),
        ("How long do I wait in step 1?", STEPS, "30 seconds"),
        ("What temperature is the die heated to?", STEPS, "165 \u00b0C"),
        ("How often is the guide greased?", STEPS, "40 hours"),
        ("total revenue in 2024", SALES, "2,585"),
        ("What was revenue in 2023?", SALES, "2,356"),
        ("What was revenue in the North in 2024?", SALES, "934"),
        ("What voltage does the pump X4 need?", SHEET, "400 V"),
        ("How heavy is the pump?", SHEET, "64 kg"),
        ("What is the maximum flow?", SHEET, "42 m\u00b3/h"),
        ("How many impellers does the pump have?", SHEET, "3"),
        ("When is the next meeting?", BOARD, "9 July 2024"),
        ("When was the last inspection?", BOARD, "2 March 2024"),
        ("How long does a break last?", BOARD, "30 minutes"),
        ("How many days of leave do staff have?", TANKS, "25 days"),
        ("How many days of leave do managers have?", TANKS, "30 days"),
        ("How many litres does the new tank hold?", TANKS, "650 l"),
        ("When does bus 2 leave Mill?", BUSES, "07:34"),
        ("When does the evening ferry leave Skerry?", FERRY, "18:20"),
    ],
)
def test_a_value_is_read_from_its_step_field_or_table(
    question: str, rows: Sequence[Sequence[str]], value: str
) -> None:
    assert said(question, rows) == value


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("What pressure is set in step 3?", STEPS),
        ("When was the last meeting?", BOARD),
        ("How many litres does the old tank hold?", TANKS),  # it says "held"
        ("How many more days of leave do managers have than staff?", TANKS),
        ("When did the board last meet?", BOARD),
        ("At what temperature are files stored?", BOARD),  # no single one
        ("How many minutes do I wait in step 1?", STEPS),
        ("What is the temperature of the oil?", STEPS),
        ("What temperature is set in step 3?", STEPS),  # two of them
        ("What force may be exceeded?", STEPS),
        ("How long is the guide greased?", STEPS),
        ("What was total revenue in 2022?", SALES),
        ("What was revenue in the West in 2024?", SALES),
        ("What was profit in 2024?", SALES),
        ("What was revenue?", SALES),  # of which year?
        ("What is the minimum flow?", SHEET),
        ("What is the rated current of the pump?", SHEET),
        ("How heavy is the pump X5?", SHEET),
        ("How many valves does the pump have?", SHEET),
        ("When does bus 3 leave Mill?", BUSES),
        ("When does bus 2 leave the station?", BUSES),
    ],
)
def test_another_step_year_unit_or_thing_is_not_answered(
    question: str, rows: Sequence[Sequence[str]]
) -> None:
    assert said(question, rows) is None


def test_a_word_that_no_page_has_is_no_small_matter() -> None:
    """The old rule answers from what is near: of a fee for guests the fee for members."""
    page = table_page((("Club fees",), ("Fee for members", "45.00")))
    assert [r.text for r in read("What is the fee for members?", [page]) if r.told][:1] == ["45.00"]
    assert not any(r.told for r in read("What is the fee for pensioners?", [page])[:1])


@given(st.lists(st.text("0123456789.,:-/%°C kgbarm()", min_size=1, max_size=8), max_size=12))
def test_quantities_lie_within_their_line(words: list[str]) -> None:
    words = [word for text in words for word in text.split()]
    last = 0
    for found in quantities_in(words):
        assert last <= found.first < found.last <= len(words)
        assert found.text in " ".join(words[found.first : found.last])
        last = found.last - 1
    assert isinstance(is_quantity(" ".join(words)), bool)


@given(st.text("What is the pressure of step 2 in A4 1,000 kg?", max_size=60))
def test_any_question_can_be_asked(question: str) -> None:
    pages = [table_page(rows) for rows in (STEPS, SALES, SHEET)]
    for stated in find_stated(question, pages):
        words = stated.page.record.words
        assert set(stated.fact.members.tolist()) <= set(stated.fact.around.tolist())
        assert stated.fact.text in " ".join(words.texts[i] for i in stated.fact.members)


def test_the_row_with_the_code_asked_about_is_shown_whole() -> None:
    rows = (
        ("Display", "Meaning", "What to do"),
        ("E14", "Too hot", "Wait for 25 minutes"),
        ("E27", "Pump blocked", "Call 4410"),
    )
    page = table_page(rows, columns=(0.08, 0.3, 0.6))
    assert read("What does error E27 mean?", [page])[0].quote == "E27 Pump blocked Call 4410"


def test_a_larger_heading_is_no_part_of_the_sentence_below_it() -> None:
    page = table_page((("Annual leave",), ("Staff have 27 days of leave.",)))
    words = page.record.words
    words.boxes[:2, 1] -= 0.01
    assert [len(members) for members in lay_out(words).sentences] == [2, 6]

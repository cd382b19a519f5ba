"""What the verifier lets pass and what it catches."""

from __future__ import annotations

import doctest
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.store import PageRecord
from retrieval.types import Box, PageWords
from serving.answering import spans
from serving.answering.types import Citation, Claim
from serving.answering.verify import check_citation, check_claim, find_quote, verdict_of

LINES = (
    "Inventories 2019 5,409 2018 5,306",
    "Revenue grew by 13.4% to £183.2m in the year to 31 December 2024.",
    "Folasade Brandt, now at Merrow Foods, succeeds him on 1 July 2025.",
    "Total due 6,722.58",
)


def page(*lines: str, page_id: int = 7) -> PageRecord:
    """A page with one line a text, each word a tenth of the page wide at most."""
    texts: list[str] = []
    boxes: list[Box] = []
    numbers: list[int] = []
    for row, line in enumerate(lines):
        for column, word in enumerate(line.split()):
            texts.append(word)
            x, y = column * 0.06, row * 0.1
            boxes.append((x, y, x + 0.05, y + 0.05))
            numbers.append(row)
    words = PageWords(
        tuple(texts),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(numbers, np.int32),
    )
    return PageRecord(page_id, 1, 0, "1", 600.0, 800.0, words, words.boxes, "layer", "", ())


PAGE = page(*LINES)
PAGES = {7: PAGE}


def cite(quote: str, box: Box | None = None, page_id: int = 7) -> Citation:
    place = box or find_quote(quote, PAGE) or (0.0, 0.0, 1.0, 1.0)
    return Citation(page_id, 1, "a.pdf", 0, place, quote)


def claim(text: str, quote: str, arithmetic: str = "") -> Claim:
    return check_claim(Claim(text, (cite(quote),), arithmetic), PAGES)


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Inventories were 5,409 in 2019.", "Inventories 2019 5,409"),
        ("Revenue was £183.2 million.", "grew by 13.4% to £183.2m"),
        ("Revenue was 183.2m, up 13.4 %.", LINES[1]),
        ("The year ended on 2024-12-31.", "the year to 31 December 2024."),
        ("The successor is Folasade Brandt.", "Folasade Brandt, now at Merrow Foods"),
        ("The total due is 6722.58", "Total due 6,722.58"),
        # A misread letter is OCR; it is let pass.
        ("The total due is 6,722.58", "T0tal due 6,722.58".replace("0", "o")),
    ],
)
def test_what_the_page_says_is_supported(text: str, quote: str) -> None:
    checked = claim(text, quote)
    assert checked.verdict == "supported", checked.problems


@pytest.mark.parametrize(
    ("text", "quote", "problem"),
    [
        ("Inventories were 5,490.", "Inventories 2019 5,409", "5,490 does not stand"),
        ("Inventories were 5,409.", "Inventories 2019 5,490", "does not stand on the page"),
        ("Revenue was £193.2m.", LINES[1], "193.2m does not stand"),
        ("It ended on 30 December 2024.", LINES[1], "the date 30 December 2024"),
        ("The successor is Ruth Ellery.", LINES[2], "the name Ruth Ellery"),
        ("Profit fell sharply.", "profit fell sharply by the year", "does not stand on the page"),
    ],
)
def test_what_the_page_does_not_say_is_caught(text: str, quote: str, problem: str) -> None:
    checked = claim(text, quote)
    assert checked.verdict != "supported"
    assert any(problem in said for said in checked.problems), checked.problems


def test_a_box_elsewhere_is_caught() -> None:
    elsewhere = check_citation(cite("Total due 6,722.58", (0.0, 0.0, 0.5, 0.05)), PAGES)
    assert elsewhere.problems == ("the quote stands elsewhere on the page",)
    outside = check_citation(cite("Total due 6,722.58", (0.5, 0.5, 0.4, 0.6)), PAGES)
    assert "box" in outside.problems[0]
    unknown = check_citation(cite("Total due 6,722.58", page_id=99), PAGES)
    assert "not among those found" in unknown.problems[0]


def test_a_sentence_put_together_from_the_page_is_no_quote() -> None:
    made_up = "Merrow Foods grew by 13.4% in 2019"
    assert check_citation(cite(made_up, (0.0, 0.0, 1.0, 1.0)), PAGES).problems


@pytest.mark.parametrize(
    ("step", "holds"),
    [
        ("5,409 - 5,306 = 103", True),
        ("5409 / 5306 = 1.02", True),
        ("(5,409 - 5,306) / 5,306 = 1.9%", True),
        ("5,409 - 5,306 = 113", False),
        ("5,409 - 5,206 = 203", False),
        ("5,306 - 5,409 = -103", True),
        ("5,306 - 5,409 = 103", False),
        ("1 / 0 = 5", False),
    ],
)
def test_an_arithmetic_step_holds_if_its_numbers_stand_there_and_it_is_right(
    step: str, holds: bool
) -> None:
    result = step.rpartition("=")[2].strip()
    checked = claim(f"The figure is {result}.", LINES[0], arithmetic=step)
    assert (checked.verdict == "supported") is holds, checked.problems


@pytest.mark.parametrize(
    ("line", "text", "holds"),
    [
        ("Net income 620", "Net income was 620.", True),
        ("Net income 620", "Net income was -620.", False),
        ("Net income 620", "Net income was \u2212$620 million.", False),
        ("Net income (620)", "Net income was -620.", True),
        ("Net loss 620", "Net income was -620.", True),
        # Outlays stand in brackets in a statement of cash flows.
        ("Capital expenditures (620)", "Capital expenditures were 620.", True),
    ],
)
def test_a_minus_must_be_the_pages(line: str, text: str, holds: bool) -> None:
    record = page(line)
    box = find_quote(line, record) or (0.0, 0.0, 1.0, 1.0)
    checked = check_claim(Claim(text, (cite(line, box),)), {7: record})
    assert (checked.verdict == "supported") is holds, checked.problems


def test_a_claim_that_cites_nothing_is_unsupported() -> None:
    checked = check_claim(Claim("Revenue was £183.2m.", ()), PAGES)
    assert checked.verdict == "unsupported"
    assert verdict_of([checked]) == "unsupported"


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_another_number_is_never_taken_for_the_right_one(right: int, other: int) -> None:
    record = page(f"The amount is {right:,} in all")
    quote = f"The amount is {other:,}"
    cited = Citation(7, 1, "a.pdf", 0, (0.0, 0.0, 0.5, 0.1), quote)
    assert bool(check_citation(cited, {7: record}).problems) is (right != other)


@given(
    st.decimals(0, 10**7, places=2), st.sampled_from(["{:,.2f}", "{:.2f}", "${:,.2f}", "({:,.2f})"])
)
def test_a_number_means_the_same_however_it_is_written(value: Decimal, form: str) -> None:
    said = spans.number_value(form.format(value))
    assert said is not None and abs(said) == value
    assert (said <= 0) == (form.startswith("(") or value == 0)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(spans).failed == 0

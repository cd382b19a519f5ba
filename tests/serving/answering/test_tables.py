"""Numbers of tables: found by row and column, worked out where a formula says so."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.reading_turn import turned_box
from serving.answering import accounts, columns, subject, tables
from serving.answering.cell_reader import SURE_CELL, find_cells
from serving.answering.columns import column_meant, runs_of
from serving.answering.layout import lay_out
from serving.answering.reader import NEAR, read
from serving.answering.subject import subject_fit
from serving.answering.tables import table_cells
from serving.answering.turned_pages import read_turned
from serving.answering.types import Claim
from serving.answering.verify import check_claim
from tests.serving.answering.pages import BALANCE, report, table_page, turned_page


@pytest.mark.parametrize("module", [accounts, columns, subject, tables])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("What is the FY2021 inventory of Acme? Answer in USD millions.", "5,409"),
        ("What were Acme's inventories in 2020?", "5,209"),
        ("How much total assets did Acme have at the end of FY20?", "50,710"),
        ("What is the FY2019 capital expenditure amount for Acme?", "(1,484)"),
        ("What is the year end FY2021 net PP&E for Acme?", "7,597"),
        ("How much was revenue in FY2020?", "65,398"),
    ],
)
def test_the_cell_of_row_and_year(question: str, value: str) -> None:
    best = read(question, report())[0]
    assert best.kind in ("cell", "stated") and best.told
    assert best.text == value and value in best.quote


@pytest.mark.parametrize(
    ("question", "value", "cells"),
    [
        ("What is Acme's FY2021 net working capital?", "5,818", 2),
        ("What is Acme's FY2021 working capital ratio?", "1.42", 2),
        ("What is the FY2021 free cash flow (FCF) of Acme?", "7,699", 2),
        ("What is Acme's FY2021 asset turnover ratio?", "1.32", 3),
        (
            "What is Acme's year-over-year change in revenue from FY2020 to FY2021 (in percent)?",
            "2.5%",
            2,
        ),
        ("What is Acme's FY2021 operating income margin in percent?", "13.6%", 2),
        ("What is Acme's FY2021 net PP&E in USD billions?", "7.60", 1),
    ],
)
def test_a_figure_that_follows_is_spelled_out_and_holds(
    question: str, value: str, cells: int
) -> None:
    pages = report()
    best = read(question, pages)[0]
    assert (best.text, len(best.rests_on) + 1) == (value, cells)
    assert best.arithmetic.endswith(f"= {value}")
    from serving.answering.pipeline import _claim

    records = {page.record.page_id: page.record for page in pages}
    checked = check_claim(_claim(best), records, question)
    assert checked.verdict == "supported", checked.problems
    wrong = Claim(
        best.arithmetic.replace("= ", "= 9"), checked.citations, f"{best.arithmetic[:-1]}9"
    )
    assert check_claim(wrong, records, question).verdict != "supported"


@pytest.mark.parametrize(
    "question",
    [
        "What is the FY2018 inventory of Acme?",  # no such column
        "What is the FY2021 goodwill of Acme?",  # no such row
        "What is the FY2021 inventory of Umbrella Holdings?",  # another company
        "What is Acme's FY2019 net working capital?",  # one operand's year is not there
        "What is Acme's 3 year average operating income margin in percent for FY2021?",
        "What is the total amount?",  # any row's name
    ],
)
def test_what_the_tables_do_not_say_is_no_cell(question: str) -> None:
    assert all(reading.kind != "cell" for reading in read(question, report()))


def test_a_statement_that_is_named_is_preferred() -> None:
    notes = table_page((("Notes",), *BALANCE[2:3], ("Inventories", "1", "2")), page_id=9)
    pages = [notes, *report()]
    found = find_cells("Per the balance sheet, what is the FY2021 inventory of Acme?", pages)
    assert found[0].cell.text == "5,409" and found[0].score >= SURE_CELL


def test_another_day_and_another_shop_are_told_apart() -> None:
    receipt = table_page(
        (("CORNER CAFE",), ("01/05/2018",), ("TOTAL", "9.50")), source="scan-17.jpg"
    )
    asked = "What is the total on the receipt from {} dated {}?"
    assert subject_fit(asked.format("CORNER CAFE", "1 May 2018"), receipt) == 1.0
    assert subject_fit(asked.format("C0RNER CAFE", "01-05-2018"), receipt) > 0.6
    assert subject_fit(asked.format("CORNER CAFE", "02/05/2018"), receipt) < 0.5
    assert subject_fit(asked.format("GRAND HOTEL", "01/05/2018"), receipt) < 0.5


@given(
    columns=st.integers(1, 3),
    years=st.permutations(["2019", "2020", "2021"]),
    values=st.lists(st.integers(0, 10**7), min_size=3, max_size=3),
    bracketed=st.booleans(),
)
def test_every_number_has_its_year_whatever_their_order(
    columns: int, years: list[str], values: list[int], bracketed: bool
) -> None:
    shown = [f"({value:,})" if bracketed else f"{value:,}" for value in values]
    page = table_page((("", *years[:columns]), ("Cash paid for interest", *shown[:columns])))
    words = page.record.words
    found = [
        cell for cell in table_cells(words, lay_out(words)) if cell.label_text.startswith("Cash")
    ]
    assert [(cell.year, cell.text) for cell in found] == list(
        zip(years[:columns], shown[:columns], strict=True)
    )


HARVEST = (
    ("Apples and pears by orchard",),
    ("Crates", "North", "River", "Hill"),
    ("Apples", "1,210", "940", "1,530"),
    ("Pears", "310", "455", "280"),
    ("Plums", "", "75", "60"),
    ("Total", "1,520", "1,470", "1,870"),
)
TRAFFIC = (
    ("Passengers", "Q1", "Q2", "Q3"),
    ("Night train", "4,100", "5,260", "7,900"),
    ("Day train", "9,300", "9,870", "10,400"),
)
QUARTERS = (("Passengers", "Q3 2021", "Q3 2022"), ("Night train", "4,100", "5,260"))
GAPS = (
    ("Pieces", "Q1", "Q2", "Q3"),
    ("Bolts", "5", "6", "7"),
    ("Washers", "-", "-", "n/a"),
    ("Nuts", "10", "20", "30"),
)
CAPITALS = (("Item", "Q1", "Q2", "Q3"), ("VAT", "31", "42", "53"))
DRIVERS = (("Route", "Monday", "Driver", "Tuesday"), ("Ferry", "10", "Anna", "12"))
FARES = (("Ticket", "Adult", "Child", "Senior"), ("Island ferry", "82", "41", "60"))


@pytest.mark.parametrize(
    ("rows", "question", "value"),
    [
        (HARVEST, "How many apples at the River orchard?", "940"),
        (HARVEST, "How many pears on the hill?", "280"),
        (HARVEST, "How many plums by the river?", "75"),
        (TRAFFIC, "How many on the night train in Q3?", "7,900"),
        (TRAFFIC, "How many on the day train in the second quarter?", "9,870"),
        (FARES, "How much is the island ferry for a child?", "41"),
        (QUARTERS, "How many on the night train in Q3 2022?", "5,260"),
        (GAPS, "How many nuts in Q2?", "20"),
        (CAPITALS, "How much is the VAT in Q2?", "42"),
        (DRIVERS, "How many by ferry on Tuesday?", "12"),
    ],
)
def test_the_column_is_the_one_whose_head_the_question_names(
    rows: tuple[tuple[str, ...], ...], question: str, value: str
) -> None:
    found = find_cells(question, [table_page(rows)])
    assert found[0].told and found[0].cell.text == value


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (HARVEST, "How many apples?"),  # no column
        (HARVEST, "How many apples in the North and on the Hill?"),  # two
        (HARVEST, "How many plums in the North?"),  # an empty one
        (TRAFFIC, "How many on the night train in Q4?"),  # one that is not there
        (FARES, "How much is the island ferry?"),
        (QUARTERS, "How many on the night train in Q1 2022?"),  # another quarter of that year
    ],
)
def test_a_column_that_cannot_be_told_gives_no_number(
    rows: tuple[tuple[str, ...], ...], question: str
) -> None:
    found = find_cells(question, [table_page(rows)])
    assert found and not any(cell.told for cell in found)
    passage = read(question, [table_page(rows)])[0]
    label = found[0].cell.label_text
    assert not passage.told and passage.quote.startswith(label)


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        ((("Passengers", "Q1"), ("Night train", "4,100")), "How many on the night train in Q4?"),
        (TRAFFIC, "How many on the night train in the last quarter 2022?"),
    ],
)
def test_another_period_is_no_answer(rows: tuple[tuple[str, ...], ...], question: str) -> None:
    page = table_page(rows)
    assert not any(cell.told for cell in find_cells(question, [page]))
    assert not any(reading.told for reading in read(question, [page]))


@pytest.mark.parametrize(
    ("rows", "question", "value"),
    [
        ((("Subtotal", "", "157.75"), ("Tax", "20%", "31.55")), "How much is the tax?", "31.55"),
        (
            (("Item", "Amount", "Share"), ("Gravel", "1,200", "12%")),
            "What percentage is gravel?",
            "12%",
        ),
    ],
)
def test_a_rate_beside_an_amount_hides_neither(
    rows: tuple[tuple[str, ...], ...], question: str, value: str
) -> None:
    first = read(question, [table_page(rows)])[0]
    assert first.told and first.text == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("last quarter 2022", {"last", "quarter", "2022"}),
        ("quarter 1,000", {"quarter"}),
        ("FY98", {"1998", "fy"}),
        ("can't", {"can't"}),
    ],
)
def test_what_a_head_says(text: str, said: set[str]) -> None:
    assert columns.tokens(text) == said


def test_one_column_of_numbers_needs_no_head() -> None:
    page = table_page((("Ticket", "Price"), ("Island ferry", "82"), ("Harbour tour", "140")))
    found = find_cells("How much is the harbour tour?", [page])
    assert found[0].told and found[0].cell.text == "140"


@given(
    heads=st.permutations(["Q1", "Q2", "Q3", "Q4", "March", "Lisbon", "Freight", "2019"]),
    asked=st.integers(0, 2),
    left=st.booleans(),
)
def test_every_column_is_told_by_its_own_head(heads: list[str], asked: int, left: bool) -> None:
    values = ["31,415", "92", "6,535"]
    width = max(map(len, values))
    shown = [value.ljust(width) if left else value for value in values]
    page = table_page((("Item", *heads[:3]), ("Copper wire", *shown)))
    words = page.record.words
    layout = lay_out(words)
    (run,) = runs_of(words, layout, 1)
    question = f"How much copper wire for {heads[asked]}?"
    assert column_meant(question, words, layout, run) == asked
    assert column_meant("How much copper wire?", words, layout, run) is None


@given(st.integers(1, 3))
def test_tables_on_pages_that_lie_sideways(quarters: int) -> None:
    """A cell, and one worked out of two others; cited where they lie."""
    lying = [turned_page(page, quarters) for page in report()]
    for question in (
        "What is the FY2019 capital expenditure amount for Acme?",
        "What is Acme's FY2021 net working capital?",
    ):
        upright, best = read(question, report())[0], read_turned(question, lying, NEAR)[0]
        assert (best.text, best.quote, best.kind) == (upright.text, upright.quote, upright.kind)
        assert best.page in lying
        parts = zip((best, *best.rests_on), (upright, *upright.rests_on), strict=True)
        for found, expected in parts:
            assert turned_box(found.box, quarters) == pytest.approx(expected.box, abs=1e-5)
            assert turned_box(found.around, quarters) == pytest.approx(expected.around, abs=1e-5)

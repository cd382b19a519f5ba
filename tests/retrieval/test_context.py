"""What stands for a document, and years written in full on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.context import FIRST_WORDS, document_context, plain_years


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("FY22 revenue", "FY 2022 revenue"),
        ("FY2022", "FY 2022"),
        ("FY 2022", "FY 2022"),
        ("FY'22 and FY 21", "FY 2022 and FY 2021"),
        ("fy\u201998", "FY 1998"),
        ("Q3'19", "Q3 2019"),
        ("Q3 2019", "Q3 2019"),
        ("Q1 FY23 and H2 2021", "Q1 2023 and H2 2021"),
        ("FY70 to FY69", "FY 1970 to FY 2069"),
        ("COMFY22 is a product", "COMFY22 is a product"),
        ("part FY223", "part FY223"),
        ("no years here", "no years here"),
        ("", ""),
    ],
)
def test_fiscal_shorthand_is_written_out(written: str, plain: str) -> None:
    assert plain_years(written) == plain


@given(st.text(alphabet="FYQHfyqh0123456789 '\u2019-", max_size=40))
def test_writing_years_out_twice_changes_nothing_more(text: str) -> None:
    once = plain_years(text)
    assert plain_years(once) == once


def test_a_file_name_is_cut_where_people_join_words() -> None:
    context = document_context("/a/3M_2018-AnnualReport(final).pdf", "", {}, ())
    words = context.split()
    for word in ("3M", "2018", "AnnualReport", "Annual", "Report", "final"):
        assert word in words, context
    assert "pdf" not in context and "/a" not in context


def test_everything_a_document_says_about_itself_is_there() -> None:
    metadata = {"firm": "AMD", "year": 2022, "draft": True}
    context = document_context("FY22.pdf", "Interim report", metadata, ("Cover", "page"))
    assert "FY 2022" in context
    for said in ("Interim report", "AMD", "2022", "Cover page"):
        assert said in context
    assert "True" not in context


def test_only_the_first_words_count() -> None:
    words = [f"word{i}" for i in range(500)]
    context = document_context("x.pdf", "", {}, words)
    assert f"word{FIRST_WORDS - 1}" in context.split()
    assert f"word{FIRST_WORDS}" not in context.split()

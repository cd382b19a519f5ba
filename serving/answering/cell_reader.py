"""The table cell that answers: the row that is called what the question asks for, in the column
of the year that it names, in the statement that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.answering.accounts import Statement, statements_in, terms_in
from serving.answering.layout import lay_out
from serving.answering.spans import focus_of
from serving.answering.subject import subject_fit
from serving.answering.tables import Cell, heading, likeness, says_something, table_cells, years_in
from serving.answering.types import EvidencePage

# Fitted on the development half of the evaluation questions (docs/BENCHMARKS.md); a cell counts
# as sure just below the least sure of those that were right there.
SURE_CELL = 0.75
_OTHER_STATEMENT = 0.6
# Without a term of accounts a row may be called what is asked about, and say another thing of it.
_WHOLE_NAME = 0.9
_PART_OF_A_NAME = 0.6
_NO_YEAR = 0.6
_FIRST_COLUMN = 0.9
_RANK = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class FoundCell:
    """A cell, its page, and how well it answers, in [0, 1]."""

    page: EvidencePage
    cell: Cell
    score: float


def find_cells(
    question: str,
    pages: Sequence[EvidencePage],
    *,
    wanted: str | None = None,
    year: str | None = None,
    about: str | None = None,
) -> list[FoundCell]:
    """Cells that answer, best first. ``wanted`` and ``year`` are what to look for where that is
    a part of what is asked (an operand of a ratio); ``about`` is the question that says whose."""
    wanted = wanted or focus_of(question)
    if not says_something(wanted):
        return []  # "the total amount" is any row's
    asked_years = [year] if year else (years_in(wanted) or years_in(question))
    years = list(dict.fromkeys(asked_years))
    statements = statements_in(question) or {term.statement for term in terms_in(wanted)}
    found = []
    for page in pages:
        if not len(page.record.words):
            continue
        layout = lay_out(page.record.words)
        head = heading(page.record.words, layout)
        fit = _page_fit(about or question, page, head, statements)
        name = _without_subject(wanted, page)
        for place, cell in enumerate(cells := table_cells(page.record.words, layout)):
            like = likeness(cell.label_text, name)
            if like <= 0.3:
                continue
            if like < _WHOLE_NAME and not terms_in(wanted):
                like *= _PART_OF_A_NAME
            first = place == 0 or cells[place - 1].row != cell.row
            found.append(FoundCell(page, cell, like * fit * _year_fit(cell, years, first)))
    return sorted(found, key=lambda cell: -cell.score)


def _year_fit(cell: Cell, years: list[str], first: bool) -> float:
    if len(years) == 1:
        if cell.year is None:
            return _NO_YEAR
        return 1.0 if cell.year == years[0] else 0.0
    if not years:
        return _FIRST_COLUMN if first else 0.3
    return 0.5 if cell.year in years else 0.0


def _page_fit(question: str, page: EvidencePage, head: str, statements: set[Statement]) -> float:
    fit = subject_fit(question, page) * (1 - _RANK * (page.hit.rank - 1))
    if statements:
        named = statements_in(head)
        fit *= 1.0 if named & statements else _OTHER_STATEMENT
    return fit


def _without_subject(wanted: str, page: EvidencePage) -> str:
    """What is asked for without whose it is: "total assets did Costco have" of Costco's report."""
    source = re.sub(r"[\W_]+", "", page.hit.source.rsplit("/", 1)[-1] + page.hit.title).casefold()
    kept = []
    for word in wanted.split():
        plain = re.sub(r"['\u2019]s$|\W+", "", word)
        capital = plain[:1].isupper() or plain[:1].isdigit()
        if not (capital and plain.casefold() in source):
            kept.append(word)
    return " ".join(kept)

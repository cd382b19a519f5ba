"""The table cell that answers: the row that is called what the question asks for, in the column
of the year or of other words that it names, in the statement that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from serving.answering.accounts import Statement, statements_in, terms_in
from serving.answering.columns import column_meant, of_other_period, runs_of
from serving.answering.layout import Layout, lay_out
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
_YEAR_NOT_ASKED = 0.9
_RANK = 0.01
_YEARS = re.compile(r"\b(?:FY ?)?(?:19|20)\d\d\b|\bFY ?\d\d\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class FoundCell:
    """A cell, its page, and how well it answers, in [0, 1]. ``told`` False: which of its row's
    numbers is meant cannot be told from the question."""

    page: EvidencePage
    cell: Cell
    score: float
    told: bool = True


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
        # Of an operand of a formula the year is known, and the words of the question are not its.
        asked = f"{_YEARS.sub(' ', wanted)} {year}" if year else question
        for _, group in groupby(table_cells(page.record.words, layout), key=lambda cell: cell.row):
            row = list(group)
            like = likeness(row[0].label_text, name)
            if like <= 0.3:
                continue
            if like < _WHOLE_NAME and not terms_in(wanted):
                like *= _PART_OF_A_NAME
            for cell, column_fit, told in _in_column(asked, row, years, head, page, layout):
                found.append(FoundCell(page, cell, like * fit * column_fit, told))
    return sorted(found, key=lambda cell: -cell.score)


def _in_column(
    question: str, row: list[Cell], years: list[str], head: str, page: EvidencePage, layout: Layout
) -> list[tuple[Cell, float, bool]]:
    """Cells of one row that the question may mean, how well their columns fit it, and whether
    the column can be told from the others."""
    if len(years) > 1:
        return [(cell, 0.5 if cell.year in years else 0.0, True) for cell in row]
    fit = 1.0 if years else _YEAR_NOT_ASKED
    if years and any(cell.year for cell in row):
        row = [cell for cell in row if cell.year == years[0]]
        if len(row) < 2:
            return [(cell, fit, not _of_other_period(question, cell, page, layout)) for cell in row]
    elif years and years[0] not in head:
        fit = _NO_YEAR
    meant = _meant(question, row, page, layout)
    if meant is None:
        return [(cell, fit, False) for cell in row]
    return [(cell, fit, True) for cell in row if cell is meant]


def _meant(question: str, row: list[Cell], page: EvidencePage, layout: Layout) -> Cell | None:
    words = page.record.words
    in_run = False
    for run in runs_of(words, layout, row[0].row):
        of_run = {run.of(int(cell.members[0])): cell for cell in row}
        if set(of_run) - {None}:
            in_run = True
            column = column_meant(question, words, layout, run)
            if column is not None and column in of_run:
                return of_run[column]
    return row[0] if len(row) == 1 and not in_run else None


def _of_other_period(question: str, cell: Cell, page: EvidencePage, layout: Layout) -> bool:
    words = page.record.words
    for run in runs_of(words, layout, cell.row):
        place = run.of(int(cell.members[0]))
        if place is not None:
            return of_other_period(question, words, layout, run, place)
    return False


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

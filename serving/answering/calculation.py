"""Figures that follow from two or three cells by a formula that everyone agrees on, spelled out.

Only where every cell stands in the statement and the column that the formula means; what a
question defines in a way of its own, or wants over many years, is left to a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from serving.answering.accounts import terms_in
from serving.answering.cell_reader import SURE_CELL, FoundCell, find_cells
from serving.answering.spans import focus_of
from serving.answering.tables import years_in
from serving.answering.types import EvidencePage

_PERCENT = re.compile(r"%|percent", re.IGNORECASE)
_CHANGE = re.compile(r"\b(?:year.over.year|yoy|annual) (?:change|growth)|\bgrowth rate\b", re.I)
_MARGIN = re.compile(r"\bmargin\b", re.IGNORECASE)
_LONG = re.compile(r"\baverage\b|\b\d.year\b|\bcagr\b", re.IGNORECASE)
_BILLIONS = re.compile(r"\b(?:in|usd) billions?\b", re.IGNORECASE)
_IN_MILLIONS = re.compile(r"\bmillions?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Formula:
    """``step`` writes the step out of the operands' numbers; ``result`` works it out. Operands
    are what to look for and how many years before the one asked for."""

    operands: tuple[tuple[str, int], ...]
    step: str
    result: Callable[..., Decimal]


@dataclass(frozen=True, slots=True, eq=False)
class Worked:
    """A figure with the cells it rests on. ``arithmetic`` is "12 - 5 = 7"."""

    text: str
    arithmetic: str
    cells: tuple[FoundCell, ...]
    score: float


_NAMED: tuple[tuple[re.Pattern[str], Formula], ...] = (
    (
        re.compile(r"\b(?:working capital|current) ratio\b", re.I),
        Formula(
            (("total current assets", 0), ("total current liabilities", 0)),
            "{0} / {1}",
            lambda a, b: a / b,
        ),
    ),
    (
        re.compile(r"\bworking capital\b(?! (?:ratio|turnover))", re.I),
        Formula(
            (("total current assets", 0), ("total current liabilities", 0)),
            "{0} - {1}",
            lambda a, b: a - b,
        ),
    ),
    (
        re.compile(r"\bfree cash ?flow\b(?! conver)|\bFCF\b", re.I),
        Formula(
            (("net cash provided by operating activities", 0), ("capital expenditures", 0)),
            "{0} - {1}",
            lambda a, b: a - b,
        ),
    ),
    (
        re.compile(r"\bfixed asset turnover\b", re.I),
        Formula(
            (("revenue", 0), ("property, plant and equipment, net", 0), ("pp&e net", 1)),
            "{0} / (({1} + {2}) / 2)",
            lambda a, b, c: a / ((b + c) / 2),
        ),
    ),
    (
        re.compile(r"(?<!fixed )\basset turnover\b", re.I),
        Formula(
            (("total revenue", 0), ("total assets", 0), ("total assets", 1)),
            "{0} / (({1} + {2}) / 2)",
            lambda a, b, c: a / ((b + c) / 2),
        ),
    ),
)


def work_out(question: str, pages: Sequence[EvidencePage]) -> Worked | None:
    """The figure asked for, if a formula gives it from cells that are surely the ones meant."""
    focus = focus_of(question)
    years = sorted(set(years_in(focus) or years_in(question)))
    if not years:
        return None
    formula = _formula(_asked(question, focus))
    if formula is None:
        return None
    operands = []
    for name, back in formula.operands:
        year = str(int(years[-1]) - back)
        # A statement named in the question is not every operand's.
        asked = f"{name} {question}" if len(formula.operands) == 1 else name
        found = find_cells(asked, pages, wanted=name, year=year, about=question)
        if not found or found[0].score < SURE_CELL or not found[0].told:
            return None
        operands.append(found[0])
    return _worked(formula, operands, percent=_percent(question))


def in_billions(question: str, found: FoundCell) -> Worked | None:
    """A figure that a table gives in millions, where billions were asked for."""
    head = " ".join(found.page.record.words.texts[:80])
    if not _BILLIONS.search(question) or not _IN_MILLIONS.search(head):
        return None
    formula = Formula((), "{0} / 1000", lambda a: a / 1000)
    return _worked(formula, [found], percent=False)


def _asked(question: str, focus: str) -> str:
    """The focus with what follows it in its clause: "change in revenue from FY2016 to FY2017"."""
    at = max(0, question.find(focus))
    return re.split(r"[?.(:]", question[at:], maxsplit=1)[0]


def _formula(focus: str) -> Formula | None:
    if _LONG.search(focus):
        return None
    for pattern, formula in _NAMED:
        if pattern.search(focus):
            return formula
    terms = terms_in(focus)
    if _CHANGE.search(focus) and len(terms) == 1:
        wanted = terms[0].shown.split(",")[0] if terms[0].name != "revenue" else "total revenue"
        return Formula(((wanted, 0), (wanted, 1)), "({0} - {1}) / {1}", lambda a, b: (a - b) / b)
    if _MARGIN.search(focus) and terms and terms[0].name in ("operating-income", "net-income"):
        wanted = terms[0].shown.split(",")[0]
        return Formula(((wanted, 0), ("total revenue", 0)), "{0} / {1}", lambda a, b: a / b)
    return None


def _percent(question: str) -> bool:
    return bool(
        _PERCENT.search(question) and (_CHANGE.search(question) or _MARGIN.search(question))
    )


def _worked(formula: Formula, operands: list[FoundCell], *, percent: bool) -> Worked | None:
    """Numbers without their brackets: what was paid stands in brackets and is taken away."""
    values = [abs(found.cell.value) for found in operands]
    try:
        result = formula.result(*values)
    except ArithmeticError:
        return None
    shown = [f"{value:,}" for value in values]
    if percent:
        said = f"{result * 100:.1f}%"
    elif "/" in formula.step:
        said = f"{result:.2f}"
    else:
        said = f"{result:,}"
    arithmetic = f"{formula.step.format(*shown)} = {said}"
    return Worked(said, arithmetic, tuple(operands), min(found.score for found in operands))

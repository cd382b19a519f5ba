"""The embedded reader: the sentence, table cell or labelled field that answers, with its place.

It phrases nothing. A number is taken from the table whose row and column are called what the
question asks for ("Inventories" under "2019"), or worked out from such cells by a formula that
everyone agrees on, spelled out; a value from where its row speaks for the question ("Total:
6.00"); otherwise the sentence that says most of what was asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from retrieval.types import FloatArray
from serving.answering.accounts import terms_in
from serving.answering.calculation import in_billions, work_out
from serving.answering.cell_reader import SURE_CELL, FoundCell, find_cells
from serving.answering.columns import Run, column_meant, runs_of
from serving.answering.layout import Indices, Layout, cells, lay_out, union
from serving.answering.passages import best_of, nearest
from serving.answering.reading import Reading
from serving.answering.spans import YEAR, Kind, Span, asked_for, focus_of, number_value, spans_of
from serving.answering.stated import Stated, find_stated, missing_words
from serving.answering.subject import missing_names, subject_fit
from serving.answering.types import EvidencePage

# Fitted on the development half of the evaluation questions (docs/BENCHMARKS.md).
# From this score on a reading is worth showing.
NEAR = 0.1
_NEARLY_ALL = 0.5
_COLUMN = 0.8
_ABOVE_ROWS = 30
_UNASKED_LABEL = 0.5
_SAID = 0.5
# Running text has words beside those asked for by its nature.
_RUNNING_TEXT = 0.3
_BARE = 0.5
_NO_NO_YEAR = 0.75
_PAGE_DISTANCE = 6.0
_RIVAL = 0.6
_OTHER_YEAR = 0.4
_NO_YEAR = 0.75
_LOWER = 0.08
_QUALIFIED = 0.5
# Nobody asks for an amount that is nothing; taxes at 0 % and change are.
_NOTHING = 0.4
# A term of accounts wants its statement's cell: amounts found otherwise were wrong five times of
# six on the development half.
_NO_CELL = 0.3
# What is stated outright is right more often than any other reading there.
_STATED = 0.9
# Words that make of an amount another amount: a total before tax is not the total.
_OTHERWISE = frozenset(
    (
        *("sub", "subtotal", "excl", "excluding", "exclusive", "before", "tax", "gst", "vat"),
        *("savings", "saving", "discount", "change", "qty", "quantity", "items", "item"),
        *("rounding", "adjustment", "deposit", "per", "average", "taxable", "tendered"),
    )
)
MOMENTS: tuple[Kind, ...] = ("date", "time", "when", "year")
_MONEY = re.compile(r"[.,]\d|[^\d\s.,()-]")
_CONTENT = re.compile(r"[^\W\d_]{2,}")


def read(question: str, pages: Sequence[EvidencePage], near: float = NEAR) -> list[Reading]:
    """Possible answers, best first; at least the nearest sentences if the pages have words.

    Where no value has a score of ``near``, sentences that say nearly all that was asked count too.
    """
    kind = asked_for(question)
    years = {match[1] for match in YEAR.finditer(question)}
    pages = [page for page in pages if len(page.record.words) and page.evidence.size]
    if not pages:
        return []
    trusts = [_trust(page, pages) * subject_fit(question, page) for page in pages]
    found: list[Reading] = []
    if kind in ("amount", "percent", "count", *MOMENTS):
        for page, trust in zip(pages, trusts, strict=True):
            layout = lay_out(page.record.words)
            found.extend(_values(page, layout, kind, years, trust, question))
    if terms_in(focus_of(question)):
        found = [replace(reading, score=reading.score * _NO_CELL) for reading in found]
    if not found:
        found = nearest(question, pages, trusts, kind)
    elif max(reading.score for reading in found) < near:
        # No value speaks for the question. A sentence may, if it says nearly all of it.
        sentences = nearest(question, pages, trusts, "text")
        found += [reading for reading in sentences if reading.score >= _NEARLY_ALL]
    found.sort(key=lambda reading: -reading.score)
    if "total" in question.lower():
        found = _whole(found)
    found = _with_all_words(question, found)
    if kind in ("amount", "percent", "count", "computed"):
        found = [*_from_tables(question, pages), *found]
    stated = _stated(question, pages)
    # A row whose cell is surely meant decides between values that are stated equally well.
    if any(not reading.told for reading in stated) and found and found[0].kind == "cell":
        return [*found, *stated]
    return [*stated, *found]


def _with_all_words(question: str, found: list[Reading]) -> list[Reading]:
    """``found``, those marked as not told whose page lacks a word of the question altogether: it
    asks for something that this page does not speak of."""
    lacking: dict[int, bool] = {}
    checked = []
    for reading in found:
        page_id = reading.page.record.page_id
        if page_id not in lacking:
            lacking[page_id] = bool(missing_words(question, reading.page))
        checked.append(replace(reading, told=False) if lacking[page_id] else reading)
    return checked


def _stated(question: str, pages: Sequence[EvidencePage]) -> list[Reading]:
    """The values that pages state outright, the best of each document that states it as well as
    the first; not told where a document has two of them."""
    found = find_stated(question, pages)
    of_document: dict[int, list[Stated]] = {}
    for stated in found:
        if stated.rank == found[0].rank:
            of_document.setdefault(stated.page.record.doc_id, []).append(stated)
    return [
        _of_fact(first, told=len({s.fact.text for s in (first, *others)}) == 1)
        for first, *others in of_document.values()
    ]


def _of_fact(stated: Stated, *, told: bool) -> Reading:
    words, fact = stated.page.record.words, stated.fact
    return Reading(
        stated.page,
        fact.text,
        union(words.boxes, fact.members),
        " ".join(words.texts[i] for i in fact.around),
        union(words.boxes, fact.around),
        _STATED,
        "stated",
        told=told,
    )


def _from_tables(question: str, pages: Sequence[EvidencePage]) -> list[Reading]:
    """The figure that a formula gives, or else the cell, if it is surely the one meant."""
    worked = work_out(question, pages)
    # A share is of something that its cell's label does not say; a ratio that a page gives may
    # be defined in another way than the question does.
    stated = asked_for(question) not in ("percent", "computed")
    cells = find_cells(question, pages) if stated and worked is None else []
    if cells and missing_names(question, cells[0].page):
        cells = [replace(cells[0], told=False)]  # it is about something else
    if cells and cells[0].score >= SURE_CELL and cells[0].told:
        worked = in_billions(question, cells[0])
    if worked is not None:
        first, *others = (_of_cell(cell) for cell in worked.cells)
        said = replace(
            first,
            text=worked.text,
            score=worked.score,
            arithmetic=worked.arithmetic,
            rests_on=tuple(others),
        )
        return [said]
    sure = [cell for cell in cells if cell.score >= SURE_CELL]
    of_document = {cell.page.record.doc_id: cell for cell in reversed(sure)}
    return [_of_cell(cell) for cell in sure if of_document[cell.page.record.doc_id] is cell]


def _of_cell(found: FoundCell) -> Reading:
    words, cell = found.page.record.words, found.cell
    around = _in_row(cell.members, cell.label, words.boxes)
    if not found.told:
        around = lay_out(words).rows[cell.row]
    return Reading(
        found.page,
        cell.text,
        union(words.boxes, cell.members),
        " ".join(words.texts[i] for i in around),
        union(words.boxes, around),
        found.score,
        "cell",
        told=found.told,
    )


def _whole(found: list[Reading]) -> list[Reading]:
    """``found`` with the largest of the totals first that the best page offers: a total is not
    less than its parts (before tax, of one rate, of one kind), whatever they are called."""
    rivals = [
        reading
        for reading in found
        if reading.page is found[0].page
        and reading.score >= _RIVAL * found[0].score
        and "total" in reading.quote.lower()
    ]
    if not rivals:
        return found
    best = max(rivals, key=lambda reading: abs(number_value(reading.text) or Decimal(0)))
    first = replace(best, score=found[0].score)
    return [first, *(reading for reading in found if reading is not best)]


def _trust(page: EvidencePage, pages: Sequence[EvidencePage]) -> float:
    """How far a page counts, by how much worse than the best one it was found."""
    best = max(other.hit.score for other in pages)
    return math.exp(-_PAGE_DISTANCE * (best - page.hit.score))


def _values(
    page: EvidencePage,
    layout: Layout,
    kind: Kind,
    years: set[str],
    trust: float,
    question: str,
) -> list[Reading]:
    words, boxes = page.record.words, page.record.words.boxes
    asked = question.lower()
    found: list[Reading] = []
    for number, row in enumerate(layout.rows):
        runs = runs_of(words, layout, number) if kind not in MOMENTS else []
        of_runs: list[list[tuple[int, Reading]]] = [[] for _ in runs]
        for span in spans_of(kind, [words.texts[i] for i in row]):
            members = row[span.first : span.last]
            beside, label = _beside(row, span, boxes)
            # A row's label says what the value is of, its column's head of which year or kind.
            own = best_of(page.focus, beside)
            column = _above(layout, boxes, number, members)
            held = np.maximum(own, _COLUMN * best_of(page.focus, column))
            score = float(held.sum())
            score *= 1 - _UNASKED_LABEL * _unasked(page, label)
            if kind == "amount" and not _MONEY.search(span.text):
                score *= _BARE
            score *= _year_fit(page, years, layout, boxes, number, members, kind)
            score *= _QUALIFIED ** _qualifiers(page, label, asked)
            if kind == "amount" and span.value == 0:
                score *= _NOTHING
            score += _LOWER * float(boxes[members[0], 1])
            around = _in_row(members, label, boxes)
            reading = Reading(
                page,
                span.text,
                union(boxes, members),
                " ".join(words.texts[i] for i in around),
                union(boxes, around),
                min(1.0, score) * trust,
                kind,
            )
            at = [(i, run.of(int(members[0]))) for i, run in enumerate(runs)]
            for i, place in at:
                if place is not None:
                    of_runs[i].append((place, reading))
            if all(place is None for _, place in at):
                found.append(reading)
        for run, readings in zip(runs, of_runs, strict=True):
            found.extend(_of_run(question, layout, run, readings))
    return found


def _of_run(
    question: str, layout: Layout, run: Run, readings: list[tuple[int, Reading]]
) -> list[Reading]:
    """Of the numbers of one row the one in the column that the question means, which then speaks
    for the row; if that cannot be told, the row itself, as a passage."""
    if not readings:
        return []
    best = max((reading for _, reading in readings), key=lambda reading: reading.score)
    words = best.page.record.words
    meant = column_meant(question, words, layout, run)
    said = [reading for place, reading in readings if place == meant]
    if said:
        return [replace(said[0], score=best.score)]
    if meant is not None:
        return []
    if best.kind == "percent" and len({place for place, _ in readings}) == 1:
        return [best]  # the only percentage of the row
    row = layout.rows[run.row]
    quote = " ".join(words.texts[i] for i in row)
    return [replace(best, quote=quote, around=union(words.boxes, row), told=False)]


def _in_row(members: Indices, label: Indices, boxes: FloatArray) -> Indices:
    """Label and value in one, from left to right."""
    both = np.union1d(members, label)
    return both[np.argsort(boxes[both, 0], kind="stable")].astype(np.intp)


def _beside(row: Indices, span: Span, boxes: FloatArray) -> tuple[Indices, Indices]:
    """What stands beside a value: in running text the words around it, in a table the whole row.

    Returns the words that count as evidence and those that are the value's label: the words
    left of it, without other cells' numbers.
    """
    parts = cells(row, boxes)
    mine = next(part for part in parts if row[span.first] in part)
    inside = np.array([i for i in mine if i not in row[span.first : span.last]], np.intp)
    if len(inside) >= 4:  # a value within running text
        return inside, inside
    left = [part for part in parts if boxes[part[0], 0] < boxes[row[span.first], 0]]
    label = np.concatenate([*left, inside]) if left else inside
    label = np.unique(label)
    label = label[np.argsort(boxes[label, 0], kind="stable")] if len(label) else label
    others = np.setdiff1d(row, row[span.first : span.last])
    return others, label.astype(np.intp)


def _above(layout: Layout, boxes: FloatArray, row: int, members: Indices) -> Indices:
    """Words above a value that share its column."""
    x0, _, x1, _ = union(boxes, members)
    found = []
    for number in range(max(0, row - _ABOVE_ROWS), row):
        line = layout.rows[number]
        shared = np.minimum(boxes[line, 2], x1) - np.maximum(boxes[line, 0], x0)
        narrower = np.minimum(boxes[line, 2] - boxes[line, 0], x1 - x0)
        found.append(line[shared > 0.3 * np.maximum(narrower, 1e-6)])
    return np.concatenate(found) if found else np.zeros(0, np.intp)


def _unasked(page: EvidencePage, label: Indices) -> float:
    """The share of a label's words that the question does not ask for: "sub total", "total qty"."""
    content = [i for i in label if _CONTENT.search(page.record.words.texts[i])]
    if not content or len(content) > 8:
        return 1.0 if not content else _RUNNING_TEXT
    strongest = np.maximum(page.focus.max(axis=1, keepdims=True), 1e-9)
    said = (page.focus[:, content] / strongest).max(axis=0) > _SAID
    return 1.0 - float(said.mean())


def _qualifiers(page: EvidencePage, label: Indices, asked: str) -> int:
    """How many words of a label make it another quantity than the one that was asked for."""
    said = {m.lower() for i in label for m in _CONTENT.findall(page.record.words.texts[i])}
    return sum(1 for word in said & _OTHERWISE if word not in asked)


def _year_fit(
    page: EvidencePage,
    years: set[str],
    layout: Layout,
    boxes: FloatArray,
    row: int,
    members: Indices,
    kind: Kind,
) -> float:
    """Less for a value in the column or row of a year other than the one asked for."""
    if not years or kind == "year":
        return 1.0
    texts = page.record.words.texts
    column = _above(layout, boxes, row, members)
    near = [i for i in column if YEAR.search(texts[i])]
    said = YEAR.search(texts[near[-1]]) if near else None
    if said is None:
        matches = [YEAR.search(texts[i]) for i in layout.rows[row] if i not in members]
        in_row = {match[1] for match in matches if match}
        if not in_row:
            return _NO_YEAR
        return 1.0 if in_row & years else _OTHER_YEAR
    return 1.0 if said[1] in years else _OTHER_YEAR

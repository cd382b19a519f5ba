"""Cells of tables: the number, its row's label, and the year of its column.

A table is read from where its words stand: a row is a label and, right of it, numbers; the column
of a number is the one whose head stands above it. Lines drawn on the page are not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from retrieval.types import Box, FloatArray, PageWords
from serving.answering.accounts import canonical
from serving.answering.layout import Indices, Layout, cells, union
from serving.answering.spans import number_value

_VALUE = re.compile(
    r"[$€£]?\s?\(?[-\u2212]?[$€£]?\s?\d{1,3}(?:,\d{3})+(?:\.\d+)?\)?"
    r"|[$€£]?\s?\(?[-\u2212]?[$€£]?\s?\d+(?:\.\d+)?\)?"
)
_YEAR = re.compile(r"\b(?:FY\s?)?(19\d\d|20\d\d)\b|\bFY\s?(\d\d)\b", re.IGNORECASE)
_SIGN = re.compile(r"^[$€£()%]+$")
_HEADING_ROWS = 6
# A head further above than this share of the page belongs to another table.
_HEAD_WITHIN = 0.85
_LONGEST_HEAD = 14
# "(Note 8)", "(PP&E)", "of $40 and $42": beside the point of a label.
_ASIDE = re.compile(
    r"\([^)]{1,24}\)|,? net of .*$|\bof \$[\d,.]+(?: and \$[\d,.]+)?", re.IGNORECASE
)
_WORD = re.compile(r"<[\w-]+>|[^\W\d_]{2,}")
# Words that say how or where, not what.
_SAYS_NOTHING = frozenset(
    (
        *("the", "of", "and", "or", "in", "at", "for", "to", "from", "by", "as", "on", "its", "is"),
        *("amount", "amounts", "value", "figure", "year", "end", "ended", "fiscal", "fy", "what"),
        *("usd", "millions", "million", "thousands", "note", "notes", "reported", "balance"),
        *("did", "does", "have", "has", "had", "was", "were", "are", "consolidated", "much", "how"),
    )
)
_SAYS_LITTLE = frozenset(("net", "total"))


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A number of a table. ``members`` are its words, ``label`` those of its row's label;
    ``year`` is the one in its column's head, or None."""

    row: int
    text: str
    value: Decimal
    members: Indices
    label: Indices
    label_text: str
    year: str | None

    def place(self, boxes: FloatArray) -> Box:
        """Where label and number stand."""
        return union(boxes, np.union1d(self.members, self.label).astype(np.intp))


def heading(words: PageWords, layout: Layout) -> str:
    """The first rows of a page, where a statement says what it is."""
    rows = layout.rows[:_HEADING_ROWS]
    return " ".join(words.texts[i] for row in rows for i in row)


def table_cells(words: PageWords, layout: Layout) -> list[Cell]:
    """Every number that stands right of a label."""
    boxes = words.boxes
    heads: list[tuple[int, list[tuple[float, str]]]] = []
    found: list[Cell] = []
    for number, row in enumerate(layout.rows):
        parts = cells(row, boxes)
        years = _years_of(parts, words)
        if years:
            heads.append((number, years))
        values = [part for part in parts if _is_value(part, words)]
        labels = _labels(parts, values, words)
        if not values or labels is None or (years and len(years) >= len(values)):
            continue
        label = " ".join(words.texts[i] for i in labels)
        if len(_WORD.findall(label)) == 0:
            continue
        for part in values:
            text = " ".join(words.texts[i] for i in part)
            value = number_value(text)
            if value is not None:
                year = _year_above(part, len(values), boxes, heads, number, layout)
                found.append(Cell(number, text, value, part, labels, label, year))
    return found


def likeness(label: str, wanted: str) -> float:
    """How well a row's label is the thing wanted, in [0, 1]: words in common, terms of accounts
    counting as one word of more weight, both what is missing and what is too much held against it.

    >>> round(likeness("Merchandise inventories", "total amount of inventories"), 2)
    0.95
    >>> round(likeness("Other current assets", "total assets"), 2)
    0.0
    """
    a, b = _terms(label), _terms(wanted)
    if not a or not b:
        return 0.0
    common = sum(_weight(word) for word in a & b)
    return 2 * common / (sum(map(_weight, a)) + sum(map(_weight, b)))


def says_something(wanted: str) -> bool:
    """Whether a row can be told from others by this name: "total amount" names any."""
    return any(_weight(word) >= 1 for word in _terms(wanted))


def years_in(text: str) -> list[str]:
    """Years that a text names, in its order: "FY22" is 2022."""
    return [match[1] or f"20{match[2]}" for match in _YEAR.finditer(text)]


def _terms(text: str) -> frozenset[str]:
    said = canonical(_ASIDE.sub(" ", text))
    words = (word.lower() for word in _WORD.findall(said))
    return frozenset(_stem(word) for word in words if word not in _SAYS_NOTHING)


def _stem(word: str) -> str:
    if word.startswith("<"):
        return word
    return re.sub(r"(?:ies|y)$", "i", word) if len(word) > 4 else word.rstrip("s")


def _weight(word: str) -> float:
    if word in _SAYS_LITTLE:
        return 0.2
    return 2.0 if word.startswith("<") else 1.0


def _is_value(part: Indices, words: PageWords) -> bool:
    text = " ".join(words.texts[i] for i in part)
    return _VALUE.fullmatch(text) is not None and not _YEAR.fullmatch(text)


def _labels(parts: list[Indices], values: list[Indices], words: PageWords) -> Indices | None:
    """The words left of the first number, without signs of currency; None if there are none."""
    if not values:
        return None
    first = values[0][0]
    before: list[int] = []
    for part in parts:
        if part[0] == first:
            break
        before.extend(int(i) for i in part if not _SIGN.match(words.texts[i]))
    return np.array(before, np.intp) if before else None


def _years_of(parts: list[Indices], words: PageWords) -> list[tuple[float, str]]:
    """Centres and years of a row that is a head: short cells, each with one year."""
    found = []
    for part in parts:
        text = " ".join(words.texts[i] for i in part)
        years = years_in(text)
        if len(years) > 1 and len(part) <= _LONGEST_HEAD:
            # "2020 2019 2018" set so closely that it is one cell.
            for i in part:
                for year in years_in(words.texts[i]):
                    found.append((float(words.boxes[i, [0, 2]].mean()), year))
        elif len(years) == 1 and len(part) <= 6:
            x0, x1 = words.boxes[part, 0].min(), words.boxes[part, 2].max()
            found.append((float((x0 + x1) / 2), years[0]))
    return found


def _year_above(
    part: Indices,
    columns: int,
    boxes: FloatArray,
    heads: Iterable[tuple[int, list[tuple[float, str]]]],
    row: int,
    layout: Layout,
) -> str | None:
    """The year whose head is nearest to the column, in the nearest head that has as many years
    as the row has numbers, or else in the nearest of all."""
    center = float((boxes[part, 0].min() + boxes[part, 2].max()) / 2)
    top = float(boxes[part, 1].min())
    near = [
        years
        for number, years in heads
        if number < row and top - float(boxes[layout.rows[number], 1].min()) < _HEAD_WITHIN
    ]
    fitting = [years for years in near if len(years) >= columns] or near
    if not fitting:
        return None
    distance, year = min((abs(x - center), year) for x, year in fitting[-1])
    return year if distance < 0.12 else None

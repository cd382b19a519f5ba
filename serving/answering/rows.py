"""Values of fields and tables: what stands right of a label, under the heads of its columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from retrieval.types import PageWords
from serving.answering.columns import Run, heads_of, parts_of
from serving.answering.facts import Fact, Sections, text_of
from serving.answering.layout import Indices, Layout, cells, step_of, union
from serving.answering.quantities import dimension_of, is_quantity, quantities_in
from serving.answering.wanted import stems

_LONGEST_LABEL = 10
_LONGEST_VALUE = 8
_LONGEST_HEAD = 3
_MARGIN, _NEAR_MARGIN = 0.06, 0.1
_CONTENTS = 6
_ALIGNED = 0.015
_BELOW = 2.0
_DOTS = re.compile(r"[.\u2026_]{3,}")
_EMPTY = re.compile(r"[-\u2013\u2014]+|n/?a\.?", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_NAMED = re.compile(r":$|[.\u2026_]{3,}$")
# "110 rolls", "4 cavities".
_COUNTED = re.compile(r"\d[\d,.]*(?: [a-z]{3,}){1,2}")


def is_margin(row: Indices, words: PageWords) -> bool:
    """Running heads and feet, whose only number is a page's."""
    top, bottom = float(words.boxes[row, 1].min()), float(words.boxes[row, 3].max())
    if bottom < _MARGIN or top > 1 - _MARGIN:
        return True
    if bottom > _NEAR_MARGIN and top < 1 - _NEAR_MARGIN:
        return False
    numbers = [words.texts[i] for i in row if words.texts[i][-1:].isdigit()]
    ends = (words.texts[row[0]], words.texts[row[-1]])
    return len(numbers) == 1 and numbers[0].isdigit() and numbers[0] in ends


def is_contents(words: PageWords, layout: Layout) -> bool:
    """Whether most rows of a page end in a number, none lower than the one before."""
    ends = [words.texts[row[-1]] for row in layout.rows if len(row) > 1]
    numbers = [int(end) for end in ends if end.isascii() and end.isdigit() and len(end) < 5]
    if len(numbers) < _CONTENTS or len(numbers) < len(ends) / 2:
        return False
    rising = sum(a <= b for a, b in pairwise(numbers))
    return rising >= 0.9 * (len(numbers) - 1)


def facts_of_row(
    words: PageWords, layout: Layout, number: int, sections: Sections
) -> Iterator[Fact]:
    """Fields and cells of a row: values right of their label, or before what they are of."""
    if len(cells(layout.rows[number], words.boxes)) == 1 and step_of(
        text_of(layout.rows[number], words)
    ):
        return  # a step is a sentence
    parts = [cut for part in parts_of(layout.rows[number], words) for cut in _cut(part, words)]
    texts = [text_of(part, words) for part in parts]
    values = [is_quantity(text) or bool(_EMPTY.fullmatch(text)) for text in texts]
    if len(parts) == 2 and _COUNTED.fullmatch(texts[1]):
        values[1] = True
    if len(parts) < 2 or values[0]:
        yield from _below_labels(words, layout, number, parts, values, sections)
    row = layout.rows[number]
    label: list[int] = []
    numbers: list[Indices] = []
    groups: list[tuple[list[int], list[Indices]]] = []
    for part, is_value in zip(parts, values, strict=True):
        if is_value:
            numbers.append(part)
            continue
        if numbers:
            groups.append((label, numbers))
            label, numbers = [], []
        label.extend(int(i) for i in part)
    groups.append((label, numbers))
    if not groups[0][0] and len(groups) == 2 and _is_moment(texts[0]):
        # "13:30  Glulam bridges": what it is the time of follows.
        groups = [(groups[1][0], groups[0][1])]
    for of, values_of in groups:
        named = np.array(of, np.intp)
        in_index = bool(of) and words.texts[of[-1]].endswith(",")
        if of and values_of and len(of) <= _LONGEST_LABEL and not in_index:
            yield from _of_cells(words, layout, number, named, values_of, sections)
    if not any(values) and len(parts) == 2 and len(row) <= _LONGEST_LABEL + _LONGEST_VALUE:
        head, value = parts
        if len(head) <= _LONGEST_LABEL / 2 and len(value) <= _LONGEST_VALUE:
            own = stems(text_of(head, words))
            yield Fact(
                text_of(value, words), value, row, "text", "", own,
                sections.above(number, of_table=False), text_of(head, words), tabular=True,
            )  # fmt: skip


def _below_labels(
    words: PageWords,
    layout: Layout,
    number: int,
    parts: list[Indices],
    values: list[bool],
    sections: Sections,
) -> Iterator[Fact]:
    """Values of a form or a screen, whose label stands right above and begins where they do."""
    boxes = words.boxes
    for part, is_value in zip(parts, values, strict=True):
        if not is_value or not number:
            continue
        above = layout.rows[number - 1]
        x0, y0, _, y1 = union(boxes, part)
        labels = [
            p
            for p in cells(above, boxes)
            if abs(float(boxes[p[0], 0]) - x0) < _ALIGNED
            and y0 - float(boxes[p, 3].max()) < _BELOW * (y1 - y0)
        ]
        if not labels or is_quantity(text_of(labels[0], words)):
            continue
        yield from _of_cells(words, layout, number, labels[0], [part], sections, headed=False)


def _is_moment(text: str) -> bool:
    found = quantities_in(text.split())
    return bool(found) and found[0].dimension in ("date", "time")


def _cut(part: Indices, words: PageWords) -> list[Indices]:
    """A cell "Label: value" or "Label ..... value" in two."""
    for at, i in enumerate(part[:-1]):
        text = words.texts[i]
        if _DOTS.fullmatch(text) and at:
            return [part[:at], part[at + 1 :]]
        if text.endswith(":") and not text[:-1].isdigit() and at < _LONGEST_LABEL:
            return [part[: at + 1], part[at + 1 :]]
    return [part]


def _of_cells(
    words: PageWords,
    layout: Layout,
    number: int,
    label: Indices,
    numbers: list[Indices],
    sections: Sections,
    *,
    headed: bool = True,
) -> Iterator[Fact]:
    named = text_of(label, words)
    own = stems(named)
    wider = sections.above(number, of_table=True)
    run = Run(number, tuple(numbers), label)
    heads = [""] * len(numbers)
    if headed and not _NAMED.search(named):
        heads = heads_of(words, layout, run)
    if len(numbers) == 1 and len(heads[0].split()) > _LONGEST_HEAD:
        heads = [""]  # a title or a line of text that happens to be above
    said_above = [stems(head) for head in heads]
    if len(numbers) > 1:
        # What heads every column, as a title does, tells none from the others.
        shared = frozenset.intersection(*said_above)
        said_above = [said - shared for said in said_above]
        wider |= shared
    unit_cell = next((t for t in (named.split() or [""])[-1:] if dimension_of(t)), "")
    for cell, head, of_column in zip(numbers, heads, said_above, strict=False):
        text = text_of(cell, words)
        if _EMPTY.fullmatch(text):
            continue
        said = quantities_in(text.split())
        if not said:
            continue
        quantity = said[0]
        unit = quantity.unit
        dimension = quantity.dimension
        if not dimension:
            bracketed = re.findall(r"[(\[]([^)\]]+)[)\]]|\bin ([^\s,]+)", f"{named} {head}")
            units = [u for pair in bracketed for u in pair if dimension_of(u)] or [unit_cell]
            dimension = dimension_of(units[0])
        both = np.union1d(label, cell)
        around = both[np.argsort(words.boxes[both, 0], kind="stable")].astype(np.intp)
        yield Fact(
            quantity.text, cell, around, dimension, unit, own | of_column, wider,
            f"{named} {head}", years=frozenset(_YEAR.findall(head)),
            counted=own | of_column | stems(text), tabular=True,
        )  # fmt: skip

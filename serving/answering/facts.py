"""A value that a page states, with the words that say what it is a value of, and the headings that
it stands under."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from retrieval.types import PageWords
from serving.answering.layout import Indices, Layout
from serving.answering.quantities import quantities_in
from serving.answering.wanted import stems

_LONGEST_TITLE = 9
_SECTION_ROWS = 40
_TALLER = 1.08


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """A value and what the page says of it. ``own``: stems of its label and its column's head, or
    of its clause; ``wider``: of the sentence's subject and the headings above. ``label``: the own
    words as written. ``members`` are the value's words, ``around`` those to quote. ``step``: the
    number of its step; ``years`` of its column; ``counted``: stems of the words right after it;
    ``lead``: those of ``wider`` that only the sentence's first clause has, if that is another."""

    text: str
    members: Indices
    around: Indices
    dimension: str
    unit: str
    own: frozenset[str]
    wider: frozenset[str]
    label: str
    step: str = ""
    every: bool = False
    denied: bool = False
    years: frozenset[str] = frozenset()
    counted: frozenset[str] = field(default=frozenset())
    lead: frozenset[str] = frozenset()
    tabular: bool = False


def text_of(members: Indices, words: PageWords) -> str:
    """What some words say."""
    return " ".join(words.texts[i] for i in members)


class Sections:
    """The headings above each row."""

    def __init__(self, words: PageWords, layout: Layout) -> None:
        boxes = words.boxes
        self._rows = layout.rows
        self._texts = [text_of(row, words) for row in layout.rows]
        self._height = [float(np.median(boxes[row, 3] - boxes[row, 1])) for row in layout.rows]
        usual = float(np.median(boxes[:, 3] - boxes[:, 1])) if len(words) else 0.0
        self._title = [self._is_title(i, usual) for i in range(len(layout.rows))]
        self._lines = [self._is_line(i) for i in range(len(layout.rows))]

    def _is_line(self, row: int) -> bool:
        """A short line that is no sentence and holds no value."""
        text = self._texts[row]
        short = len(self._rows[row]) <= _LONGEST_TITLE and text[:1].isalnum()
        return short and not text.rstrip().endswith((".", ",", ";")) and not quantities_in([text])

    def _is_title(self, row: int, usual: float) -> bool:
        short = len(self._rows[row]) <= _LONGEST_TITLE
        return short and self._height[row] > _TALLER * usual

    def above(self, row: int, *, of_table: bool) -> frozenset[str]:
        """Stems of the nearest heading above a row. A table's is the line or the taller line above
        its head; what stands above another table is not."""
        said: set[str] = set()
        seen_values = False
        for at in range(row - 1, max(-1, row - _SECTION_ROWS), -1):
            if self._title[at]:
                said |= stems(self._texts[at])
                if at and self._title[at - 1]:
                    said |= stems(self._texts[at - 1])
                break
            if not of_table:
                continue
            if self._lines[at]:
                said |= stems(self._texts[at])
                seen_values = True
            elif seen_values:
                break
        return frozenset(said)

"""Lines, rows and sentences of a page's words, as the reader needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Box, FloatArray, PageWords

Indices = NDArray[np.intp]
_ENDS = re.compile(r"[.!?:;][\"')\]\u201d]*$")
_ABBREVIATION = re.compile(r"^(?:[A-Z]|Mr|Mrs|Ms|Dr|St|No|Inc|Corp|Co|Ltd|vs|e\.g|i\.e|U\.S)\.$")
_STEP = re.compile(
    r"(?:step|stage|point|item|no\.?)\s+(\d{1,2})(?:[.):]|\s*[-\u2013])?(?=\s|$)|(\d{1,2})[.):](?=\s|$)",
    re.IGNORECASE,
)
# A gap of so many word heights separates cells rather than words.
_CELL_GAP = 1.2
_LONGEST_SENTENCE = 60
_LARGER = 1.15


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """``rows``: word indices of each visual row, left to right, rows from the top.
    ``row_of [n]``: the row of each word. ``sentences``: word indices in reading order."""

    rows: tuple[Indices, ...]
    row_of: Indices
    sentences: tuple[Indices, ...]


def lay_out(words: PageWords) -> Layout:
    """The layout of a page's words."""
    boxes = words.boxes
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    height = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    rows: list[list[int]] = []
    at: list[float] = []
    tall: list[float] = []
    for word in np.argsort(middle, kind="stable").tolist():
        # A row is as high as its words; half of the lower height apart is another row.
        if rows and middle[word] - at[-1] < 0.5 * min(height[word], tall[-1]):
            rows[-1].append(word)
            at[-1] += (float(middle[word]) - at[-1]) / len(rows[-1])
        else:
            rows.append([word])
            at.append(float(middle[word]))
            tall.append(float(height[word]))
    row_of = np.zeros(len(words), np.intp)
    ordered = []
    for number, row in enumerate(rows):
        members = np.array(sorted(row, key=lambda i: float(boxes[i, 0])), np.intp)
        row_of[members] = number
        ordered.append(members)
    return Layout(tuple(ordered), row_of, tuple(_sentences(words)))


def cells(row: Indices, boxes: FloatArray) -> list[Indices]:
    """A row cut where the gap between words is wider than a space."""
    if len(row) < 2:
        return [row]
    height = float(np.median(boxes[row, 3] - boxes[row, 1]))
    gaps = boxes[row[1:], 0] - boxes[row[:-1], 2]
    # Heights are of the page's height, gaps of its width: pages are about 3 by 4.
    return np.split(row, np.flatnonzero(gaps > _CELL_GAP * height) + 1)


def union(boxes: FloatArray, members: Indices) -> Box:
    """The box around some words."""
    part = np.clip(boxes[members], 0, 1)
    x0, y0 = part[:, :2].min(axis=0).tolist()
    x1, y1 = part[:, 2:].max(axis=0).tolist()
    return (x0, y0, x1, y1)


def step_of(text: str) -> str:
    """The number of the step that a text begins with, "" if it begins with none.

    >>> step_of("Step 2: Open the valve."), step_of("3. Close it."), step_of("3.4 bar")
    ('2', '3', '')
    """
    match = _STEP.match(text)
    return match[1] or match[2] if match else ""


def is_step(text: str) -> bool:
    """Whether a text is the number of a step and nothing else: "Step 2:", "3."."""
    match = _STEP.match(text)
    return match is not None and match.end() == len(text)


def _sentences(words: PageWords) -> list[Indices]:
    """Runs of words that end at a full stop, or where the line breaks off into another block."""
    found: list[Indices] = []
    begin = 0
    tall = _line_heights(words)
    for i in range(len(words)):
        last = i + 1 == len(words)
        text = words.texts[i]
        ends = bool(_ENDS.search(text)) and not _ABBREVIATION.match(text)
        if ends and i - begin < 2 and is_step(" ".join(words.texts[begin : i + 1])):
            ends = False  # it numbers the sentence that follows
        # A heading has no full stop; it is set larger than what follows it.
        larger = not last and tall[i] > _LARGER * tall[i + 1]
        if last or ends or larger or breaks(words, i) or i - begin + 1 >= _LONGEST_SENTENCE:
            found.append(np.arange(begin, i + 1, dtype=np.intp))
            begin = i + 1
    return found


def _line_heights(words: PageWords) -> FloatArray:
    """The height of the line that each word is on, ``[n] float32``: of its words the median."""
    heights = words.boxes[:, 3] - words.boxes[:, 1]
    tall = np.zeros(len(words), np.float32)
    begins = np.flatnonzero(np.diff(words.lines, prepend=words.lines[:1] - 1))
    for begin, end in zip(begins, [*begins[1:], len(words)], strict=True):
        tall[begin:end] = np.median(heights[begin:end])
    return tall


def breaks(words: PageWords, i: int) -> bool:
    """Whether the next word begins another block: not on this line nor right below it."""
    if words.lines[i] == words.lines[i + 1]:
        return False
    this, following = words.boxes[i], words.boxes[i + 1]
    height = max(float(this[3] - this[1]), 1e-6)
    below = float(following[1] - this[3])
    return not -0.5 * height < below < 0.9 * height

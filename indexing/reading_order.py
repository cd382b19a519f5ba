"""Reading order by XY-cut: which of the words scattered over a page comes next.

OCR engines and pdfium return text in the order they found it, which on a page of columns
jumps across the gutter at every line, so that no window of words makes a sentence. Tables and
receipts are the opposite case: there a label and its figure, far apart on one line, belong
together. So a gutter is cut only where there is running text on both sides of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import PageWords

Boxes = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

# Lengths are in text heights. A gutter is wider than the spaces between words ...
_GUTTER = 0.9
# ... and beside it stands running text: lines long enough for some words, and several of them.
_COLUMN_LINE = 7.0
_COLUMN_LINES = 3
# Words share a line when they overlap by this share of the smaller one's height.
_SAME_LINE = 0.5
# Boxes of a crooked scan may overlap by this share of their heights and still be two lines.
_SKEW = 0.15
# Every cut leaves fewer boxes; this only guards the stack against absurd pages.
_DEEPEST = 100


def order_words(texts: Sequence[str], boxes: Boxes, aspect: float = 1.0) -> PageWords:
    """Words with ``[n, 4]`` boxes in page fractions, put in reading order and in lines.

    ``aspect`` is the page's width over its height, needed to compare widths with heights.
    """
    if not len(texts):
        return PageWords.empty()
    lines = lines_in_order(boxes, aspect)
    order = np.concatenate(lines)
    numbers = np.repeat(np.arange(len(lines), dtype=np.int32), [len(line) for line in lines])
    placed = np.asarray(boxes, np.float32)[order]
    return PageWords(tuple(texts[i] for i in order), placed, numbers)


def lines_in_order(boxes: Boxes, aspect: float = 1.0) -> list[Indices]:
    """Indices of ``boxes`` ``[n, 4]`` by line: lines in reading order, each from left to right.

    Every index comes exactly once, and the result does not depend on the order of the input
    but for boxes that are equal.
    """
    scaled = np.asarray(boxes, np.float64) * np.array([aspect, 1.0, aspect, 1.0])
    heights = scaled[:, 3] - scaled[:, 1]
    positive = heights[heights > 0]
    text_height = float(np.median(positive)) if len(positive) else 1.0
    start = np.lexsort((scaled[:, 2], scaled[:, 3], scaled[:, 0], scaled[:, 1]))
    lines: list[Indices] = []
    for block in _blocks(scaled, start, text_height, 0):
        lines.extend(_lines(scaled, block))
    return lines


def _blocks(boxes: Boxes, members: Indices, height: float, depth: int) -> list[Indices]:
    """``members`` cut into blocks that are read one after the other."""
    if len(members) < 2 * _COLUMN_LINES or depth > _DEEPEST:
        return [members]
    blocks: list[Indices] = []
    for region, gutter in _regions(boxes, members, height):
        if gutter is None:
            blocks.append(region)
            continue
        left = boxes[region, 2] <= gutter
        for side in (region[left], region[~left]):
            blocks.extend(_blocks(boxes, side, height, depth + 1))
    return blocks


def _regions(boxes: Boxes, members: Indices, height: float) -> list[tuple[Indices, float | None]]:
    """``members`` from top to bottom as regions, each with the gutter that divides it, if any.

    The page falls into bands wherever a blank runs across it; neighbouring bands that a common
    gutter divides are one region, whose left column is read to its end before the right one.
    """
    bands = _bands(boxes, members)
    blanks = [_gaps(boxes, band, height) for band in bands]
    regions: list[tuple[Indices, float | None]] = []
    plain: list[Indices] = []
    i = 0
    while i < len(bands):
        gaps, end = blanks[i], i + 1
        while end < len(bands):
            common = _common(gaps, blanks[end], height)
            # The two margins are common to all bands: what counts is a blank between them.
            if _divides(gaps) and not _divides(common):
                break
            gaps, end = common, end + 1
        region = np.concatenate(bands[i:end])
        gutter = _gutter(boxes, region, gaps, height)
        if gutter is None:
            plain.append(bands[i])
            i += 1
            continue
        if plain:
            regions.append((np.concatenate(plain), None))
            plain = []
        regions.append((region, gutter))
        i = end
    if plain:
        regions.append((np.concatenate(plain), None))
    return regions


def _divides(gaps: Boxes) -> bool:
    return bool(np.isfinite(gaps).all(axis=1).any())


def _bands(boxes: Boxes, members: Indices) -> list[Indices]:
    """``members`` split at every height that no box crosses, from top to bottom."""
    slack = _SKEW * (boxes[members, 3] - boxes[members, 1])
    tops, bottoms = boxes[members, 1] + slack, boxes[members, 3] - slack
    order = np.argsort(tops, kind="stable")
    reach = np.maximum.accumulate(bottoms[order])
    cuts = np.flatnonzero(tops[order][1:] >= reach[:-1]) + 1
    return list(np.split(members[order], cuts))


def _gaps(boxes: Boxes, band: Indices, height: float) -> Boxes:
    """Blanks ``[g, 2]`` beside and between the band's boxes. The outer ones are endless, so
    that a line standing in one column only leaves the gutter blank."""
    order = band[np.argsort(boxes[band, 0], kind="stable")]
    reach = np.maximum.accumulate(boxes[order, 2])
    starts = np.concatenate(([-np.inf], reach))
    ends = np.concatenate((boxes[order, 0], [np.inf]))
    wide = ends - starts >= _GUTTER * height
    return np.stack((starts[wide], ends[wide]), axis=1)


def _common(first: Boxes, second: Boxes, height: float) -> Boxes:
    """What both leave blank, as far as it is as wide as a gutter."""
    starts = np.maximum(first[:, None, 0], second[None, :, 0]).ravel()
    ends = np.minimum(first[:, None, 1], second[None, :, 1]).ravel()
    wide = ends - starts >= _GUTTER * height
    return np.stack((starts[wide], ends[wide]), axis=1)


def _gutter(boxes: Boxes, region: Indices, gaps: Boxes, height: float) -> float | None:
    """Where to cut, or None: the widest gap with running text on both of its sides."""
    inner = gaps[np.isfinite(gaps).all(axis=1)]
    for start, end in inner[np.argsort(inner[:, 0] - inner[:, 1], kind="stable")]:
        left = boxes[region, 2] <= start + 1e-9
        if _runs(boxes, region[left], height) and _runs(boxes, region[~left], height):
            return float((start + end) / 2)
    return None


def _runs(boxes: Boxes, side: Indices, height: float) -> bool:
    """Whether ``side`` is running text rather than a column of labels or figures."""
    if len(side) < _COLUMN_LINES:
        return False
    lines = _lines(boxes, side)
    widths = [boxes[line, 2].max() - boxes[line, 0].min() for line in lines]
    return len(lines) >= _COLUMN_LINES and float(np.median(widths)) >= _COLUMN_LINE * height


def _lines(boxes: Boxes, block: Indices) -> list[Indices]:
    """``block`` as lines from top to bottom, each sorted from left to right."""
    order = block[np.argsort(boxes[block, 1] + boxes[block, 3], kind="stable")]
    lines: list[list[int]] = []
    top = bottom = 0.0
    for i in order:
        low, high = float(boxes[i, 1]), float(boxes[i, 3])
        shared = min(bottom, high) - max(top, low)
        if lines and shared >= _SAME_LINE * min(bottom - top, high - low):
            lines[-1].append(int(i))
            # A tall letter must not glue the next line to this one: keep the mean band.
            size = len(lines[-1])
            top += (low - top) / size
            bottom += (high - bottom) / size
        else:
            lines.append([int(i)])
            top, bottom = low, high
    return [_left_to_right(boxes, np.array(line, np.intp)) for line in lines]


def _left_to_right(boxes: Boxes, line: Indices) -> Indices:
    return line[np.lexsort((boxes[line, 1], boxes[line, 2], boxes[line, 0]))]

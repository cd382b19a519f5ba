"""Cutting a large picture into overlapping tiles, and putting what was found in them together.

A reader with a fixed input (an OCR detector, a model that sees 448 x 448) shrinks what is larger,
and small print is gone without an error. In tiles it is seen at its own size. Tiles overlap, so
that what one tile cuts in two lies whole in the next; what both saw is kept once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# x0, y0, x1, y1 in pixels of the picture; x1 and y1 are not inside.
PixelBox = tuple[int, int, int, int]
Boxes = NDArray[np.floating[Any]]

# Two boxes are one thing if they share this much of the smaller one's area ...
_SAME_AREA = 0.5
# ... and in each dimension: a word and the line above it overlap in area on crooked scans.
_SAME_SPAN = 0.4
# ... and neither is many times the other: a smudge read as one huge letter is no copy of the
# words that it covers.
_ALIKE = 0.2
# What a tile cut off may be a sliver, whose box is off by as much as it is wide.
_SLIVER = 0.25


@dataclass(frozen=True, slots=True)
class TileSettings:
    """``side`` and ``overlap`` in pixels; ``most`` bounds the cost of a page."""

    side: int = 1024
    overlap: int = 128
    most: int = 48

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.side // 2 or self.side < 2 or self.most < 1:
            raise ValueError(
                f"tiles of {self.side} pixels with {self.overlap} of overlap, {self.most} at most: "
                "the overlap is at most half of the side, and one tile is the least"
            )


def plan_tiles(
    width: int, height: int, settings: TileSettings, ink: NDArray[np.bool_] | None = None
) -> list[PixelBox]:
    """Tiles that cover a picture, row by row; neighbours share ``overlap`` pixels or more.

    Where ``ink`` (any ``[h, w] bool`` miniature of the picture, true where something is printed)
    has a blank row or column near a cut, the cut moves there: earlier by up to an overlap, so
    that no tile is larger than ``side``.
    """
    rows = np.any(ink, axis=1) if ink is not None and ink.size else None
    across = _cuts(height, settings, rows)
    boxes: list[PixelBox] = []
    for y0, y1 in across:
        columns = None
        if ink is not None and ink.size:
            top = int(y0 / height * ink.shape[0])
            bottom = max(top + 1, int(np.ceil(y1 / height * ink.shape[0])))
            columns = np.any(ink[top:bottom], axis=0)
        boxes += [(x0, y0, x1, y1) for x0, x1 in _cuts(width, settings, columns)]
    return boxes


def _cuts(length: int, settings: TileSettings, ink: Any) -> list[tuple[int, int]]:
    """Intervals of at most ``side`` that cover ``[0, length)``."""
    side, overlap = settings.side, settings.overlap
    if length <= side:
        return [(0, length)]
    spans = []
    begin = 0
    while True:
        end = begin + side
        if end >= length:
            spans.append((max(0, length - side), length))
            return spans
        end = _blank_before(end, overlap // 2, length, ink)
        spans.append((begin, end))
        begin = end - overlap


def _blank_before(end: int, reach: int, length: int, ink: Any) -> int:
    """The last blank position within ``reach`` before ``end``, else ``end``."""
    if ink is None:
        return end
    scale = len(ink) / length
    for position in range(end, end - reach - 1, -1):
        at = min(len(ink) - 1, int(position * scale))
        if not ink[at]:
            return position
    return end


def budgeted(width: int, height: int, settings: TileSettings) -> tuple[float, list[PixelBox]]:
    """Tiles within ``most``: the scale, 1 or less, at which the picture has to be cut for that,
    and the tiles in pixels of the scaled picture."""
    scale = 1.0
    while True:
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        tiles = plan_tiles(w, h, settings)
        if len(tiles) <= settings.most:
            return scale, tiles
        scale *= min(0.95, (settings.most / len(tiles)) ** 0.5)


def to_page(boxes: Boxes, tile: PixelBox, width: int, height: int) -> NDArray[np.float32]:
    """``[n, 4]`` boxes in fractions of ``tile``, as fractions of the picture."""
    x0, y0, x1, y1 = tile
    scale = np.array([x1 - x0, y1 - y0] * 2, np.float64)
    size = np.array([width, height] * 2, np.float64)
    found = (np.asarray(boxes, np.float64).reshape(-1, 4) * scale + [x0, y0, x0, y0]) / size
    return found.astype(np.float32)


def cut_by(
    tile: PixelBox, boxes: Boxes, width: int, height: int, slack: float | Boxes
) -> NDArray[np.bool_]:
    """Which of ``boxes`` ``[n, 4]`` (pixels of the picture) come within ``slack`` pixels (of all,
    or of each) of a side of ``tile`` that is not the picture's own: they may be halves."""
    x0, y0, x1, y1 = tile
    boxes = np.asarray(boxes).reshape(-1, 4)
    cut = np.zeros(len(boxes), bool)
    if x0 > 0:
        cut |= boxes[:, 0] < x0 + slack
    if y0 > 0:
        cut |= boxes[:, 1] < y0 + slack
    if x1 < width:
        cut |= boxes[:, 2] > x1 - slack
    if y1 < height:
        cut |= boxes[:, 3] > y1 - slack
    return cut


def once_each(
    boxes: Boxes, sources: Sequence[int], cut: NDArray[np.bool_], worth: NDArray[np.floating[Any]]
) -> NDArray[np.intp]:
    """Which boxes to keep, so that what several sources saw is there once.

    ``boxes`` ``[n, 4]`` share one unit; ``sources[i]`` is the tile that box i was seen in. Boxes
    of one source are never each other's copies. A whole box beats one that may be ``cut``; among
    equals the more ``worth`` does. Returns indices in increasing order.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    owner = np.asarray(sources)
    kept: list[int] = []
    # Larger pieces first among those that may be cut: the halves are copies of the whole.
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas = sizes.prod(axis=1)
    order = np.lexsort((np.arange(len(boxes)), -worth, -areas * cut, cut))
    for i in order:
        if kept:
            area, span = _shared(
                boxes[i], sizes[i], areas[i], boxes[kept], sizes[kept], areas[kept]
            )
            same = (
                (area >= _SLIVER) & (span >= _SLIVER)
                if cut[i]
                else (area >= _SAME_AREA)
                & (span >= _SAME_SPAN)
                & (np.minimum(areas[kept], areas[i]) >= _ALIKE * np.maximum(areas[kept], areas[i]))
            )
            if (same & (owner[kept] != owner[i])).any():
                continue
        kept.append(int(i))
    return np.array(sorted(kept), np.intp)


def _shared(
    box: Boxes, size: Boxes, area: float, others: Boxes, sizes: Boxes, areas: Boxes
) -> tuple[Boxes, Boxes]:
    """What ``box`` and each of the others share, of the smaller one: in area, and in the
    dimension in which it is less."""
    low = np.maximum(others[:, :2], box[:2])
    high = np.minimum(others[:, 2:], box[2:])
    shared = np.maximum(high - low, 0)
    spans = shared / np.maximum(np.minimum(sizes, size), 1e-9)
    return shared.prod(axis=1) / np.maximum(np.minimum(areas, area), 1e-12), spans.min(axis=1)

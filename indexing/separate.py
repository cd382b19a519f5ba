"""Several receipts on one scan: where each of them lies.

Strict on purpose. A scan that is taken apart wrongly loses more than one that is left whole, so
papers must be brighter than an even background, nearly rectangular, apart from each other, with
print on each of them and none between them. Receipts on a white lid are not told apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexing.ocr import BLOCK, grey, has_run, print_blocks
from indexing.renderers.base import Image
from retrieval.types import Box

# The rim of a scan shows its background: even, and darker than paper.
_RIM, _EVEN, _BRIGHTEST = 0.015, 40, 200
_BRIGHTER = 45
# Of the scan's area, of its shorter side, and of the rectangle around it.
_LEAST_AREA, _LEAST_SIDE, _RECTANGULAR = 0.025, 0.08, 0.85
_MOST = 24
_SMALL = 700
# Papers lie apart: their boxes share less than this of the smaller one.
_SHARED = 0.05


def separate(image: Image) -> list[Box]:
    """Where the papers on ``image`` ``[h, w, 3] uint8`` lie, in fractions, in reading order.

    Empty unless there are two or more, each of them surely one.
    """
    step = max(1, round(max(image.shape[:2]) / _SMALL))
    small = grey(np.ascontiguousarray(image[::step, ::step])).astype(np.float32)
    background = _background(small)
    if background is None:
        return []
    boxes = _papers(small, background)
    if not 2 <= len(boxes) <= _MOST or _overlap(boxes):
        return []
    print_like = print_blocks(image)
    height, width = image.shape[:2]
    for x0, y0, x1, y1 in boxes:
        rows = slice(int(y0 * height) // BLOCK, int(y1 * height) // BLOCK + 1)
        columns = slice(int(x0 * width) // BLOCK, int(x1 * width) // BLOCK + 1)
        if not has_run(print_like[rows, columns]):
            return []
        print_like[rows, columns] = False
    if has_run(print_like):
        return []  # something is written between them
    return sorted(boxes, key=lambda box: (round(4 * box[1]), box[0]))


def _background(tones: NDArray[np.float32]) -> float | None:
    """The tone around the papers; None where there is no even, dark one."""
    rim = max(2, int(_RIM * min(tones.shape)))
    if min(tones.shape) < 8 * rim:
        return None
    edge = np.concatenate(
        [tones[:rim].ravel(), tones[-rim:].ravel(), tones[:, :rim].ravel(), tones[:, -rim:].ravel()]
    )
    low, middle, high = np.percentile(edge, (10, 50, 90))
    even = high - low <= _EVEN and middle <= _BRIGHTEST
    return float(middle) if even else None


def _papers(tones: NDArray[np.float32], background: float) -> list[Box]:
    """The bright rectangles; none at all if something large and bright is not one."""
    import cv2

    height, width = tones.shape
    bright = (tones > background + _BRIGHTER).astype(np.uint8)
    # Print makes holes, creases and staples make bridges: the one is filled, the other cut.
    size = max(3, int(0.02 * min(tones.shape)) | 1)
    kernel = np.ones((size, size), np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, kernel).astype(np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel).astype(np.uint8)
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes: list[Box] = []
    for contour in contours:
        area = cv2.contourArea(contour)
        if area < _LEAST_AREA * height * width:
            continue
        _, sides, _ = cv2.minAreaRect(contour)
        if min(sides) < _LEAST_SIDE * min(height, width):
            return []
        if area < _RECTANGULAR * sides[0] * sides[1]:
            return []
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append((x / width, y / height, (x + w) / width, (y + h) / height))
    return boxes


def _overlap(boxes: list[Box]) -> bool:
    for i, (ax0, ay0, ax1, ay1) in enumerate(boxes):
        for bx0, by0, bx1, by1 in boxes[i + 1 :]:
            shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(
                0.0, min(ay1, by1) - max(ay0, by0)
            )
            if shared > _SHARED * min((ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0)):
                return True
    return False

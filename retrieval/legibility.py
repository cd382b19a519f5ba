"""How many pixels a letter gets once a reader has prepared the page, and whether that is enough.

A model or OCR engine that is handed a page too large for its input shrinks it. Letters that fall
below a few pixels are then unreadable to it, and it does not say so: it answers with a plausible
wrong number. Everything here is arithmetic on sizes, so that it can be asked *before* a page is
read or sent: by intake, by encoders with a fixed input, and by whoever builds a model's context.

The unit is the *x-height*: the height of a lower-case letter without strokes up or down, about
half of the font size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.tiling import TileSettings, budgeted
from retrieval.types import Box, FloatArray, PageWords

# Measured on real pages drawn at falling resolutions (docs/BENCHMARKS.md, "Legibility"): below
# the first no engine reads more than a third of the words; from the second on none gains.
MINIMUM = 4.0
COMFORTABLE = 8.0
# x-height as a share of a word's box, by where the box comes from (``PageContent.text_source``).
X_HEIGHT_SHARE = {"layer": 0.39, "ocr:rapidocr": 0.45, "ocr:tesseract": 0.68}
# The smallest print of a page: this share of its words is no larger. Less is a stray mark.
_SMALL_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class ReaderInput:
    """What a reader makes of a page before it looks at it. Limits left None do not apply.

    ``fixed`` is a size (width, height) that every page is squashed to; ``max_side`` and
    ``max_pixels`` shrink what is larger and keep its shape.
    """

    max_side: int | None = None
    max_pixels: int | None = None
    fixed: tuple[int, int] | None = None

    def scale(self, width: float, height: float) -> float:
        """Pixels that the reader sees for one pixel of a picture of ``width`` x ``height``, in
        the direction in which it loses more; never above 1, as enlarging adds nothing."""
        scale = 1.0
        if self.max_side is not None:
            scale = min(scale, self.max_side / max(width, height))
        if self.max_pixels is not None:
            scale = min(scale, math.sqrt(self.max_pixels / (width * height)))
        if self.fixed is not None:
            scale = min(scale, self.fixed[0] / width, self.fixed[1] / height)
        return scale


def x_heights(words: PageWords, text_source: str) -> FloatArray:
    """The x-height of each word ``[n] float32`` in fractions of the page's height.

    Words that stand upright on a line only: a box higher than its text is long is turned.
    """
    share = X_HEIGHT_SHARE.get(text_source, X_HEIGHT_SHARE["layer"])
    heights: FloatArray = (words.boxes[:, 3] - words.boxes[:, 1]) * np.float32(share)
    return heights


def smallest_print(heights: FloatArray) -> float:
    """The x-height that a tenth of the words do not exceed; 0 without words."""
    return float(np.quantile(heights, _SMALL_SHARE)) if len(heights) else 0.0


def seen_at(
    words: PageWords, text_source: str, size: tuple[float, float], reader: ReaderInput
) -> float:
    """Pixels that the page's smallest print has for ``reader``, of a page picture of ``size``
    (width, height in pixels); 0 without words."""
    width, height = size
    return smallest_print(x_heights(words, text_source)) * height * reader.scale(width, height)


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a page to send: ``box`` in page fractions, drawn ``width`` x ``height`` pixels.
    ``pixels`` is the x-height of its smallest print then; 0 if it has no words."""

    box: Box
    width: int
    height: int
    pixels: float

    @property
    def legible(self) -> bool:
        """Whether a reader can be trusted with it; a crop without words is not in question."""
        return self.pixels == 0 or self.pixels >= MINIMUM


def legible_crops(
    region: Box,
    words: PageWords,
    text_source: str,
    size: tuple[float, float],
    reader: ReaderInput,
    *,
    least: float = COMFORTABLE,
    most: int = 12,
) -> list[Crop]:
    """How a region of a page must be sent so that its smallest print has ``least`` pixels.

    ``size`` is the page in pixels at the best resolution it can be drawn at. One crop if that
    does, else overlapping tiles, ``most`` at most; no crop is drawn larger than it need be. What
    stays below is for the caller to see (``Crop.legible``): nothing here can mend a page whose
    own pixels are too few, or a budget that is too small.
    """
    left, top, right, bottom = region
    width, height = size
    inside = _inside(words, region)
    heights = x_heights(words, text_source)[inside]
    own = smallest_print(heights) * height
    if not own:
        return [_crop(region, size, reader, 1.0, 0.0)]
    wanted = min(1.0, least / own)
    w, h = (right - left) * width, (bottom - top) * height
    if reader.scale(max(1.0, w * wanted), max(1.0, h * wanted)) >= 1.0:
        return [_crop(region, size, reader, wanted, own)]
    side = _side(reader)
    settings = TileSettings(side, side // 8, most)
    scale, tiles = budgeted(max(1, round(w * wanted)), max(1, round(h * wanted)), settings)
    crops = []
    for x0, y0, x1, y1 in tiles:
        box = (
            left + x0 / (w * wanted * scale) * (right - left),
            top + y0 / (h * wanted * scale) * (bottom - top),
            min(right, left + x1 / (w * wanted * scale) * (right - left)),
            min(bottom, top + y1 / (h * wanted * scale) * (bottom - top)),
        )
        some = smallest_print(x_heights(words, text_source)[_inside(words, box)]) * height
        crops.append(_crop(box, size, reader, wanted * scale, some))
    return crops


def _crop(
    box: Box, size: tuple[float, float], reader: ReaderInput, scale: float, x_height: float
) -> Crop:
    w = max(1.0, (box[2] - box[0]) * size[0] * scale)
    h = max(1.0, (box[3] - box[1]) * size[1] * scale)
    fit = reader.scale(w, h)
    return Crop(box, max(1, round(w * fit)), max(1, round(h * fit)), x_height * scale * fit)


def _side(reader: ReaderInput) -> int:
    """The side of a square that the reader takes as it is."""
    sides: list[int] = [
        side for side in (reader.max_side, *(reader.fixed or ())) if side is not None
    ]
    if reader.max_pixels is not None:
        sides.append(math.isqrt(reader.max_pixels))
    return max(16, min(sides))


def _inside(
    words: PageWords, region: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    centres = (words.boxes[:, :2] + words.boxes[:, 2:]) / 2
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (centres[:, 0] >= region[0])
        & (centres[:, 0] <= region[2])
        & (centres[:, 1] >= region[1])
        & (centres[:, 1] <= region[3])
    )
    return found

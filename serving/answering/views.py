"""Pictures of a page for a model: the places found at a size at which their print can be read,
cut into tiles where one picture would be shrunk, and the whole page small.

What is legible is ``retrieval.legibility``'s rule, as for encoders and OCR. Print that stays too
small even so is marked, so that the model is told to trust the page's words instead.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from indexing.index import Index
from retrieval.errors import FolioscopeError
from retrieval.legibility import (
    COMFORTABLE,
    Crop,
    ReaderInput,
    legible_crops,
    smallest_print,
    x_heights,
)
from retrieval.types import Box
from serving.answering.types import EvidencePage

# What a place is shown with above and below it: a table's head, the lines beside it.
_AROUND = 0.12
_DPI = (72, 300)
# Pages without words are taken as set in 10-point print, whose x-height is 4.5 points.
_X_HEIGHT, _POINTS = 4.5, 842


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """``legible`` is the x-height in pixels that print should have for the model, ``reader`` how
    it shrinks what it is sent; ``overview`` is the whole page's longer side in pixels, ``places``
    how many of the places found are shown."""

    legible: float = COMFORTABLE
    reader: ReaderInput = field(default_factory=lambda: ReaderInput(max_side=1536))
    overview: int = 640
    places: int = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of a page or of ``box`` on it (page fractions); ``size`` is width and height.
    ``legible`` False: its smallest print has too few pixels for the model, whatever is done. Of a
    whole page nothing is said: its places are shown beside it."""

    data: bytes
    size: tuple[int, int]
    box: Box | None
    legible: bool = True

    def url(self) -> str:
        """As a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode()


def views(page: EvidencePage, index: Index, settings: ViewSettings) -> list[Picture]:
    """The places found, legible, the most telling tile first, then the whole page.

    Empty where the page cannot be pictured: its words are there all the same.
    """
    record = page.record
    places = _merged([_around(region.box) for region in page.hit.regions[: settings.places]])
    rows = max((_rows(page, box, settings.legible) for box in places), default=settings.overview)
    dpi = round(np.clip(rows * 72 / max(record.height, 1.0), *_DPI))
    try:
        whole = Pillow.fromarray(index.page_image(page.hit, dpi=dpi))
    except FolioscopeError:
        return []
    crops = [
        crop
        for box in places
        for crop in legible_crops(
            box,
            record.words,
            record.text_source,
            whole.size,
            settings.reader,
            least=settings.legible,
        )
    ]
    crops.sort(key=lambda crop: -_telling(page, crop.box))
    side = settings.overview if crops else max(whole.size)
    scale = min(1.0, side / max(whole.size))
    size = (max(1, int(whole.width * scale)), max(1, int(whole.height * scale)))
    fit = settings.reader.scale(*size)
    size = (max(1, int(size[0] * fit)), max(1, int(size[1] * fit)))
    return [*(_cropped(whole, crop) for crop in crops), _picture(whole, size, None)]


def _rows(page: EvidencePage, box: Box, legible: float) -> int:
    """How many pixels high the page must be for the print inside ``box`` to be legible."""
    words = page.record.words
    inside = _inside(page, box)
    heights = x_heights(words, page.record.text_source)
    tall = smallest_print(heights[inside]) or _X_HEIGHT / _POINTS
    return math.ceil(legible / max(tall, 1e-3))


def _around(box: Box) -> Box:
    """The full width of the page, from a little above the box to a little below."""
    return (0.0, max(0.0, box[1] - _AROUND), 1.0, min(1.0, box[3] + _AROUND))


def _merged(boxes: list[Box]) -> list[Box]:
    """Bands that overlap as one."""
    merged: list[Box] = []
    for box in sorted(boxes, key=lambda box: box[1]):
        if merged and box[1] <= merged[-1][3]:
            merged[-1] = (0.0, merged[-1][1], 1.0, max(merged[-1][3], box[3]))
        else:
            merged.append(box)
    return merged


def _telling(page: EvidencePage, box: Box) -> float:
    """How much the words inside ``box`` say for the question."""
    inside = _inside(page, box)
    if not page.evidence.size or not inside.any():
        return 0.0
    return float(page.evidence[:, inside].max(axis=1).sum())


def _inside(page: EvidencePage, box: Box) -> NDArray[np.bool_]:
    """Which of the page's words have their centre in ``box``."""
    boxes = page.record.words.boxes
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside: NDArray[np.bool_] = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
    return inside


def _cropped(whole: Pillow.Image, crop: Crop) -> Picture:
    width, height = whole.size
    x0, y0, x1, y1 = crop.box
    part = whole.crop(
        (
            int(x0 * width),
            int(y0 * height),
            max(int(x0 * width) + 1, math.ceil(x1 * width)),
            max(int(y0 * height) + 1, math.ceil(y1 * height)),
        )
    )
    return _picture(part, (crop.width, crop.height), crop.box, crop.legible)


def _picture(
    image: Pillow.Image, size: tuple[int, int], box: Box | None, legible: bool = True
) -> Picture:
    if size != image.size:
        image = image.resize(size, Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue(), image.size, box, legible)

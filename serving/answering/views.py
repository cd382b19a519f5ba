"""Pictures of a page for a model: the places found at a size at which their print can be read,
cut into tiles where one picture would be shrunk, and the whole page small."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from indexing.index import Index
from retrieval.errors import FolioscopeError
from retrieval.types import Box, PageWords
from serving.answering.types import EvidencePage

# What a place is shown with above and below it: a table's head, the lines beside it.
_AROUND = 0.12
# Tiles share a strip, so that no line is cut through in both of them.
_OVERLAP = 0.06
_DPI = (72, 300)
# Print of which a tenth is smaller is judged by that tenth's upper end: tables are set small.
_SMALL_PRINT = 0.1


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """Sizes in pixels. Below ``legible`` a word is too low for models to tell its digits apart.
    Beyond the side ``largest`` they shrink a picture, and its print with it; ``overview`` is the
    whole page's longer side. ``places`` is how many of the places found are shown."""

    legible: int = 14
    largest: int = 1536
    overview: int = 640
    places: int = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of a page or of ``box`` on it (page fractions); ``size`` is width and height."""

    data: bytes
    size: tuple[int, int]
    box: Box | None

    def url(self) -> str:
        """As a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode()


def views(page: EvidencePage, index: Index, settings: ViewSettings) -> list[Picture]:
    """The places found, legible, the most telling tile first, then the whole page.

    Empty where the page cannot be pictured: its words are there all the same.
    """
    record = page.record
    places = _merged([_around(region.box) for region in page.hit.regions[: settings.places]])
    whole_rows = settings.overview
    if places:
        rows = [legible_rows(record.words, box, settings.legible) for box in places]
        whole_rows = max(rows)
    dpi = round(np.clip(whole_rows * 72 / max(record.height, 1.0), *_DPI))
    try:
        whole = Pillow.fromarray(index.page_image(page.hit, dpi=dpi))
    except FolioscopeError:
        return []
    tiles = []
    for box in places:
        # A scan has the pixels it has; more of them would not make it clearer.
        scale = min(1.0, legible_rows(record.words, box, settings.legible) / whole.height)
        tiles += [_picture(whole, tile, scale) for tile in _tiles(box, whole, scale, settings)]
    tiles.sort(key=lambda tile: -_telling(page, tile.box))
    shrink = min(1.0, settings.overview / max(whole.size))
    if not tiles:
        shrink = min(1.0, settings.largest / max(whole.size))
    return [*tiles, _picture(whole, None, shrink)]


def legible_rows(words: PageWords, box: Box, legible: int) -> int:
    """How many pixels high the page must be for the print inside ``box`` to be legible.

    Pages without words there are taken as set in 10-point print.
    """
    boxes = words.boxes
    if len(boxes):
        y = (boxes[:, 1] + boxes[:, 3]) / 2
        x = (boxes[:, 0] + boxes[:, 2]) / 2
        inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
        if inside.any():
            heights = boxes[inside, 3] - boxes[inside, 1]
            tall = float(np.quantile(heights, _SMALL_PRINT))
            return math.ceil(legible / max(tall, 1e-3))
    return math.ceil(legible * 842 / 10)


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


def _tiles(box: Box, whole: Pillow.Image, scale: float, settings: ViewSettings) -> Iterator[Box]:
    """``box`` cut so that no tile's side is over ``largest`` pixels once scaled."""
    x0, y0, x1, y1 = box
    width, height = (x1 - x0) * whole.width * scale, (y1 - y0) * whole.height * scale
    for top, bottom in _cuts(y0, y1, height, settings.largest - 2):
        for left, right in _cuts(x0, x1, width, settings.largest - 2):
            yield (left, top, right, bottom)


def _cuts(start: float, end: float, pixels: float, largest: int) -> list[tuple[float, float]]:
    if pixels <= largest:
        return [(start, end)]
    number = math.ceil((pixels / largest - _OVERLAP) / (1 - _OVERLAP))
    length = (end - start) * largest / pixels
    step = (end - start - length) / (number - 1)
    return [(start + i * step, min(end, start + i * step + length)) for i in range(number)]


def _telling(page: EvidencePage, box: Box | None) -> float:
    """How much the words inside ``box`` say for the question."""
    boxes = page.record.words.boxes
    if box is None or not len(boxes) or not page.evidence.size:
        return 0.0
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
    return float(page.evidence[:, inside].max(axis=1).sum()) if inside.any() else 0.0


def _picture(whole: Pillow.Image, box: Box | None, scale: float) -> Picture:
    image = whole
    if box is not None:
        width, height = whole.size
        image = whole.crop(
            (
                int(box[0] * width),
                int(box[1] * height),
                max(int(box[0] * width) + 1, math.ceil(box[2] * width)),
                max(int(box[1] * height) + 1, math.ceil(box[3] * height)),
            )
        )
    if scale < 1.0:
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue(), image.size, box)

"""A page that is a picture, read by OCR at a resolution at which its print can be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow

from indexing.faults import Faults
from indexing.ocr import OcrPage, Raster, read_words
from indexing.ocr_engines import COMFORT
from indexing.renderers import OpenDocument
from indexing.renderers.base import Image, pixel_part
from indexing.settings import IntakeSettings
from indexing.visibility import PRINT_DPI, overlooked, print_without_words, spoken
from retrieval.legibility import MINIMUM
from retrieval.tiling import PixelBox, TileSettings
from retrieval.types import Box, PageWords

# Of what OCR saw, the share that it could not read, or that is too small to be trusted.
_PARTLY, _MOSTLY = 0.1, 0.5
# Of a page with lines of print, fewer words than this are as good as none: it is too faint.
_FEWEST = 3
# A page is drawn again, finer, for print that gains at least this much; beyond the second, engines
# gain nothing more.
_WORTH, _FINEST_DPI = 1.2, 600
# Letters are aimed a little above what is comfortable: heights are estimates.
_AIM = 1.25


class PageRaster:
    """A ``Raster`` of a page, or of the part ``box`` of it (fractions), that is never drawn whole
    at its full resolution."""

    def __init__(
        self, document: OpenDocument, number: int, dpi: int, box: Box = (0.0, 0.0, 1.0, 1.0)
    ) -> None:
        self._document, self._number, self._dpi, self._box = document, number, dpi, box
        x0, y0, x1, y1 = pixel_part(box, *document.pixels(number, dpi))
        self.width, self.height = x1 - x0, y1 - y0

    def crop(self, box: PixelBox) -> Image:
        x0, y0, x1, y1 = box
        left, top = self._box[:2]
        wide, high = (self._box[2] - left) / self.width, (self._box[3] - top) / self.height
        part = (left + x0 * wide, top + y0 * high, left + x1 * wide, top + y1 * high)
        return _sized(self._document.render_part(self._number, self._dpi, part), x1 - x0, y1 - y0)

    def shrunk(self, width: int, height: int) -> Image:
        dpi = max(1, round(self._dpi * width / self.width))
        if self._box == (0.0, 0.0, 1.0, 1.0):
            # A little more than asked for, as the resolution is a whole number; then that size.
            image = self._document.render(self._number, dpi, int(1.1 * width * height) + 1)
        else:
            image = self._document.render_part(self._number, dpi, self._box)
        return _sized(image, width, height)

    def whole(self) -> Image:
        """All of it at its full resolution, as the library draws it."""
        return self._document.render_part(self._number, self._dpi, self._box)


def _sized(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    resized = Pillow.fromarray(image).resize((width, height), Pillow.Resampling.LANCZOS)
    return np.asarray(resized, np.uint8)


def read_picture(
    document: OpenDocument,
    number: int,
    image: Image,
    layer: PageWords,
    settings: IntakeSettings,
    faults: Faults,
    on_part: Callable[[], None],
) -> tuple[PageWords, str]:
    """OCR's words and which engine's they are, unless the text layer has more to say.

    ``image`` is the page as drawn within ``max_pixels``. Where that was coarser than asked for,
    or print turns out to be small, the page is read from finer parts. What stays illegible is
    flagged.
    """
    unreadable = "text-layer-unreadable" in faults.flags
    kept = PageWords.empty() if unreadable else layer
    source = "layer" if len(kept) else "none"
    engine = settings.ocr
    if engine == "off":
        return kept, source
    tiles = TileSettings(most=settings.max_tiles)

    def read(raster: Image | Raster) -> OcrPage | None:
        return faults.attempt(
            lambda: read_words(raster, engine, tiles, on_part), None, "ocr-failed"
        )

    # What another library drew, this one cannot draw in parts.
    own = not any(flag.startswith("rendered-by") for flag in faults.flags)
    full = Faults().attempt(lambda: document.pixels(number, settings.ocr_dpi), None, "")
    coarse = own and full is not None and image.shape[1] < 0.99 * full[0]
    found = read(PageRaster(document, number, settings.ocr_dpi) if coarse else image)
    if own and found is not None:
        finer = _finer(document, number, found, settings.ocr_dpi)
        if finer > _WORTH * settings.ocr_dpi:
            on_part()
            again = read(PageRaster(document, number, finer))
            if again is not None and _told(again) > _told(found):
                found = again
    if found is None or (len(kept) and len(found.words) <= len(kept)):
        return kept, source
    if found.turned:
        faults.flags.append("turned")
    if found.left_out:
        faults.flags.append("detail-cut")
    lost = spoken(found.words) < _FEWEST and _shows_print(image, settings.ocr_dpi)
    lost = lost or overlooked(found.words, image)
    if found.unread >= _PARTLY or lost:
        faults.flags.append("illegible" if found.unread >= _MOSTLY or lost else "partly-illegible")
    if not len(found.words):
        return kept, source
    return found.words, f"ocr:{found.engine}"


def _shows_print(image: Image, dpi: int) -> bool:
    """Whether ``image``, a page at ``dpi``, has something like lines of print on it."""
    picture = Pillow.fromarray(image)
    coarse = np.asarray(picture.reduce(max(1, round(dpi / PRINT_DPI))), np.uint8)
    return bool(print_without_words(PageWords.empty(), coarse))


def _finer(document: OpenDocument, number: int, found: OcrPage, dpi: int) -> int:
    """The resolution at which the smallest print of the page is comfortable, as far as the page
    has that much detail; ``dpi`` where it is so already."""
    comfort = COMFORT[found.engine]
    if not found.x_height or (found.x_height >= comfort and found.unread < _PARTLY):
        return dpi
    wanted = dpi * _AIM * comfort / max(found.x_height, MINIMUM / 2)
    has = Faults().attempt(lambda: document.detail(number), 0.0, "")
    return int(min(wanted, has, _FINEST_DPI))


def _told(page: OcrPage) -> float:
    """How much was read for sure: words weighed by the engine's confidence."""
    return len(page.words) * page.confidence * (1 - page.unread)

"""How a page would be read, found out without reading it: what ``folioscope inspect`` asks."""

from __future__ import annotations

import numpy as np

from indexing.faults import Faults
from indexing.layer import CheckedLayer, check_layer
from indexing.media_types import PDF
from indexing.messages import PagePlan
from indexing.ocr import PALE_EDGE, InMemory, has_run, print_blocks
from indexing.ocr_engines import SIDE
from indexing.reading import is_blank, needs_ocr
from indexing.renderers import OpenDocument
from indexing.renderers.base import Image
from indexing.settings import IntakeSettings
from retrieval.tiling import TileSettings, plan_tiles
from retrieval.types import PageWords

# Enough to see which parts have print on them.
_MOST_PIXELS = 4_000_000


def plan_page(
    document: OpenDocument, media_type: str, number: int, settings: IntakeSettings
) -> PagePlan:
    """Page ``number`` without OCR: its text layer, whether it would be read by OCR, and in how
    many parts at most."""
    faults = Faults()
    layer = faults.attempt(lambda: document.words(number), PageWords.empty(), "text-failed")
    checked = CheckedLayer(layer)
    if len(layer) and media_type == PDF and settings.check_layer:
        checked = check_layer(document, number, layer, faults, settings.ocr)
    ocr = settings.ocr != "off"
    reading = ocr and needs_ocr(document, number, checked.words, media_type, faults)
    tiles = 0
    if reading:
        image: Image | None = faults.attempt(
            lambda: document.render(number, settings.ocr_dpi, _MOST_PIXELS), None, "render-failed"
        )
        reading = image is not None and not is_blank(image)
        size = Faults().attempt(lambda: document.pixels(number, settings.ocr_dpi), (0, 0), "")
        if image is not None and reading and max(size) > SIDE["rapidocr"]:
            tiles = min(settings.max_tiles, _with_print(image, size))
    elif checked.missing and ocr:
        faults.flags.append("text-missing-in-layer")
        tiles = min(settings.max_tiles, len(checked.missing))
        if len(checked.missing) > settings.max_tiles:
            faults.flags.append("detail-cut")
    more: tuple[str, ...] = faults.attempt(lambda: document.page_flags(number), (), "page-damaged")
    how = "ocr" if reading else "layer" if len(checked.words) else "nothing"
    return PagePlan(
        number,
        how,  # type: ignore[arg-type]  # one of the three words
        len(checked.words),
        tiles,
        tuple(dict.fromkeys([*faults.flags, *more])),
        document.part(number),
    )


def _with_print(image: Image, size: tuple[int, int]) -> int:
    """How many tiles of a page of ``size`` pixels have something like print on them."""
    raster = InMemory(image)
    scale = np.array([raster.width / size[0], raster.height / size[1]] * 2)
    count = 0
    for tile in plan_tiles(*size, TileSettings()):
        x0, y0, x1, y1 = (np.array(tile) * scale).astype(int)
        part = raster.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)))
        count += has_run(print_blocks(part, edge=PALE_EDGE))
    return count

"""A page's text layer, checked against the page as drawn: what it hides, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.faults import Faults
from indexing.ocr import Raster
from indexing.renderers import OpenDocument
from indexing.renderers.base import Image
from indexing.settings import IntakeSettings
from indexing.visibility import (
    PREVIEW_DPI,
    PRINT_DPI,
    inside,
    keep,
    look,
    print_without_words,
    spoken,
)
from retrieval.tiling import TileSettings
from retrieval.types import Box, PageWords

# A page's pixels at these resolutions, whatever size it claims: posters are drawn coarser.
_MOST_PIXELS = 10_000_000
# What OCR finds where the layer has nothing counts from this confidence and number of words on.
_SURE, _FEWEST = 0.6, 3
# Most words have two letters or more; a layer of which fewer do is no language.
_WORDLIKE = 0.3


@dataclass(frozen=True, slots=True)
class CheckedLayer:
    """The words that the page shows, and where it shows print that the layer lacks."""

    words: PageWords
    missing: tuple[Box, ...] = ()


def check_layer(
    document: OpenDocument, number: int, layer: PageWords, faults: Faults
) -> CheckedLayer:
    """``layer`` without the words that nobody sees, with the flag ``hidden-text`` if there are
    any. A page that cannot be drawn is taken as it is."""
    attempts = Faults()
    preview: Image | None = attempts.attempt(
        lambda: document.render(number, PREVIEW_DPI, _MOST_PIXELS), None, ""
    )
    if preview is None or not len(layer):
        return CheckedLayer(layer)
    sight = look(layer, preview, document.size(number))
    hidden = sight.unseen
    if len(sight.stacked):
        # The pixels show another word there: the file itself says which of the two is not drawn.
        said: list[tuple[Box, str]] = attempts.attempt(lambda: document.unpainted(number), [], "")
        hidden = hidden | _under_others(layer, sight.stacked, said)
    words = layer
    if hidden.any():
        faults.flags.append("hidden-text")
        words = keep(layer, ~hidden)
    if not sight.print_like:
        return CheckedLayer(words)
    image: Image | None = attempts.attempt(
        lambda: document.render(number, PRINT_DPI, _MOST_PIXELS), None, ""
    )
    missing = () if image is None else tuple(print_without_words(words, image))
    return CheckedLayer(words, missing)


def _under_others(
    layer: PageWords, stacked: NDArray[np.intp], said: Sequence[tuple[Box, str]]
) -> NDArray[np.bool_]:
    """The words of lines that lie on painted words and that the file says (``said``) not to
    paint. Those that lie on each other are the layer of a scan, whose picture shows them."""
    boxes = np.array([box for box, _ in said], np.float32).reshape(-1, 4)
    unpainted = np.zeros(len(layer), bool)
    for i in np.flatnonzero(inside(layer, boxes)).tolist():
        x, y = (layer.boxes[i, :2] + layer.boxes[i, 2:]) / 2
        here = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        unpainted[i] = any(
            layer.texts[i] in said[span][1] for span in np.flatnonzero(here).tolist()
        )
    one, other = stacked.T
    odd = np.concatenate(
        (one[unpainted[one] & ~unpainted[other]], other[unpainted[other] & ~unpainted[one]])
    )
    found: NDArray[np.bool_] = unpainted & np.isin(layer.lines, layer.lines[odd])
    return found


def with_missing(
    document: OpenDocument,
    number: int,
    checked: CheckedLayer,
    settings: IntakeSettings,
    faults: Faults,
    on_part: Callable[[], None],
) -> PageWords:
    """The layer's words and, after them, what OCR reads in the parts that it lacks; flagged
    ``text-missing-in-layer`` if that is something. A layer that turns out to be gibberish is
    left out, and flagged ``text-layer-unreadable``.

    Parts and what they are read in count as tiles of the page; if it would take more than
    ``max_tiles``, it is flagged ``detail-cut``.
    """
    from indexing.ocr import read_words

    engine = settings.ocr
    if engine == "off":
        return checked.words
    words = checked.words
    left = settings.max_tiles
    cut = False
    for box in checked.missing:
        if not left:
            cut = True
            break
        raster = faults.attempt(
            lambda box=box: _part(document, number, box, settings),  # type: ignore[misc]
            None,
            "ocr-failed",
        )
        if raster is None:
            continue
        tiles = TileSettings(most=max(1, left - 1))
        found = faults.attempt(
            lambda raster=raster, tiles=tiles: read_words(raster, engine, tiles, on_part),  # type: ignore[misc]
            None,
            "ocr-failed",
        )
        on_part()
        left -= 1
        if found is None:
            continue
        left = max(0, left - found.tiles)
        cut |= found.left_out > 0
        if found.confidence < _SURE or spoken(found.words) < _FEWEST:
            continue
        new = keep(found.words, ~_known(found.words, words, box))
        if spoken(new) < _FEWEST:
            continue
        words = _joined(words, new, box)
    if cut:
        faults.flags.append("detail-cut")
    if words is checked.words:
        return words
    read = keep(words, np.arange(len(words)) >= len(checked.words))
    if _gibberish(checked.words, read):
        faults.flags.append("text-layer-unreadable")
        return read
    faults.flags.append("text-missing-in-layer")
    return words


def _part(
    document: OpenDocument, number: int, box: Box, settings: IntakeSettings
) -> Image | Raster:
    """What is at ``box``: drawn at once, or bit by bit if that is more than ``max_pixels``."""
    from indexing.picture_reading import PageRaster

    raster = PageRaster(document, number, settings.ocr_dpi, box)
    if raster.width * raster.height > settings.max_pixels:
        return raster
    return raster.whole()


def _gibberish(layer: PageWords, read: PageWords) -> bool:
    """Whether the layer is not what the page says: hardly a word in it, and far more on the page.
    Fonts with made-up codes give signs that look like any others."""
    return spoken(layer) < _WORDLIKE * len(layer) and spoken(read) > len(layer)


def _on_page(words: PageWords, box: Box) -> PageWords:
    origin = np.array([box[0], box[1]] * 2, np.float32)
    scale = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float32)
    return PageWords(words.texts, words.boxes * scale + origin, words.lines)


def _known(
    found: PageWords, words: PageWords, box: Box
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of the words ``found`` in ``box`` the layer has: the part's margin reaches into it."""
    return inside(_on_page(found, box), words.boxes)


def _joined(words: PageWords, more: PageWords, box: Box) -> PageWords:
    placed = _on_page(more, box)
    first = int(words.lines[-1]) + 1 if len(words) else 0
    # Lines keep their order and are numbered on from the layer's last.
    _, lines = np.unique(placed.lines, return_inverse=True)
    return PageWords(
        words.texts + placed.texts,
        np.concatenate((words.boxes, placed.boxes)),
        np.concatenate((words.lines, lines.astype(np.int32) + first)),
    )

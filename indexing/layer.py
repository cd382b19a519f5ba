"""A page's text layer, checked against the page as drawn: what it hides, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from indexing.faults import Faults
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
)
from retrieval.tiling import TileSettings
from retrieval.types import Box, PageWords

# A page's pixels at these resolutions, whatever size it claims: posters are drawn coarser.
_MOST_PIXELS = 10_000_000
# Below this share of ink without words there is a rule, a logo or a page number.
_INK = 0.01
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
    if sight.overlaid:
        # The pixels show another word there: the file itself says which of the two is not drawn.
        boxes = attempts.attempt(
            lambda: document.unpainted(number), np.zeros((0, 4), np.float32), ""
        )
        hidden = hidden | inside(layer, boxes)
    words = layer
    if hidden.any():
        faults.flags.append("hidden-text")
        words = keep(layer, ~hidden)
    if sight.ink < _INK:
        return CheckedLayer(words)
    image: Image | None = attempts.attempt(
        lambda: document.render(number, PRINT_DPI, _MOST_PIXELS), None, ""
    )
    missing = () if image is None else tuple(print_without_words(words, image))
    return CheckedLayer(words, missing)


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
    left out, and flagged ``text-layer-unreadable``."""
    from indexing.ocr import read_words

    engine = settings.ocr
    if engine == "off":
        return checked.words
    tiles = TileSettings(most=settings.max_tiles)
    words = checked.words
    for box in checked.missing[: settings.max_tiles]:
        image: Image | None = faults.attempt(
            lambda box=box: document.render_part(number, settings.ocr_dpi, box),  # type: ignore[misc]
            None,
            "ocr-failed",
        )
        if image is None or not image.size:
            continue
        found = faults.attempt(
            lambda image=image: read_words(image, engine, tiles, on_part),  # type: ignore[misc]
            None,
            "ocr-failed",
        )
        on_part()
        if found is None or found.confidence < _SURE or _spoken(found.words) < _FEWEST:
            continue
        new = keep(found.words, ~_known(found.words, words, box))
        if _spoken(new) < _FEWEST:
            continue
        words = _joined(words, new, box)
    if words is checked.words:
        return words
    read = keep(words, np.arange(len(words)) >= len(checked.words))
    if _gibberish(checked.words, read):
        faults.flags.append("text-layer-unreadable")
        return read
    faults.flags.append("text-missing-in-layer")
    return words


def _gibberish(layer: PageWords, read: PageWords) -> bool:
    """Whether the layer is not what the page says: hardly a word in it, and far more on the page.
    Fonts with made-up codes give signs that look like any others."""
    return _spoken(layer) < _WORDLIKE * len(layer) and _spoken(read) > len(layer)


def _spoken(words: PageWords) -> int:
    return sum(sum(map(str.isalnum, text)) > 1 for text in words.texts)


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

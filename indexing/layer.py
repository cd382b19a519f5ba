"""A page's text layer, checked against the page as drawn: what it hides, and what it lacks."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.faults import Faults
from indexing.layer_proof import Verdict, of_no_language, prove
from indexing.ocr import Choice, OcrPage, Raster, read_words
from indexing.renderers import OpenDocument
from indexing.renderers.base import Image, pixel_part
from indexing.settings import IntakeSettings, OcrChoice
from indexing.visibility import (
    PREVIEW_DPI,
    PRINT_DPI,
    inside,
    keep,
    look,
    print_without_words,
    spoken,
    with_print,
)
from retrieval.tiling import TileSettings
from retrieval.types import Box, PageWords

# A page's pixels at these resolutions, whatever size it claims: posters are drawn coarser.
_MOST_PIXELS = 10_000_000
# Lines are read at this resolution to be compared; where that says nothing, fewer letters than this
# are not worth a word.
_PROOF_DPI, _UNPROVED = 200, 24
# A picture with a word on it: its shorter side in points, its share of the page, tones it spans.
_LEAST_SIDE, _WHOLE_PAGE, _TONES = 6, 0.9, 60
# What OCR finds where the layer has nothing counts from this confidence and number of words on.
_SURE, _FEWEST = 0.6, 3
# So does less, a price or a stamp, of which an engine is surer.
_VERY_SURE = 0.85
# Pictures that come again on page after page, as logos do, are read once.
_REMEMBERED = 64
# Most words have two letters or more; a layer of which fewer do is no language.
_WORDLIKE = 0.3


@dataclass(frozen=True, slots=True)
class CheckedLayer:
    """The words that the page shows, and where it shows print that the layer lacks."""

    words: PageWords
    missing: tuple[Box, ...] = ()


def check_layer(
    document: OpenDocument,
    number: int,
    layer: PageWords,
    faults: Faults,
    engine: OcrChoice = "off",
) -> CheckedLayer:
    """``layer`` without the words that nobody sees, with the flag ``hidden-text`` if there are
    any, and without those that are not what the page shows, which only an OCR ``engine`` can tell.
    A page that cannot be drawn is taken as it is."""
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
    if engine != "off" and len(words):
        words, changed = _proved(document, number, words, engine, faults)
        if changed:
            sight = look(words, preview, document.size(number))
    pictures: list[Box] = []
    if engine != "off":
        pictures = attempts.attempt(lambda: document.pictures(number), [], "")
    pictures = [box for box in pictures if _may_say(box, document.size(number), preview)]
    if not sight.print_like and not pictures:
        return CheckedLayer(words)
    image: Image | None = attempts.attempt(
        lambda: document.render(number, PRINT_DPI, _MOST_PIXELS), None, ""
    )
    if image is None:
        return CheckedLayer(words)
    pictures = with_print(words, image, pictures)
    lines = print_without_words(words, image) if sight.print_like else []
    # What is in a picture is read with the rest of it.
    rest = [line for line in lines if not any(_mostly_in(line, box) for box in pictures)]
    return CheckedLayer(words, (*rest, *pictures))


def _may_say(box: Box, points: tuple[float, float], preview: Image) -> bool:
    """Whether a picture is large enough for a word, smaller than a page, and not of one tone."""
    width, height = (box[2] - box[0]) * points[0], (box[3] - box[1]) * points[1]
    if min(width, height) < _LEAST_SIDE or (box[2] - box[0]) * (box[3] - box[1]) > _WHOLE_PAGE:
        return False
    x0, y0, x1, y1 = pixel_part(box, preview.shape[1], preview.shape[0])
    part = preview[y0:y1, x0:x1]
    return int(part.max()) - int(part.min()) >= _TONES


def _mostly_in(line: Box, picture: Box) -> bool:
    width = min(line[2], picture[2]) - max(line[0], picture[0])
    height = min(line[3], picture[3]) - max(line[1], picture[1])
    area = (line[2] - line[0]) * (line[3] - line[1])
    return width > 0 and height > 0 and width * height > area / 2


def _proved(
    document: OpenDocument, number: int, words: PageWords, engine: Choice, faults: Faults
) -> tuple[PageWords, bool]:
    """``words`` without those that the page's picture disproves, and whether there were any."""
    attempts = Faults()
    gibberish = of_no_language(words)
    if gibberish:
        doubtful = np.ones(len(words), bool)
    else:
        places: list[Box] = attempts.attempt(lambda: document.doubtful(number), [], "")
        doubtful = inside(words, np.array(places, np.float32).reshape(-1, 4))
    if not doubtful.any():
        return words, False
    some = keep(words, doubtful)

    def compare() -> Verdict:
        return prove(some, document.render(number, _PROOF_DPI, _MOST_PIXELS), engine)

    verdict: Verdict = attempts.attempt(compare, "unread", "")
    if verdict == "as shown" or (gibberish and verdict != "other words"):
        return words, False
    if verdict == "no words" and len(some) < len(words) / 2:
        # A page that is printed otherwise is no scan, whose handwriting somebody else has read.
        verdict = "other words"
    if verdict in ("unread", "no words"):
        if sum(map(str.isalnum, "".join(some.texts))) >= _UNPROVED:
            faults.flags.append("layer-unproved")
        return words, False
    flag = "text-layer-unreadable" if gibberish else "hidden-text"
    faults.flags.append("layer-differs" if verdict == "other numbers" else flag)
    return keep(words, ~doubtful), True


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
            lambda raster=raster, tiles=tiles: _read(raster, engine, tiles, on_part),  # type: ignore[misc]
            None,
            "ocr-failed",
        )
        on_part()
        left -= 1
        if found is None:
            continue
        left = max(0, left - found.tiles)
        cut |= found.left_out > 0
        fewest = 1 if found.confidence >= _VERY_SURE else _FEWEST
        if found.confidence < _SURE or spoken(found.words) < fewest:
            continue
        new = keep(found.words, ~_known(found.words, words, box))
        if spoken(new) < fewest:
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


# By the pixels of a part and how it is read; a reader is one process, which reads one document
# after the other.
_READ: OrderedDict[tuple[bytes, Choice, int], OcrPage] = OrderedDict()


def _read(
    raster: Image | Raster, engine: Choice, tiles: TileSettings, on_part: Callable[[], None]
) -> OcrPage:
    """``read_words``, once for the same pixels."""
    if not isinstance(raster, np.ndarray):
        return read_words(raster, engine, tiles, on_part)
    pixels = hashlib.sha256(repr(raster.shape).encode() + raster.tobytes()).digest()
    key = (pixels, engine, tiles.most)
    if key not in _READ:
        _READ[key] = read_words(raster, engine, tiles, on_part)
        if len(_READ) > _REMEMBERED:
            _READ.popitem(last=False)
    return _READ[key]


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

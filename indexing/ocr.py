"""Reading the words of a picture of any size, at a size at which its letters can be read.

tesseract is fast and good on clean print; rapidocr (PP-OCR) is slower and reads receipts,
photographs and screenshots far better. ``auto`` asks tesseract first and rapidocr where tesseract
itself is unsure.

What is larger than an engine takes at once is looked at shrunk first. That is enough for a scan
of large print, and reads headings that no tile holds whole. Wherever letters were small in that
view, or something that looks like print was not read in it, the picture is read again in tiles
of its own pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from indexing.ocr_engines import COMFORT, SIDE, Engine, Reading, read_once
from indexing.reading_order import lines_in_order, order_words
from indexing.spaced_letters import join_spaced_letters
from retrieval.errors import EncoderError
from retrieval.legibility import MINIMUM, smallest_print
from retrieval.reading_turn import turned
from retrieval.tiling import PixelBox, TileSettings, cut_by, once_each, plan_tiles
from retrieval.types import FloatArray, PageWords

Choice = Literal["auto", "tesseract", "rapidocr"]
Image = NDArray[np.uint8]
# auto keeps tesseract's reading from this mean word confidence on; below it, half of the
# receipts miss their total (docs/BENCHMARKS.md).
_SURE = 0.90
_FEW_WORDS = 25
_GUESSED = 0.5
# A word of comfortable size that the view of the whole read so surely is not read better in parts,
# where letters may be many times as large as an engine likes, and lines longer than a part.
_SURE_AT_ONCE = 0.8
_DIRT = 3
# rapidocr is .95 sure of receipts that lie upright and .6 to .7 of the same upside down.
_UPRIGHT, _GAIN = 0.8, 0.1
# So many lines that run up or down mean that the page lies on its side.
_SIDEWAYS = 0.6
# Radians: on a slant of a degree, a line climbs by its own height over half a page.
_ASKEW = 0.017
# Print seen by its strokes: in a block of so many pixels, edges across and down by so many.
BLOCK = 16
_EDGE = 48
# So little is enough where the view of the whole read nothing: a pale receipt on a large canvas
# was lost at 48, and other receipts take no more than a part more.
PALE_EDGE = 32
_EDGES_ACROSS, _EDGES_DOWN = 16, 8
# Fewer such blocks than this beside each other are a speck.
_BLOCKS = 3


@dataclass(frozen=True, slots=True, eq=False)
class OcrPage:
    """What was read: words in page fractions and reading order, by which engine, and the
    engine's own mean confidence, 0 to 1 (0 if there are no words).

    ``x_height`` is that of the smallest print, in pixels of the picture; ``unread`` the share of
    the lines seen that are too small or were not read; ``tiles`` how many parts were read beside
    the whole, and ``left_out`` how many more would have been needed. ``turned`` is by how many
    quarters, counter-clockwise, the picture had to be turned to be read.
    """

    words: PageWords
    engine: Engine
    confidence: float
    x_height: float = 0.0
    unread: float = 0.0
    tiles: int = 0
    left_out: int = 0
    turned: int = 0


class Raster(Protocol):
    """A picture that need not be in memory whole."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def crop(self, box: PixelBox) -> Image:
        """A part in its own pixels, ``[h, w, 3] uint8`` RGB."""
        ...

    def shrunk(self, width: int, height: int) -> Image:
        """The whole at another size."""
        ...


class InMemory:
    """A ``Raster`` over ``[h, w, 3] uint8``."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.height, self.width = image.shape[:2]

    def crop(self, box: PixelBox) -> Image:
        x0, y0, x1, y1 = box
        return np.ascontiguousarray(self._image[y0:y1, x0:x1])

    def shrunk(self, width: int, height: int) -> Image:
        if (width, height) == (self.width, self.height):
            return self._image
        small = Pillow.fromarray(self._image).resize(
            (width, height), Pillow.Resampling.LANCZOS, reducing_gap=2.0
        )
        return np.asarray(small, np.uint8)


def read_words(
    image: Image | Raster,
    engine: Choice,
    tiles: TileSettings | None = None,
    on_part: Callable[[], None] = lambda: None,
) -> OcrPage:
    """Read ``image``, ``[h, w, 3] uint8`` RGB or a ``Raster``. Raises ``EncoderError`` if the
    engine is missing. ``on_part`` is called after each part, as a sign of life."""
    raster = InMemory(image) if isinstance(image, np.ndarray) else image
    settings = tiles or TileSettings()
    if engine != "auto":
        return _read(raster, engine, settings, on_part)
    try:
        first = _read(raster, "tesseract", settings, on_part)
    except EncoderError:
        return _read(raster, "rapidocr", settings, on_part)
    if first.confidence >= _SURE and len(first.words) >= _FEW_WORDS:
        return first
    on_part()
    try:
        second = _read(raster, "rapidocr", settings, on_part)
    except EncoderError:
        return first
    # Of print in dots rapidocr may see nothing at all; a few words may be the dirt of a blank page.
    return second if len(second.words) or len(first.words) < _DIRT else first


class Turned:
    """A ``Raster`` turned by quarters, counter-clockwise."""

    def __init__(self, raster: Raster, quarters: int) -> None:
        self._raster, self._quarters = raster, quarters
        size = (raster.width, raster.height)
        self.width, self.height = size[::-1] if quarters % 2 else size

    def crop(self, box: PixelBox) -> Image:
        size = np.array([self.width, self.height] * 2, np.float32)
        part = turned_back(np.array([box], np.float32) / size, self._quarters)[0]
        own = np.array([self._raster.width, self._raster.height] * 2)
        x0, y0, x1, y1 = (round(float(value)) for value in part * own)
        return self._upright(self._raster.crop((x0, y0, x1, y1)))

    def shrunk(self, width: int, height: int) -> Image:
        size = (height, width) if self._quarters % 2 else (width, height)
        return self._upright(self._raster.shrunk(*size))

    def _upright(self, image: Image) -> Image:
        return np.ascontiguousarray(np.rot90(image, self._quarters))


def turned_back(boxes: FloatArray, quarters: int) -> FloatArray:
    """Boxes ``[n, 4]`` in fractions of a picture turned by ``quarters``, counter-clockwise, as
    fractions of the picture as it was."""
    return turned(boxes, -quarters)


def _read(
    raster: Raster, engine: Engine, settings: TileSettings, on_part: Callable[[], None]
) -> OcrPage:
    """The picture as it lies or, where that seems sideways or upside down, as it should."""
    page, upended = _read_as_it_lies(raster, engine, settings, on_part)
    if engine == "tesseract" or page.confidence == 0:
        return page
    # A line that runs up is read as if turned counter-clockwise: sure means that this was right.
    if upended > _SIDEWAYS:
        quarters = 1 if page.confidence >= _UPRIGHT else 3
    elif page.confidence < _UPRIGHT:
        quarters = 2
    else:
        return page
    on_part()
    again, _ = _read_as_it_lies(Turned(raster, quarters), engine, settings, on_part)
    better = again.confidence > page.confidence + _GAIN
    if not better and upended <= _SIDEWAYS:
        return page
    boxes = turned_back(again.words.boxes, quarters)
    words = PageWords(again.words.texts, boxes, again.words.lines)
    return replace(again, words=words, turned=quarters)


def _read_as_it_lies(
    raster: Raster, engine: Engine, settings: TileSettings, on_part: Callable[[], None]
) -> tuple[OcrPage, float]:
    """The page, and the share of its lines that run up or down."""
    width, height = raster.width, raster.height
    scale = min(1.0, SIDE[engine] / max(width, height))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    whole = _Part((0, 0, width, height), read_once(raster.shrunk(*small), engine), scale)
    if scale == 1.0:
        return _page([whole], engine, raster, 0), whole.reading.upended
    on_part()
    parts = [whole]
    wanted = [
        tile
        for tile in plan_tiles(width, height, settings)
        if _needs_detail(raster, tile, whole, COMFORT[engine])
    ]
    for tile in wanted[: settings.most]:
        parts.append(_Part(tile, read_once(raster.crop(tile), engine), 1.0))
        on_part()
    page = _page(parts, engine, raster, max(0, len(wanted) - settings.most))
    return page, float(np.median([part.reading.upended for part in parts]))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A reading of ``tile`` (pixels of the picture), which was given to the engine at ``scale``."""

    tile: PixelBox
    reading: Reading
    scale: float

    def placed(self, boxes: FloatArray) -> FloatArray:
        """``boxes`` in pixels of the picture."""
        origin = np.array(self.tile[:2] * 2, np.float32)
        moved: FloatArray = boxes / np.float32(self.scale) + origin
        return moved


def _needs_detail(raster: Raster, tile: PixelBox, whole: _Part, comfort: float) -> bool:
    """Whether ``tile`` has print that the view of the ``whole`` did not read comfortably."""
    found = whole.reading
    boxes = whole.placed(found.boxes)
    inside = _centres_in(boxes, tile)
    if (found.x_heights[inside] < comfort).any():
        return True
    if _centres_in(whole.placed(found.unread), tile).any():
        return True
    print_like = print_blocks(raster.crop(tile), edge=PALE_EDGE)
    reach = BLOCK / 2
    for x0, y0, x1, y1 in boxes - np.array(tile[:2] * 2, np.float32):
        rows = slice(max(0, int((y0 - reach) // BLOCK)), max(0, int((y1 + reach) // BLOCK) + 1))
        columns = slice(max(0, int((x0 - reach) // BLOCK)), max(0, int((x1 + reach) // BLOCK) + 1))
        print_like[rows, columns] = False
    return has_run(print_like)


def grey(image: Image) -> Image:
    """The brightness of ``[h, w, 3] uint8``: ``[h, w] uint8``."""
    return np.asarray(Pillow.fromarray(image).convert("L"), np.uint8)


def print_blocks(
    image: Image,
    block: int = BLOCK,
    edge: int = _EDGE,
    least_across: int = _EDGES_ACROSS,
    least_down: int = _EDGES_DOWN,
) -> NDArray[np.bool_]:
    """Which blocks of ``block`` x ``block`` pixels of ``image`` have edges both across and down,
    as letters do and rules, borders and flat colour do not. ``[rows, columns] bool``.

    An edge is where neighbours differ by more than ``edge`` tones.
    """
    tones = grey(image)
    rows, columns = tones.shape[0] // block, tones.shape[1] // block
    if not rows or not columns:
        return np.zeros((0, 0), bool)
    tones = tones[: rows * block, : columns * block]

    def count(first: Image, second: Image, width: int) -> NDArray[np.uint16]:
        """Edges a block: where neighbours differ. Summed by columns first, which is quick."""
        edges = np.zeros(tones.shape, np.uint8)
        change = np.maximum(first, second) - np.minimum(first, second)
        edges[tones.shape[0] - change.shape[0] :, width:] = change > edge
        by_rows = edges.reshape(rows, block, columns * block).sum(axis=1, dtype=np.uint8)
        counts: NDArray[np.uint16] = by_rows.reshape(rows, columns, block).sum(
            axis=2, dtype=np.uint16
        )
        return counts

    across = count(tones[:, 1:], tones[:, :-1], 1)
    down = count(tones[1:], tones[:-1], 0)
    found: NDArray[np.bool_] = (across >= least_across) & (down >= least_down)
    return found


def in_runs(blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of ``blocks`` ``[rows, columns]`` that stand side by side, as the letters of a word
    do."""
    found = np.zeros_like(blocks)
    if blocks.ndim != 2 or blocks.shape[1] < _BLOCKS:
        return found
    runs = np.lib.stride_tricks.sliding_window_view(blocks, _BLOCKS, axis=1).all(axis=2)
    for shift in range(_BLOCKS):
        found[:, shift : shift + runs.shape[1]] |= runs
    return found


def has_run(blocks: NDArray[np.bool_]) -> bool:
    """Whether some of ``blocks`` stand side by side."""
    return bool(in_runs(blocks).any())


def _centres_in(boxes: FloatArray, tile: PixelBox) -> NDArray[np.bool_]:
    x = (boxes[:, 0] + boxes[:, 2]) / 2
    y = (boxes[:, 1] + boxes[:, 3]) / 2
    inside: NDArray[np.bool_] = (x >= tile[0]) & (x < tile[2]) & (y >= tile[1]) & (y < tile[3])
    return inside


def _within(boxes: FloatArray, tile: PixelBox) -> NDArray[np.bool_]:
    low, high = np.array(tile[:2]), np.array(tile[2:])
    fits = np.concatenate((boxes[:, :2] >= low, boxes[:, 2:] <= high), axis=1)
    inside: NDArray[np.bool_] = np.all(fits, axis=1)
    return inside


def _page(parts: Sequence[_Part], engine: Engine, raster: Raster, left_out: int) -> OcrPage:
    """The parts, of which the first is the whole, as one page."""
    width, height = raster.width, raster.height
    texts = [text for part in parts for text in part.reading.texts]
    boxes = np.concatenate([part.placed(part.reading.boxes) for part in parts])
    x_heights = np.concatenate([part.reading.x_heights / part.scale for part in parts])
    sure = np.concatenate([part.reading.sure for part in parts])
    unread = np.concatenate([part.placed(part.reading.unread) for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part.reading.texts) for part in parts])
    confidence = parts[0].reading.confidence
    if len(parts) > 1:
        cut = np.concatenate(
            [
                cut_by(part.tile, part.placed(part.reading.boxes), width, height, _slack(part))
                for part in parts
            ]
        )
        # Small print is read better in its own pixels than in the view of the whole.
        whole = owners == 0
        easy = whole.copy()
        easy[whole] = parts[0].reading.x_heights >= COMFORT[engine]
        again = whole & ~easy & np.any([_within(boxes, part.tile) for part in parts[1:]], axis=0)
        chosen = np.flatnonzero(~again)
        worth = sure + ~whole + 2 * (easy & (sure > _SURE_AT_ONCE))
        kept = chosen[once_each(boxes[chosen], owners[chosen].tolist(), cut[chosen], worth[chosen])]
        texts = [texts[i] for i in kept]
        boxes, x_heights, sure = boxes[kept], x_heights[kept], sure[kept]
        confidence = float(sure.mean()) if len(sure) else 0.0
        unread = unread[_not_read_elsewhere(unread, boxes)]
    size = np.array([width, height] * 2, np.float32)
    placed: FloatArray = np.clip(boxes / size, 0, 1)
    slants = [part.reading.slant for part in parts if part.reading.texts]
    slant = float(np.median(slants)) if slants else 0.0
    words = _in_order(texts, placed, (x_heights / height).astype(np.float32), slant, width / height)
    # An engine guesses where letters are small: such a word was not read either.
    guessed = (x_heights < COMFORT[engine]) & (sure < _GUESSED)
    tiny = int(((x_heights < MINIMUM) | guessed).sum())
    seen = len(x_heights) + len(unread)
    return OcrPage(
        words,
        engine,
        confidence,
        x_height=smallest_print(x_heights),
        unread=(tiny + len(unread)) / seen if seen else 0.0,
        tiles=len(parts) - 1,
        left_out=left_out,
    )


def _slack(part: _Part) -> FloatArray:
    """How near the side of a part a word may be cut, ``[n]`` in pixels of the picture: a letter
    that the side halves is not read, so that "19.8" ends a letter before it."""
    slack: FloatArray = np.maximum(3.0, part.reading.x_heights / np.float32(part.scale))
    return slack


def _in_order(
    texts: list[str], boxes: FloatArray, x_heights: FloatArray, slant: float, aspect: float
) -> PageWords:
    """The words in reading order: on a page that lies askew, in the order they would have upright.
    Lines that climb by more than a line's height over the page would otherwise be mixed."""
    if abs(slant) < _ASKEW:
        return join_spaced_letters(order_words(texts, boxes, aspect))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * np.array([aspect, 1.0])
    cosine, sine = np.cos(-slant), np.sin(-slant)
    level = centres @ np.array([[cosine, sine], [-sine, cosine]]) / np.array([aspect, 1.0])
    # A word's own height: its box is higher on a slant.
    half = np.stack(((boxes[:, 2] - boxes[:, 0]) / 2, x_heights), axis=1)
    upright = np.concatenate((level - half, level + half), axis=1)
    lines = lines_in_order(upright, aspect)
    order = np.concatenate(lines) if lines else np.zeros(0, np.intp)
    numbers = np.repeat(np.arange(len(lines), dtype=np.int32), [len(line) for line in lines])
    words = PageWords(tuple(texts[i] for i in order), boxes[order], numbers)
    return join_spaced_letters(words)


def _not_read_elsewhere(unread: FloatArray, boxes: FloatArray) -> NDArray[np.bool_]:
    """Which of the ``unread`` lines no other part read: none of ``boxes`` has its centre in it."""
    x = (boxes[:, 0] + boxes[:, 2]) / 2
    y = (boxes[:, 1] + boxes[:, 3]) / 2
    lonely = [
        not ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any() for x0, y0, x1, y1 in unread
    ]
    return np.array(lonely, bool)

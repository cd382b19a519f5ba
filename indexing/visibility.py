"""Text that the layer has and the page does not show, and the reverse.

Hidden text is how documents speak to machines behind people's backs: white on white, drawn under
a picture, a tenth of a point high. Text that a page shows and its layer lacks is lost to whoever
trusts the layer. Both are judged by the page as drawn, for that is what a person sees: how a PDF
hides its words does not matter, and the invisible layer that OCR software puts over a scan is
seen wherever the scan shows something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.ocr import BLOCK, grey, has_run, in_runs, print_blocks
from indexing.renderers.base import Image
from retrieval.types import Box, FloatArray, PageWords

# What a page is drawn at to judge this. Enough: a stroke of 6-point print still leaves a trace.
PREVIEW_DPI = 40
# Of 255 tones; what is fainter than this no person reads. Noise of JPEG lies below.
_FAINT = 8
# Columns and rows of a word that are looked at first: nearly every word shows by these.
_COLUMNS, _ROWS = 16, 3
# Print of less than this many points is not for people, unless most of the page is like that:
# then the page was made to be enlarged.
_TINY_POINTS = 1.2
# A word's strokes are in the middle of its box; what reaches into its ends is its neighbours'.
_MIDDLE = (0.3, 0.85)
# Words on top of one another by this share, with other letters: one of them is not seen.
_OVERLAID = 0.6
# Pairs of words compared at a time.
_PAIRS = 2_000_000
# What looks like print at this resolution: a block of 16 pixels is as high as a line of text.
PRINT_DPI = 110
# The same in the preview, where a line is 6 pixels high and its strokes are grey; loose, as it
# only says which pages are worth a closer look. Of 890 pages it lets 95 through, among them all
# 19 on which the closer look finds something.
_PREVIEW_BLOCK, _PREVIEW_EDGE, _PREVIEW_EDGES = 6, 12, (4, 2)
# Print on paper: most pixels of a block have one of two tones. Photographs have many.
_FLAT, _FLAT_SHARE = 24, 0.55
# Rows of this many blocks side by side are lines; this many of them are text worth reading.
_LINE_BLOCKS, _LINES = 5, 2
# In a picture so many blocks are worth a look.
_SHORT_PRINT = 2
# Print that OCR passes over is blurred and pale: strokes of so many tones are enough, in so many
# blocks in all, where they are more than the words read cover. Of receipts shrunk until they cannot
# be read this finds those of which OCR says nothing; it is true of no legible one, slide or film.
_BLURRED_EDGE, _OVERLOOKED, _OVERLOOKED_SHARE = 20, 30, 0.5
# Where OCR read fewer words than this, fainter strokes will do: no texture about read print can
# be mistaken for them.
_HARDLY, _FAINTER_EDGE = 3, 16
# Blocks around such a part that go with it: letters reach out of theirs.
_AROUND = np.array([-2, -2, 2, 2])


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A page's layer against the page as drawn. ``unseen`` ``[n] bool``: words it does not show.
    ``stacked`` ``[m, 2]``: pairs of words on top of each other with other letters, of which one
    is not what is shown there. ``print_like``: something stands where no word is that may be
    lines of print."""

    unseen: NDArray[np.bool_]
    stacked: NDArray[np.intp]
    print_like: bool


def look(words: PageWords, preview: Image, points: tuple[float, float]) -> Sight:
    """Compare ``words`` with ``preview``, the page drawn at ``PREVIEW_DPI`` or more; ``points``
    is the page's size.

    A word is not shown if what is drawn where it stands is of one tone, or if it is too small
    for any eye. Milliseconds a page: every page with a text layer goes through here.
    """
    if not preview.size:
        return Sight(np.zeros(len(words), bool), np.zeros((0, 2), np.intp), False)
    height, width = preview.shape[:2]
    blocks = print_blocks(preview, _PREVIEW_BLOCK, _PREVIEW_EDGE, *_PREVIEW_EDGES)
    _leave_out(blocks, words, width / _PREVIEW_BLOCK, height / _PREVIEW_BLOCK)
    print_like = has_run(blocks)
    if not len(words):
        return Sight(np.zeros(0, bool), np.zeros((0, 2), np.intp), print_like)
    unseen = _plain(_corners(words.boxes, width, height, _MIDDLE), preview) | _tiny(words, points)
    # A dash or a full stop has nothing in the middle of its box, or little of anything.
    for i in np.flatnonzero(unseen):
        unseen[i] = sum(map(str.isalnum, words.texts[i])) > 1
    return Sight(unseen, _stacked(words), print_like)


def _tiny(words: PageWords, points: tuple[float, float]) -> NDArray[np.bool_]:
    heights = (words.boxes[:, 3] - words.boxes[:, 1]) * points[1]
    widths = (words.boxes[:, 2] - words.boxes[:, 0]) * points[0]
    tiny: NDArray[np.bool_] = np.minimum(heights, widths) < _TINY_POINTS
    return tiny if tiny.mean() <= 0.5 else np.zeros(len(words), bool)


def _corners(
    boxes: FloatArray, width: int, height: int, band: tuple[float, float]
) -> NDArray[np.intp]:
    """Pixels x0, y0, x1, y1 of the ``band`` of each box's height; one pixel at least."""
    high = boxes[:, 3] - boxes[:, 1]
    x0 = np.floor(boxes[:, 0] * width).clip(0, width - 1)
    x1 = np.ceil(boxes[:, 2] * width).clip(x0 + 1, width)
    y0 = np.floor((boxes[:, 1] + high * band[0]) * height).clip(0, height - 1)
    y1 = np.ceil((boxes[:, 1] + high * band[1]) * height).clip(y0 + 1, height)
    return np.stack((x0, y0, x1, y1), axis=1).astype(np.intp)


def _plain(corners: NDArray[np.intp], preview: Image) -> NDArray[np.bool_]:
    """Which boxes are of one tone in each of the three colours, so that red on a green of the
    same brightness counts as seen."""
    x0, y0, x1, y1 = corners.T[:, :, None]
    columns = x0 + (x1 - x0) * np.arange(_COLUMNS) // _COLUMNS
    rows = y0 + (y1 - y0) * np.arange(_ROWS) // _ROWS
    some = preview[rows[:, :, None], columns[:, None, :]].reshape(len(corners), -1, 3)
    plain = (some.max(axis=1) - some.min(axis=1)).max(axis=1) < _FAINT
    for i in np.flatnonzero(plain):
        left, top, right, bottom = corners[i]
        part = preview[top:bottom, left:right].reshape(-1, 3)
        plain[i] = (part.max(axis=0) - part.min(axis=0)).max() < _FAINT
    found: NDArray[np.bool_] = plain
    return found


def _stacked(words: PageWords) -> NDArray[np.intp]:
    """Pairs ``[m, 2]`` of words that share most of the smaller one's box and have other letters;
    fonts made bold by printing them twice do not count."""
    boxes = words.boxes.astype(np.float64)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-12)
    # Whoever shares most of itself with another has its centre in it.
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    by_height = np.argsort(y)
    first = np.searchsorted(y[by_height], boxes[:, 1])
    count = np.searchsorted(y[by_height], boxes[:, 3], "right") - first
    found = []
    until = np.cumsum(count)
    done = 0
    while done < len(words):
        end = max(done + 1, int(np.searchsorted(until, (until[done - 1] if done else 0) + _PAIRS)))
        larger = np.repeat(np.arange(done, min(end, len(words))), count[done:end])
        within = np.arange(len(larger)) - np.repeat(
            until[done:end] - count[done:end] - (until[done - 1] if done else 0), count[done:end]
        )
        smaller = by_height[first[larger] + within]
        near = (x[smaller] >= boxes[larger, 0]) & (x[smaller] <= boxes[larger, 2])
        near &= (smaller != larger) & (areas[smaller] <= areas[larger])
        smaller, larger = smaller[near], larger[near]
        low = np.maximum(boxes[smaller, :2], boxes[larger, :2])
        high = np.minimum(boxes[smaller, 2:], boxes[larger, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1) / areas[smaller]
        for pair in np.flatnonzero(shared > _OVERLAID):
            i, j = smaller[pair], larger[pair]
            mine, other = words.texts[i], words.texts[j]
            if mine not in other and other not in mine:
                found.append((i, j))
        done = end
    return np.array(found, np.intp).reshape(-1, 2)


def inside(words: PageWords, boxes: FloatArray) -> NDArray[np.bool_]:
    """Which words have their centre in one of ``boxes`` ``[m, 4]``."""
    centres = (words.boxes[:, :2] + words.boxes[:, 2:]) / 2
    found = np.zeros(len(words), bool)
    for x0, y0, x1, y1 in boxes:
        found |= (
            (centres[:, 0] >= x0)
            & (centres[:, 0] <= x1)
            & (centres[:, 1] >= y0)
            & (centres[:, 1] <= y1)
        )
    return found


def keep(words: PageWords, chosen: NDArray[np.bool_]) -> PageWords:
    """The ``chosen`` words."""
    texts = tuple(text for text, kept in zip(words.texts, chosen, strict=True) if kept)
    return PageWords(texts, words.boxes[chosen], words.lines[chosen])


def spoken(words: PageWords) -> int:
    """How many of ``words`` have two letters or digits, as words of a language do."""
    return sum(sum(map(str.isalnum, text)) > 1 for text in words.texts)


def print_without_words(words: PageWords, image: Image) -> list[Box]:
    """Parts of the page that look like lines of print and hold no word of the layer.

    ``image`` is the page at ``PRINT_DPI``. Lines near each other are one part.
    """
    blocks = print_blocks(image)
    rows, columns = blocks.shape
    if not rows or columns < _LINE_BLOCKS:
        return []
    height, width = image.shape[:2]
    _leave_out(blocks, words, width / BLOCK, height / BLOCK)
    if not _runs(blocks):
        return []
    lines = _runs(blocks & _flat(image))
    scale = np.array([BLOCK / width, BLOCK / height] * 2)
    return [
        (float(x0), float(y0), float(x1), float(y1))
        for x0, y0, x1, y1 in (
            np.clip((np.array(part) + _AROUND) * scale, 0, 1)
            for part, count in _grouped(lines)
            if count >= _LINES
        )
    ]


def with_print(words: PageWords, image: Image, pictures: list[Box]) -> list[Box]:
    """Those of ``pictures`` on which something like print stands where no word is, be it a price
    or a stamp: what a page of text shows in a picture is short. ``image`` as for
    ``print_without_words``."""
    blocks = print_blocks(image) & _flat(image)
    height, width = image.shape[:2]
    _leave_out(blocks, words, width / BLOCK, height / BLOCK)
    rows, columns = height / BLOCK, width / BLOCK
    return [
        (x0, y0, x1, y1)
        for x0, y0, x1, y1 in pictures
        if blocks[
            max(0, int(y0 * rows)) : int(np.ceil(y1 * rows)),
            max(0, int(x0 * columns)) : int(np.ceil(x1 * columns)),
        ].sum()
        >= _SHORT_PRINT
    ]


def overlooked(words: PageWords, image: Image) -> bool:
    """Whether more of ``image`` looks like print that no word was read of than ``words`` cover.

    An engine does not tell of lines that it did not see: of a page too small or too pale for it, it
    reads the heading or nothing, and is sure of that.
    """
    if min(image.shape[:2]) < BLOCK:
        return False
    edge = _FAINTER_EDGE if spoken(words) < _HARDLY else _BLURRED_EDGE
    blocks = in_runs(print_blocks(image, edge=edge) & _flat(image))
    height, width = image.shape[:2]
    free = np.ones_like(blocks)
    for some in (blocks, free):
        _leave_out(some, words, width / BLOCK, height / BLOCK)
    seen, read = int(blocks.sum()), int((~free).sum())
    return seen >= _OVERLOOKED and seen >= _OVERLOOKED_SHARE * (seen + read)


def _leave_out(blocks: NDArray[np.bool_], words: PageWords, columns: float, rows: float) -> None:
    """Clear the blocks that ``words`` stand on, and one more on either side; the page is so many
    ``columns`` and ``rows`` of blocks large."""
    size = np.array([columns, rows] * 2, np.float64)
    places = (words.boxes * size).astype(np.intp) + np.array([-1, 0, 2, 1])
    for x0, y0, x1, y1 in np.maximum(places, 0).tolist():
        blocks[y0:y1, x0:x1] = False


def _runs(blocks: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Blocks side by side that are as many as a line of text has: x0, y0, x1, y1 in blocks."""
    edges = np.diff(np.pad(blocks, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, begins = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return [
        (int(a), int(row), int(b), int(row) + 1)
        for row, a, b in zip(rows, begins, ends, strict=True)
        if b - a >= _LINE_BLOCKS
    ]


def _flat(image: Image) -> NDArray[np.bool_]:
    """Which blocks consist of two tones, ink and paper, for the most part."""
    tones = grey(image)
    rows, columns = tones.shape[0] // BLOCK, tones.shape[1] // BLOCK
    cut = tones[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    low = cut.min(axis=(1, 3), keepdims=True)
    high = cut.max(axis=(1, 3), keepdims=True)
    flat: NDArray[np.bool_] = (
        np.maximum((cut - low < _FLAT).mean(axis=(1, 3)), (high - cut < _FLAT).mean(axis=(1, 3)))
        >= _FLAT_SHARE
    )
    return flat


def _grouped(
    lines: list[tuple[int, int, int, int]],
) -> list[tuple[tuple[int, int, int, int], int]]:
    """Lines (in blocks) within four rows of each other, put together: the box around them, and
    how many they are."""
    groups: list[tuple[tuple[int, int, int, int], int]] = []
    for line in lines:
        box, count = line, 1
        apart = []
        for other, n in groups:
            near = (
                other[3] + 4 >= box[1]
                and other[1] - 4 <= box[3]
                and other[2] + 4 >= box[0]
                and other[0] - 4 <= box[2]
            )
            if near:
                box = (
                    min(box[0], other[0]),
                    min(box[1], other[1]),
                    max(box[2], other[2]),
                    max(box[3], other[3]),
                )
                count += n
            else:
                apart.append((other, n))
        groups = [*apart, (box, count)]
    return groups

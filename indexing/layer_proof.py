"""Whether a text layer says what the page shows: some of its lines are read from the picture.

Most layers are what was printed, and to read every page again would cost a hundred times what the
layer does. Some are not: the layer that OCR software put under a scan may be another page's, wrong
in its figures, or an attack; text may lie under a picture; and fonts whose codes mean nothing give
words of no language ("WKH WHQDQW" for "the tenant"). Which words those may be is seen cheaply; a
dozen of their lines, in one reading, decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexing.ocr import Choice, read_words
from indexing.renderers.base import Image
from retrieval.errors import EncoderError
from retrieval.tiling import TileSettings
from retrieval.types import PageWords

Verdict = Literal["as shown", "other words", "other numbers", "no words", "unread"]
# Lines that are read, those with figures first: they are what is asked for.
_LINES = 12
# Letters and digits of a line, and the share of them that OCR, whose letters are English, knows.
_LONG_ENOUGH, _KNOWN_LETTERS = 8, 0.9
# The share of a line's letters found again, in stretches of so many, if it is what is shown.
_STRETCH, _FOUND = 3, 0.5
# Of the letters of all lines: what is read of legible print, and what at most of a photograph.
_LEGIBLE, _NOTHING = 0.6, 0.2
# A figure that differs counts where the rest of its line agrees so well.
_AGREES = 0.8
# Lines are set apart on the sheet that is read, with this much of their height around each.
_MARGIN, _APART = 0.2, 24
_WIDEST = 2000
# Of words of three letters and more in a language of Latin letters, few have no vowel.
_VOWEL = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôûåæøãõëïœ]", re.IGNORECASE)
_NO_VOWEL, _FEWEST_WORDS = 0.25, 8
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d[\d.,]*\d")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    box: tuple[float, float, float, float]


def of_no_language(words: PageWords) -> bool:
    """Whether so many words have no vowel that the codes of a font may mean other letters."""
    long = [text for text in words.texts if sum(c.isascii() and c.isalpha() for c in text) > 2]
    without = sum(not _VOWEL.search(text) for text in long)
    return len(long) >= _FEWEST_WORDS and without >= _NO_VOWEL * len(long)


def prove(words: PageWords, image: Image, engine: Choice) -> Verdict:
    """Compare ``words`` with ``image``, the page on which they stand, ``[h, w, 3] uint8``.

    ``unread`` where nothing can be said: no line of letters that OCR knows, or print that it cannot
    read; ``no words`` where it sees next to none, as of a photograph, or of handwriting. With
    ``auto`` a layer is wrong if both engines say so. Raises ``EncoderError`` if none is there.
    """
    lines = _sample(words)
    if not lines:
        return "unread"
    sheet, tops = _sheet(lines, image)
    if engine != "auto":
        return _verdict(lines, sheet, tops, engine)
    try:
        first = _verdict(lines, sheet, tops, "tesseract")
    except EncoderError:
        return _verdict(lines, sheet, tops, "rapidocr")
    if first == "as shown":
        return first
    try:
        return _verdict(lines, sheet, tops, "rapidocr")
    except EncoderError:
        return first


def _verdict(lines: list[_Line], sheet: Image, tops: NDArray[np.intp], engine: Choice) -> Verdict:
    read = read_words(sheet, engine, TileSettings(most=1))
    middles = (read.words.boxes[:, 1] + read.words.boxes[:, 3]) / 2 * sheet.shape[0]
    owners = np.searchsorted(tops, middles, "right") - 1
    texts = [
        " ".join(read.words.texts[i] for i in np.flatnonzero(owners == line))
        for line in range(len(lines))
    ]
    alike = sum(_found(line.text, text) >= _FOUND for line, text in zip(lines, texts, strict=True))
    if alike * 2 < len(lines):
        letters = sum(len(_plain(line.text)) for line in lines)
        read_of = sum(len(_plain(text)) for text in texts) / letters
        # Of texture an engine makes letters, and is not sure of them.
        if read_of * read.confidence < _NOTHING:
            return "no words"
        legible = read_of >= _LEGIBLE and read.confidence >= _LEGIBLE
        return "other words" if legible else "unread"
    differs = any(
        _found(_DIGIT.sub("", line.text), text) >= _AGREES and _other_number(line.text, text)
        for line, text in zip(lines, texts, strict=True)
    )
    return "other numbers" if differs and read.confidence >= _AGREES else "as shown"


def _sample(words: PageWords) -> list[_Line]:
    """Level lines long enough to tell, from all over the page; half of them with figures."""
    found: list[_Line] = []
    if not len(words):
        return found
    starts = np.flatnonzero(np.diff(words.lines, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        boxes = words.boxes[start:end]
        box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        text = " ".join(words.texts[start:end])
        letters = [c for c in text if c.isalnum()]
        known = sum(c < "\u0250" for c in letters)
        high = np.median(boxes[:, 3] - boxes[:, 1])
        level = box[3] - box[1] < 2 * high and box[2] - box[0] > box[3] - box[1]
        if level and len(letters) >= _LONG_ENOUGH and known >= _KNOWN_LETTERS * len(letters):
            found.append(_Line(text, box))
    numbered = [line for line in found if any(len(_digits(n)) > 2 for n in _numbers(line.text))]
    chosen = _spread(numbered, _LINES // 2)
    return chosen + _spread([line for line in found if line not in chosen], _LINES - len(chosen))


def _spread(lines: list[_Line], most: int) -> list[_Line]:
    if len(lines) <= most:
        return lines
    return [lines[i] for i in np.linspace(0, len(lines) - 1, most).round().astype(int)]


def _sheet(lines: list[_Line], image: Image) -> tuple[Image, NDArray[np.intp]]:
    """The lines' parts of ``image`` under each other on white, and where each begins."""
    height, width = image.shape[:2]
    parts = []
    for line in lines:
        x0, y0, x1, y1 = line.box
        margin = _MARGIN * (y1 - y0)
        top, bottom = int((y0 - margin) * height), int(np.ceil((y1 + margin) * height))
        aside = margin * height / width
        left, right = int((x0 - aside) * width), int(np.ceil((x1 + aside) * width))
        parts.append(image[max(0, top) : bottom, max(0, left) : right][:, :_WIDEST])
    heights = np.array([len(part) + _APART for part in parts])
    tops = np.concatenate(([0], np.cumsum(heights)[:-1]))
    wide = max(part.shape[1] for part in parts) + 2 * _APART
    sheet = np.full((int(heights.sum()) + _APART, wide, 3), 255, np.uint8)
    for top, part in zip(tops, parts, strict=True):
        sheet[top + _APART : top + _APART + len(part), _APART : _APART + part.shape[1]] = part
    return sheet, tops + _APART // 2


def _found(line: str, read: str) -> float:
    """The share of the line's letters and digits that was read, in stretches."""
    a, b = _plain(line), _plain(read)
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= _STRETCH) / max(1, len(a))


def _other_number(line: str, read: str) -> bool:
    """Whether another number of as many digits was read in the place of one of the line's."""
    said, seen = (
        [digits for n in _numbers(text) if len(digits := _digits(n)) > 2] for text in (line, read)
    )
    missing = [n for n in said if n not in "".join(seen)]
    extra = [n for n in seen if n not in "".join(said)]
    return any(len(a) == len(b) for a in missing for b in extra)


def _numbers(text: str) -> list[str]:
    return _NUMBER.findall(text)


def _digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()

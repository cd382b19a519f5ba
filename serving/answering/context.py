"""What a vision-language model is shown: legible pictures of the places, the pages' words, and
no more than its budget of tokens."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from indexing.index import Index
from retrieval.errors import FolioscopeError
from retrieval.types import Box
from serving.answering.types import EvidencePage

# Below this height in pixels models begin to misread digits; 10-point print at 110 dpi has it.
_LEGIBLE_PIXELS = 14
_LARGEST = 1536
_OVERVIEW = 640
# Words nearest to the places found come first when a page has more than fits.
_CHARACTERS_A_TOKEN = 3.5
_WORDS_A_PAGE = 900


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """``tokens`` is the budget for everything but the answer. A picture costs one token for
    every ``pixels_a_token`` pixels (28 x 28 for Qwen-VL; other families are near)."""

    tokens: int = 12_000
    pixels_a_token: int = 784
    pictures: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of a page or of ``box`` on it."""

    data: bytes
    size: tuple[int, int]
    box: Box | None

    def url(self) -> str:
        """As a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode()


@dataclass(frozen=True, slots=True)
class PageContext:
    """What is shown of one page; ``number`` is what the model calls it, from 1."""

    number: int
    page: EvidencePage
    words: str
    pictures: tuple[Picture, ...]
    tokens: int


def build_context(
    pages: Sequence[EvidencePage], index: Index, settings: ContextSettings
) -> list[PageContext]:
    """The pages that fit the budget, best first; at least the words of the first."""
    shown: list[PageContext] = []
    left = settings.tokens
    for number, page in enumerate(pages, 1):
        words = _words(page, max(200, left // 2))
        cost = int(len(words) / _CHARACTERS_A_TOKEN)
        pictures: list[Picture] = []
        if shown and cost > left:
            break
        left -= cost
        if settings.pictures:
            for picture in _pictures(page, index):
                price = picture.size[0] * picture.size[1] // settings.pixels_a_token
                if price > left:
                    break
                left -= price
                cost += price
                pictures.append(picture)
        shown.append(PageContext(number, page, words, tuple(pictures), cost))
    return shown


def _pictures(page: EvidencePage, index: Index) -> list[Picture]:
    """The place found, legible, then the whole page, small. None where it cannot be pictured:
    the words are there all the same."""
    words = page.record.words
    height = page.record.height or 842.0
    dpi = 110
    if len(words):
        # Page heights are points for PDFs: a word of h of the page has h * height / 72 * dpi px.
        tall = float(np.median(words.boxes[:, 3] - words.boxes[:, 1])) * height / 72
        dpi = int(np.clip(_LEGIBLE_PIXELS / max(tall, 1e-3), 72, 300))
    try:
        whole = Pillow.fromarray(index.page_image(page.hit, dpi=dpi))
    except FolioscopeError:
        return []
    found: list[Picture] = []
    if page.hit.regions:
        box = _around(page.hit.regions[0].box)
        w, h = whole.size
        part = whole.crop(
            (int(box[0] * w), int(box[1] * h), int(box[2] * w) + 1, int(box[3] * h) + 1)
        )
        found.append(_picture(part, _LARGEST, box))
    found.append(_picture(whole, _OVERVIEW if found else _LARGEST, None))
    return found


def _around(box: Box) -> Box:
    """The box with its neighbourhood: a table's head and the lines beside it."""
    x0, y0, x1, y1 = box
    return (0.0, max(0.0, y0 - 0.12), 1.0, min(1.0, y1 + 0.12)) if x1 > x0 else box


def _picture(image: Pillow.Image, largest: int, box: Box | None) -> Picture:
    image.thumbnail((largest, largest), Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Picture(buffer.getvalue(), image.size, box)


def _words(page: EvidencePage, tokens: int) -> str:
    """The page's lines with their boxes in thousandths, as JSON lines; those nearest to the
    places found if not all fit."""
    words = page.record.words
    if not len(words):
        return ""
    starts = np.flatnonzero(np.diff(words.lines, prepend=words.lines[0] - 1))
    ends = np.append(starts[1:], len(words))
    lines = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        boxes = words.boxes[start:end]
        box = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
        text = " ".join(words.texts[start:end])
        strength = float(page.evidence[:, start:end].max()) if page.evidence.size else 0.0
        lines.append((strength, start, [round(float(v) * 1000) for v in box], text))
    most = int(tokens * _CHARACTERS_A_TOKEN)
    kept: list[tuple[int, str]] = []
    for _, start, box, text in sorted(lines, key=lambda line: -line[0]):
        said = json.dumps({"box": box, "text": text}, ensure_ascii=False)
        if most - len(said) < 0:
            continue
        most -= len(said)
        kept.append((start, said))
    return "\n".join(said for _, said in sorted(kept))

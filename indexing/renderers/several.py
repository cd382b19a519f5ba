"""A scan of several receipts as a document with a page for each of them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from indexing.faults import Faults
from indexing.renderers.base import Image, OpenDocument, pixel_part
from indexing.separate import separate
from retrieval.types import Box, PageWords, TimeRange

# A file of more frames is a document whose pages were scanned one by one.
_MOST_FRAMES = 8
# Papers are told apart at this many pixels or fewer.
_MOST_PIXELS = 6_000_000
_WHOLE = (0.0, 0.0, 1.0, 1.0)


def separated(document: OpenDocument) -> OpenDocument:
    """``document``, a picture, with a page for every paper on it; itself if each frame shows one.

    The papers are found anew whenever the file is opened, from its pixels alone, so that page
    numbers mean the same every time.
    """
    if document.pages > _MOST_FRAMES:
        return document
    parts: list[tuple[int, Box]] = []
    for frame in range(document.pages):
        image = Faults().attempt(
            lambda frame=frame: document.render(frame, 72, _MOST_PIXELS),  # type: ignore[misc]
            None,
            "",
        )
        found = [] if image is None else separate(image)
        parts += [(frame, box) for box in found or [_WHOLE]]
    return document if len(parts) == document.pages else SeveralDocuments(document, parts)


class SeveralDocuments:
    """An ``OpenDocument`` over parts of another's pages, which are pictures."""

    def __init__(self, document: OpenDocument, parts: list[tuple[int, Box]]) -> None:
        self._document = document
        self._parts = parts

    @property
    def pages(self) -> int:
        return len(self._parts)

    @property
    def title(self) -> str:
        return self._document.title

    @property
    def flags(self) -> tuple[str, ...]:
        return self._document.flags

    @property
    def note(self) -> str:
        return self._document.note

    def source(self, number: int) -> tuple[int, Box]:
        """The frame of the file that page ``number`` is on, and where on it."""
        return self._parts[number]

    def label(self, number: int) -> str:
        """ "2 (1 of 3)": the first of three papers on the second frame."""
        frame, box = self._parts[number]
        same = [part for part in self._parts if part[0] == frame]
        label = self._document.label(frame)
        return (
            label if len(same) == 1 else f"{label} ({same.index((frame, box)) + 1} of {len(same)})"
        )

    def outline(self, number: int) -> str:
        return self._document.outline(self._parts[number][0])

    def size(self, number: int) -> tuple[float, float]:
        width, height = self.pixels(number, 72)
        return float(width), float(height)

    def words(self, number: int) -> PageWords:
        return PageWords.empty()

    def times(self, number: int) -> TimeRange | None:
        return None

    def picture_share(self, number: int) -> float:
        return 1.0

    def has_content(self, number: int) -> bool:
        return True

    def page_flags(self, number: int) -> tuple[str, ...]:
        frame, box = self._parts[number]
        flags = self._document.page_flags(frame)
        return flags if box == _WHOLE else (*flags, "one-of-several")

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        from PIL import Image as Pillow

        image = self.render_part(number, dpi, _WHOLE)
        height, width = image.shape[:2]
        if width * height <= max_pixels:
            return image
        shrink = (max_pixels / (width * height)) ** 0.5
        size = (max(1, int(width * shrink)), max(1, int(height * shrink)))
        resized = Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS)
        return np.asarray(resized, np.uint8)

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        frame, box = self._parts[number]
        x0, y0, x1, y1 = pixel_part(box, *self._document.pixels(frame, dpi))
        return x1 - x0, y1 - y0

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        frame, whole = self._parts[number]
        width, height = whole[2] - whole[0], whole[3] - whole[1]
        part = (
            whole[0] + box[0] * width,
            whole[1] + box[1] * height,
            whole[0] + box[2] * width,
            whole[1] + box[3] * height,
        )
        return self._document.render_part(frame, dpi, part)

    def detail(self, number: int) -> float:
        return self._document.detail(self._parts[number][0])

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        return []

    def close(self) -> None:
        self._document.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""A scan of several receipts as a document with a page for each of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from indexing.faults import Faults
from indexing.renderers.base import Image, OpenDocument, in_words, pixel_part
from indexing.renderers.pictures import UNDECODABLE, PictureDocument
from indexing.separate import separate
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from retrieval.types import Box, PageWords, SourcePart, TimeRange

# A file of more frames is a document whose pages were scanned one by one.
_MOST_FRAMES = 8
# Papers are told apart at this many pixels or fewer.
_MOST_PIXELS = 6_000_000
_WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a file was taken apart into, as long as it is the same file."""

    size: int
    modified: int
    inode: int
    parts: tuple[SourcePart, ...]


# A reader opens a file to describe it, and again to read it: the papers are not found twice. Its
# worker processes are the only ones that do, each for itself.
_KNOWN: OrderedDict[Path, _Known] = OrderedDict()
_MOST_KNOWN = 256


def separated(document: PictureDocument, path: Path) -> OpenDocument:
    """``document``, the picture at ``path``, with a page for every paper on it; itself if each
    frame shows one.

    The papers are found from its pixels alone, so that page numbers mean the same every time.
    """
    if document.pages > _MOST_FRAMES:
        return document
    parts = _known(path) or _remembered(path, _found(document))
    return document if len(parts) == document.pages else SeveralDocuments(document, parts)


def part_of(path: Path, media_type: str, part: SourcePart, settings: IntakeSettings) -> Image:
    """The picture of a ``part`` that is known already, ``[h, w, 3] uint8`` RGB."""
    with SeveralDocuments(
        PictureDocument(path, media_type, settings.max_picture_megapixels), (part,)
    ) as document:
        try:
            return document.render(0, settings.ocr_dpi, settings.max_pixels)
        except UNDECODABLE as error:
            raise InputError(
                f"{path}: the picture cannot be decoded ({in_words(error)}); put back the file "
                "that was indexed, or build the index again"
            ) from error


def _found(document: OpenDocument) -> tuple[SourcePart, ...]:
    parts: list[SourcePart] = []
    for frame in range(document.pages):
        image = Faults().attempt(
            lambda frame=frame: document.render(frame, 72, _MOST_PIXELS),  # type: ignore[misc]
            None,
            "",
        )
        found = [] if image is None else separate(image)
        parts += [SourcePart(frame, box) for box in found or [_WHOLE]]
    return tuple(parts)


def _known(path: Path) -> tuple[SourcePart, ...]:
    known = _KNOWN.get(path)
    state = path.stat()
    same = (state.st_size, state.st_mtime_ns, state.st_ino)
    return known.parts if known and (known.size, known.modified, known.inode) == same else ()


def _remembered(path: Path, parts: tuple[SourcePart, ...]) -> tuple[SourcePart, ...]:
    state = path.stat()
    _KNOWN.pop(path, None)
    _KNOWN[path] = _Known(state.st_size, state.st_mtime_ns, state.st_ino, parts)
    if len(_KNOWN) > _MOST_KNOWN:
        _KNOWN.popitem(last=False)
    return parts


class SeveralDocuments:
    """An ``OpenDocument`` over parts of another's pages, which are pictures."""

    def __init__(self, document: OpenDocument, parts: Sequence[SourcePart]) -> None:
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

    def part(self, number: int) -> SourcePart:
        return self._parts[number]

    def label(self, number: int) -> str:
        """ "2 (1 of 3)": the first of three papers on the second frame."""
        part = self._parts[number]
        same = [other for other in self._parts if other.frame == part.frame]
        label = self._document.label(part.frame)
        return label if len(same) == 1 else f"{label} ({same.index(part) + 1} of {len(same)})"

    def outline(self, number: int) -> str:
        return self._document.outline(self._parts[number].frame)

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
        part = self._parts[number]
        flags = self._document.page_flags(part.frame)
        return flags if part.whole else (*flags, "one-of-several")

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
        part = self._parts[number]
        x0, y0, x1, y1 = pixel_part(part.box, *self._document.pixels(part.frame, dpi))
        return x1 - x0, y1 - y0

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        whole = self._parts[number].box
        width, height = whole[2] - whole[0], whole[3] - whole[1]
        part = (
            whole[0] + box[0] * width,
            whole[1] + box[1] * height,
            whole[0] + box[2] * width,
            whole[1] + box[3] * height,
        )
        return self._document.render_part(self._parts[number].frame, dpi, part)

    def detail(self, number: int) -> float:
        return self._document.detail(self._parts[number].frame)

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        return []

    def doubtful(self, number: int) -> list[Box]:
        return []

    def pictures(self, number: int) -> list[Box]:
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

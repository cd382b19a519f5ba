"""Pictures of pages, crops and heatmaps, rendered in sandboxed workers and kept while they fit."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import cachetools
from PIL import Image as Pillow

from indexing.intake import IntakeWorkers
from indexing.renderers.base import UNLOCK
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from retrieval.heatmap import tint
from retrieval.store_rows import DocumentRow, PageRecord
from retrieval.types import Box, FloatArray
from serving.http.problems import Problem

_DPI = 144
_SMALLEST_CROP = 0.002


def etag(*parts: object) -> str:
    """A strong validator: equal parts give equal bytes."""
    return '"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:32] + '"'


class Pictures:
    """Renders and remembers; safe to share between threads. ``close`` ends the workers."""

    def __init__(self, cache_bytes: int, workers: int) -> None:
        self._cache: cachetools.LRUCache[str, bytes] = cachetools.LRUCache(
            cache_bytes, getsizeof=len
        )
        self._pages: cachetools.LRUCache[object, Pillow.Image] = cachetools.LRUCache(4)
        self._digests: cachetools.LRUCache[tuple[str, int, int], str] = cachetools.LRUCache(4096)
        self._guard = threading.Lock()
        self._workers = IntakeWorkers(IntakeSettings(workers=workers))

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def page(self, row: DocumentRow, record: PageRecord, width: int, tag: str) -> bytes:
        """The page, ``width`` pixels wide at most, as WebP."""
        return self._remembered(tag, lambda: _webp(_fit(self._render(row, record), width)))

    def crop(self, row: DocumentRow, record: PageRecord, box: Box, width: int, tag: str) -> bytes:
        """A part of the page, as WebP. Raises ``Problem`` 422 for a box that is none."""
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1) or min(x1 - x0, y1 - y0) < _SMALLEST_CROP:
            raise Problem(
                422, "bad-box", "The box is not a part of the page.", "0 <= x0 < x1 <= 1, same y."
            )

        def make() -> bytes:
            page = self._render(row, record)
            w, h = page.size
            part = page.crop((int(x0 * w), int(y0 * h), int(x1 * w) + 1, int(y1 * h) + 1))
            return _webp(_fit(part, width))

        return self._remembered(tag, make)

    def heat(self, warmth: FloatArray | None, tag: str) -> bytes:
        """Warmth ``[h, w]`` in [0, 1] as a PNG to multiply the page with; white is none."""

        def make() -> bytes:
            if warmth is None:
                return _png(Pillow.new("RGB", (1, 1), (255, 255, 255)))
            return _png(Pillow.fromarray(tint(warmth), "RGB"))

        return self._remembered(tag, make)

    def known(self, tag: str) -> bytes | None:
        """The picture of this tag if it is still held."""
        with self._guard:
            return self._cache.get(tag)

    def _remembered(self, tag: str, make: Callable[[], bytes]) -> bytes:
        held = self.known(tag)
        if held is not None:
            return held
        made = make()
        with self._guard:
            if len(made) <= self._cache.maxsize:
                self._cache[tag] = made
        return made

    def _render(self, row: DocumentRow, record: PageRecord) -> Pillow.Image:
        """The page at reading resolution. Raises ``Problem`` 409 if its file is not as indexed."""
        name = (row.sha256, record.number, record.times, record.part)
        with self._guard:
            held = self._pages.get(name)
        if held is not None:
            return held
        source = Path(row.source)
        if not self._as_indexed(source, row):
            raise Problem(
                409,
                "source-changed",
                "The file of this page has moved or changed since it was indexed.",
                "Index it again.",
            )
        try:
            picture = self._workers.render_page(
                source, record.number, dpi=_DPI, times=record.times, part=record.part
            )
            image = Pillow.fromarray(picture)
        except InputError as error:
            if UNLOCK in str(error):
                raise Problem(
                    409,
                    "locked",
                    "The PDF of this page is locked, and the server has no password to show it.",
                    "Save it without a password, and index that.",
                ) from error
            raise Problem(
                409, "cannot-picture", "This page cannot be rendered.", "Index it again."
            ) from error
        with self._guard:
            self._pages[name] = image
        return image

    def _as_indexed(self, source: Path, row: DocumentRow) -> bool:
        """Whether the file still holds what was indexed; hashed once for each change of it."""
        try:
            found = source.stat()
            if found.st_size != row.bytes:
                return False
            state = (row.source, found.st_mtime_ns, found.st_ino)
            with self._guard:
                digest = self._digests.get(state)
            if digest is None:
                with source.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                with self._guard:
                    self._digests[state] = digest
        except OSError:
            return False
        return digest == row.sha256


def _fit(image: Pillow.Image, width: int) -> Pillow.Image:
    if image.width <= width:
        return image
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Pillow.Resampling.LANCZOS)


def _webp(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()


def _png(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()

"""PDF through pdfium: for those to whom MuPDF's AGPL is no option (``--renderer pdfium``)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pypdfium2

from indexing.reading_order import order_words
from indexing.renderers.base import Image, fitting_dpi, outline_paths
from retrieval.errors import InputError
from retrieval.types import PageWords


class PdfiumDocument:
    """An ``OpenDocument`` over pypdfium2; not safe to share between threads."""

    def __init__(self, path: Path, password: str | None = None) -> None:
        try:
            self._document: Any = pypdfium2.PdfDocument(path, password=password)
            self._document.init_forms()
        except pypdfium2.PdfiumError as error:
            text = str(error).lower()
            if "password" in text:
                why = "locked with a password; give it with --password or save it without one"
            elif "security" in text:
                why = "encrypted by a scheme that cannot be read; save it without encryption"
            else:
                why = "damaged beyond repair; fetch it again, or try --renderer mupdf"
            raise InputError(f"{path}: the PDF is {why}") from error
        self._pages = len(self._document)
        if not self._pages:
            self._document.close()
            raise InputError(f"{path}: the PDF has no pages; it may be cut off or damaged")
        self._paths: list[str] | None = None
        self._current: tuple[int, Any] | None = None

    @property
    def pages(self) -> int:
        return self._pages

    @property
    def title(self) -> str:
        return " ".join(self._document.get_metadata_value("Title").split())

    @property
    def flags(self) -> tuple[str, ...]:
        return ()

    def label(self, number: int) -> str:
        return self._document.get_page_label(number) or str(number + 1)

    def outline(self, number: int) -> str:
        if self._paths is None:
            entries = []
            for item in self._document.get_toc():
                target = item.get_dest()
                page = target.get_index() if target is not None else None
                entries.append((item.level + 1, item.get_title(), -1 if page is None else page))
            self._paths = outline_paths(entries, self._pages)
        return self._paths[number]

    def size(self, number: int) -> tuple[float, float]:
        width, height = self._page(number).get_size()
        return float(width), float(height)

    def words(self, number: int) -> PageWords:
        page = self._page(number)
        text_page = page.get_textpage()
        try:
            text = text_page.get_text_range()
            boxes = [
                text_page.get_charbox(i) for i in range(min(len(text), text_page.count_chars()))
            ]
        finally:
            text_page.close()
        texts: list[str] = []
        corners: list[tuple[float, float, float, float]] = []
        begin = 0
        for i in range(len(boxes) + 1):
            if i < len(boxes) and not text[i].isspace():
                continue
            if i > begin:
                part = np.array(boxes[begin:i])
                texts.append(text[begin:i])
                corners.append(
                    (part[:, 0].min(), part[:, 1].min(), part[:, 2].max(), part[:, 3].max())
                )
            begin = i + 1
        if not texts:
            return PageWords.empty()
        return order_words(texts, self._fractions(page, np.array(corners, np.float64)))

    def picture_share(self, number: int) -> float:
        page = self._page(number)
        width, height = page.get_size()
        covered = 0.0
        for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
            x0, y0, x1, y1 = item.get_bounds()
            covered += max(0.0, x1 - x0) * max(0.0, y1 - y0)
        return float(min(1.0, covered / max(width * height, 1e-6)))

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        page = self._page(number)
        width, height = page.get_size()
        scale = fitting_dpi(width, height, dpi, max_pixels) / 72
        bitmap = page.render(scale=scale, rev_byteorder=True)
        image: Image = np.array(bitmap.to_numpy()[:, :, :3], np.uint8)
        bitmap.close()
        return image

    def close(self) -> None:
        if self._current is not None:
            self._current[1].close()
            self._current = None
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

    def _fractions(self, page: Any, corners: Any) -> Any:
        """Page space (origin bottom-left, not rotated) to fractions of the displayed page."""
        left, bottom, right, top = page.get_cropbox()
        x = (corners[:, [0, 2]] - left) / max(right - left, 1e-6)
        y = (top - corners[:, [1, 3]]) / max(top - bottom, 1e-6)
        for _ in range((page.get_rotation() // 90) % 4):
            x, y = 1 - y, x
        boxes = np.stack((x.min(1), y.min(1), x.max(1), y.max(1)), axis=1)
        return np.clip(boxes, 0, 1).astype(np.float32)

    def _page(self, number: int) -> Any:
        if self._current is None or self._current[0] != number:
            if self._current is not None:
                self._current[1].close()
            self._current = (number, self._document[number])
        return self._current[1]

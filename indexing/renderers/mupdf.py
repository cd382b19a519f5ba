"""PDF through MuPDF: the default, for its speed and its tolerance of damage."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pymupdf
from numpy.typing import NDArray

from indexing.reading_order import order_words
from indexing.renderers.base import (
    Image,
    LibraryError,
    LockedError,
    fitting_dpi,
    locked,
    opening,
    outline_paths,
    pixels_at,
    united,
)
from retrieval.types import Box, FloatArray, PageWords

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)

# What MuPDF complains of while it reads or draws a page from which something is then missing.
# Fonts that are not embedded, colour profiles it ignores and broken marks of structure are not
# among it. On 1,416 pages of real documents none of these came up.
_DAMAGE = re.compile(
    r"page may not be correct|zlib error|read error|premature end of data|padding truncated image"
    r"|syntax error in content stream|jbig2dec (?:error|warning: failed)|openjpeg error"
    r"|cannot (?:load|decode|draw|render) (?:object|image|font|page)|too many color components"
)
# Words beside the page from which on they are no printer's mark.
_BESIDE = 5
# MuPDF's marks of characters that are filled or stroked; of 255, what is as good as clear.
_PAINTED, _OPAQUE = 16 | 32, 12
# The share of a text that a picture painted later must cover to hide it.
_COVERED = 0.8
# Maps have thousands of pictures: symbols, which cover nothing.
_MOST_PICTURES = 2000
# The share of a page from which on a picture on it decides how finely it is worth drawing.
_LARGE_PICTURE = 0.05


def _opened(path: Path) -> Any:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # MuPDF takes names as UTF-8 only; a file's name may be any bytes
        return pymupdf.open(stream=path.read_bytes(), filetype="pdf")
    return pymupdf.open(path, filetype="pdf")


def _displayed(page: Any, boxes: NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
    """Low and high corners ``[n, 2]``, in fractions of the displayed page, of ``boxes`` ``[n, 4]``
    in points, which MuPDF gives as if the page were not rotated."""
    turn, rect = page.rotation_matrix, page.rect
    linear = np.array([[turn.a, turn.b], [turn.c, turn.d]])
    moved = boxes.reshape(-1, 2, 2) @ linear + np.array([turn.e, turn.f])
    size = np.array([max(rect.width, 1e-6), max(rect.height, 1e-6)])
    return moved.min(axis=1) / size, moved.max(axis=1) / size


class MuPdfDocument:
    """An ``OpenDocument`` over PyMuPDF; not safe to share between threads."""

    def __init__(self, path: Path, password: str | None = None) -> None:
        with opening(path, "the PDF"):
            document: Any = _opened(path)
        if document.needs_pass and not document.authenticate(password or ""):
            document.close()
            raise LockedError(f"{path}: {locked(password)}")
        with opening(path, "the PDF"):
            pages = document.page_count
        if not pages:
            document.close()
            raise LibraryError(
                f"{path}: the PDF has no pages; it is cut off or damaged, "
                "so fetch or export it again"
            )
        self._document = document
        self._pages = int(pages)
        self._paths: list[str] | None = None
        self._current: tuple[int, Any] | None = None
        self._said = ""
        self._beside = 0
        self._log: list[tuple[str, tuple[float, ...]]] | None = None

    @property
    def pages(self) -> int:
        return self._pages

    @property
    def title(self) -> str:
        title = (self._document.metadata or {}).get("title") or ""
        return " ".join(str(title).split())

    @property
    def flags(self) -> tuple[str, ...]:
        found = ["repaired"] if self._document.is_repaired else []
        with contextlib.suppress(RuntimeError, ValueError):
            root = self._document.pdf_catalog()
            if self._document.xref_get_key(root, "NeedsRendering")[1] == "true":
                found.append("form-not-shown")
            if self._document.xref_get_key(root, "Collection")[0] != "null":
                found.append("portfolio")
            elif self._document.embfile_count():
                found.append("attachments")
        return tuple(found)

    @property
    def note(self) -> str:
        return ""

    def label(self, number: int) -> str:
        try:
            return self._page(number).get_label() or str(number + 1)
        except (RuntimeError, ValueError, IndexError, KeyError):
            return str(number + 1)

    def outline(self, number: int) -> str:
        if self._paths is None:
            try:
                entries = [(row[0], row[1], row[2] - 1) for row in self._document.get_toc()]
            except (RuntimeError, ValueError, IndexError):
                entries = []
            self._paths = outline_paths(entries, self._pages)
        return self._paths[number]

    def size(self, number: int) -> tuple[float, float]:
        rect = self._page(number).rect
        return float(rect.width), float(rect.height)

    def words(self, number: int) -> PageWords:
        page = self._page(number)
        # What lies beside the page is asked for too: it is left out, and told of.
        flags = pymupdf.TEXTFLAGS_WORDS & ~pymupdf.TEXT_PRESERVE_LIGATURES
        everywhere = pymupdf.INFINITE_RECT()
        found = [
            row for row in page.get_text("words", flags=flags, clip=everywhere) if row[4].strip()
        ]
        if not found:
            return PageWords.empty()
        low, high = _displayed(page, np.array([row[:4] for row in found], np.float64))
        visible = np.all(np.concatenate((high > 0, low < 1), axis=1), axis=1)
        boxes = np.clip(np.concatenate((low, high), axis=1), 0, 1).astype(np.float32)[visible]
        kept = [row for row, seen in zip(found, visible, strict=True) if seen]
        self._beside = sum(
            sum(map(str.isalnum, row[4])) > 1
            for row, seen in zip(found, visible, strict=True)
            if not seen
        )
        keys = np.array([(row[5], row[6]) for row in kept]).reshape(-1, 2)
        change = np.any(np.diff(keys, axis=0) != 0, axis=1)
        lines = np.concatenate(([0], np.cumsum(change)))[: len(kept)].astype(np.int32)
        texts = tuple(row[4] for row in kept)
        if page.first_widget is not None:
            # What was filled into a form comes after all else: it belongs beside its label.
            return order_words(texts, boxes, page.rect.width / max(page.rect.height, 1e-6))
        return PageWords(texts, boxes, lines)

    def times(self, number: int) -> None:
        return None

    def part(self, number: int) -> None:
        return None

    def picture_share(self, number: int) -> float:
        page = self._page(number)
        area = max(page.rect.width * page.rect.height, 1e-6)
        covered = 0.0
        for info in page.get_image_info():
            box = pymupdf.Rect(info["bbox"]) * page.rotation_matrix & page.rect
            covered += 0.0 if box.is_empty else box.width * box.height
        return float(min(1.0, covered / area))

    def has_content(self, number: int) -> bool:
        page = self._page(number)
        return bool(page.get_bboxlog()) or bool(page.read_contents().strip())

    def page_flags(self, number: int) -> tuple[str, ...]:
        self._page(number)
        self._said += pymupdf.TOOLS.mupdf_warnings(reset=True)
        # Some damage shows only when the objects of a page are read.
        repaired = ("repaired",) if self._document.is_repaired else ()
        is_damaged = _DAMAGE.search(self._said) or (repaired and self._lacks_content(number))
        damaged = ("page-damaged",) if is_damaged else ()
        hidden = ("hidden-text",) if self._beside >= _BESIDE else ()
        return (*repaired, *damaged, *hidden)

    def _lacks_content(self, number: int) -> bool:
        """Whether the page, or what it draws, is named by the file and not in it: where a file is
        cut off MuPDF shows such pages as blank and says nothing."""
        page = self._page(number)
        try:
            self._document.xref_get_key(page.xref, "Contents")
            return not all(self._document.xref_is_stream(at) for at in page.get_contents())
        except (RuntimeError, ValueError):
            return True

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        page = self._page(number)
        rect = page.rect
        zoom = fitting_dpi(rect.width, rect.height, dpi, max_pixels) / 72
        pixmap = page.get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom), colorspace=pymupdf.csRGB, alpha=False
        )
        image: Image = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.h, pixmap.w, 3)
        return image

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        rect = self._page(number).rect
        return pixels_at(rect.width, rect.height, dpi)

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        page = self._page(number)
        width, height = page.rect.width, page.rect.height
        clip = pymupdf.Rect(box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        zoom = dpi / 72
        pixmap = page.get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom), colorspace=pymupdf.csRGB, alpha=False, clip=clip
        )
        image: Image = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.h, pixmap.w, 3)
        return image

    def detail(self, number: int) -> float:
        page = self._page(number)
        area = max(page.rect.width * page.rect.height, 1e-6)
        pictures = [(pymupdf.Rect(info["bbox"]), info["width"]) for info in page.get_image_info()]
        large = [
            72 * width / max(box.width, box.height if page.rotation % 180 else box.width, 1e-6)
            for box, width in pictures
            if box.width * box.height > _LARGE_PICTURE * area
        ]
        return float(max(large)) if large else float("inf")

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        page = self._page(number)
        width, height = max(page.rect.width, 1e-6), max(page.rect.height, 1e-6)
        found: list[tuple[Box, str]] = []
        for block in page.get_text("dict", flags=pymupdf.TEXTFLAGS_WORDS)["blocks"]:
            for line in block.get("lines", ()):
                for span in line["spans"]:
                    if not span["char_flags"] & _PAINTED or span["alpha"] < _OPAQUE:
                        box = pymupdf.Rect(span["bbox"]) * page.rotation_matrix
                        place = (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
                        found.append((place, span["text"]))
        return found

    def doubtful(self, number: int) -> list[Box]:
        page = self._page(number)
        log = self._painted()
        boxes = np.array([box for _, box in log], np.float64).reshape(-1, 4)
        kinds = np.array([kind for kind, _ in log], dtype=str)
        found = kinds == "ignore-text"
        for at in np.flatnonzero(kinds == "fill-image")[:_MOST_PICTURES]:
            before = np.flatnonzero(kinds[:at] == "fill-text")
            low = np.maximum(boxes[before, :2], boxes[at, :2])
            high = np.minimum(boxes[before, 2:], boxes[at, 2:])
            covered = np.maximum(high - low, 0).prod(axis=1)
            area = (boxes[before, 2:] - boxes[before, :2]).prod(axis=1)
            found[before[covered > _COVERED * area]] = True
        return self._places(page, boxes[found])

    def pictures(self, number: int) -> list[Box]:
        page = self._page(number)
        found = [box for kind, box in self._painted() if kind in ("fill-image", "fill-imgmask")]
        return united(self._places(page, np.array(found, np.float64).reshape(-1, 4)))

    def _painted(self) -> list[tuple[str, tuple[float, ...]]]:
        """What the current page paints, in order."""
        if self._log is None:
            self._log = self._current[1].get_bboxlog() if self._current else []
        return self._log

    @staticmethod
    def _places(page: Any, boxes: NDArray[np.float64]) -> list[Box]:
        low, high = _displayed(page, boxes)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in np.concatenate((low, high), 1).tolist()]

    def close(self) -> None:
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

    def _page(self, number: int) -> Any:
        """The page object, kept while the same page is asked for; MuPDF's store of decoded
        fonts and pictures is emptied as reading moves on, or it would grow with the book."""
        if self._current is None or self._current[0] != number:
            self._current = None
            pymupdf.TOOLS.mupdf_warnings(reset=True)
            self._said = ""
            self._beside = 0
            self._log = None
            if number % 64 == 63:
                pymupdf.TOOLS.store_shrink(100)
            self._current = (number, self._document.load_page(number))
        return self._current[1]

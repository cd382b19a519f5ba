"""PDF through pdfium: for those to whom MuPDF's AGPL is no option (``--renderer pdfium``)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pypdfium2
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
from retrieval.errors import InputError
from retrieval.types import Box, PageWords

# A document may have some broken pages at its end; with this many, its page count is a lie.
_LAST = 64
# The share of a text that a picture painted later must cover to hide it.
_COVERED = 0.8
# Maps have thousands of pictures: symbols, which cover nothing.
_MOST_PICTURES = 2000
# Marks of a note that is not shown (hidden, not viewed), and of a field for passwords.
_UNSEEN, _SECRET = 2 | 32, 1 << 13
# The share of a page from which on a picture on it decides how finely it is worth drawing.
_LARGE_PICTURE = 0.05


def _readable(path: Path) -> Path | bytes:
    """What pypdfium2 opens: the path, or the content of a file whose name is not UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return path.read_bytes()
    return path


class PdfiumDocument:
    """An ``OpenDocument`` over pypdfium2; not safe to share between threads."""

    def __init__(
        self, path: Path, password: str | None = None, flags: tuple[str, ...] = ()
    ) -> None:
        with opening(path, "the PDF"):
            try:
                self._document: Any = pypdfium2.PdfDocument(_readable(path), password=password)
            except pypdfium2.PdfiumError as error:
                raise _refusal(path, str(error).lower(), password) from error
            self._document.init_forms()
            claimed = len(self._document)
        self._pages = _pages_there(self._document, claimed)
        if not self._pages:
            self._document.close()
            raise LibraryError(
                f"{path}: the PDF has no pages; it is cut off or damaged, "
                "so fetch or export it again"
            )
        missing = () if self._pages == claimed else ("pages-missing",)
        self._flags = (*flags, *missing, *_not_shown(self._document))
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
        return self._flags

    @property
    def note(self) -> str:
        return ""

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
            # Not get_text_range: it leaves characters out, and the boxes would slip.
            text = [
                chr(pypdfium2.raw.FPDFText_GetUnicode(text_page, i) & 0x1FFFFF or 32)
                for i in range(text_page.count_chars())
            ]
            boxes = [text_page.get_charbox(i, loose=True) for i in range(len(text))]
        finally:
            text_page.close()
        texts: list[str] = []
        corners: list[tuple[float, ...]] = []
        begin = 0
        for i in range(len(boxes) + 1):
            if i < len(boxes) and not _divides(text[i]):
                continue
            if i > begin:
                part = np.array(boxes[begin:i])
                texts.append("".join(text[begin:i]).replace("\x02", "-"))
                corners.append(
                    (part[:, 0].min(), part[:, 1].min(), part[:, 2].max(), part[:, 3].max())
                )
            begin = i + 1
        for text, box in _written_on(self._document.formenv, page):
            texts += text
            corners += box
        if not texts:
            return PageWords.empty()
        width, height = page.get_size()
        found = self._fractions(page, np.array(corners, np.float64))
        visible = (found[:, 2:] > 0).all(axis=1) & (found[:, :2] < 1).all(axis=1)
        kept = [text for text, seen in zip(texts, visible, strict=True) if seen]
        return order_words(kept, np.clip(found[visible], 0, 1), width / max(height, 1e-6))

    def times(self, number: int) -> None:
        return None

    def part(self, number: int) -> None:
        return None

    def picture_share(self, number: int) -> float:
        page = self._page(number)
        left, bottom, right, top = page.get_cropbox()
        covered = 0.0
        for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
            x0, y0, x1, y1 = item.get_bounds()
            width, height = min(x1, right) - max(x0, left), min(y1, top) - max(y0, bottom)
            covered += max(0.0, width) * max(0.0, height)
        return float(min(1.0, covered / max((right - left) * (top - bottom), 1e-6)))

    def has_content(self, number: int) -> bool:
        return next(iter(self._page(number).get_objects(max_depth=1)), None) is not None

    def page_flags(self, number: int) -> tuple[str, ...]:
        return ()

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        page = self._page(number)
        width, height = page.get_size()
        scale = fitting_dpi(width, height, dpi, max_pixels) / 72
        bitmap = page.render(scale=scale, rev_byteorder=True)
        image: Image = np.array(bitmap.to_numpy()[:, :, :3], np.uint8)
        bitmap.close()
        return image

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        width, height = self._page(number).get_size()
        return pixels_at(width, height, dpi)

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        page = self._page(number)
        width, height = page.get_size()
        crop = (box[0] * width, (1 - box[3]) * height, (1 - box[2]) * width, box[1] * height)
        bitmap = page.render(scale=dpi / 72, rev_byteorder=True, crop=crop)
        image: Image = np.array(bitmap.to_numpy()[:, :, :3], np.uint8)
        bitmap.close()
        return image

    def detail(self, number: int) -> float:
        page = self._page(number)
        left, bottom, right, top = page.get_cropbox()
        area = max((right - left) * (top - bottom), 1e-6)
        found = []
        for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
            x0, y0, x1, y1 = item.get_bounds()
            if (x1 - x0) * (y1 - y0) > _LARGE_PICTURE * area:
                found.append(72 * item.get_px_size()[0] / max(x1 - x0, 1e-6))
        return float(max(found)) if found else float("inf")

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        """None: pdfium gives characters without how they are painted."""
        return []

    def doubtful(self, number: int) -> list[Box]:
        page = self._page(number)
        raw = pypdfium2.raw
        texts: list[tuple[float, ...]] = []
        found: list[tuple[float, ...]] = []
        # Each with how many texts were painted before it.
        pictures: list[tuple[int, tuple[float, ...]]] = []
        for item in page.get_objects(
            filter=[raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_IMAGE], max_depth=3
        ):
            box = item.get_bounds()
            if item.type == raw.FPDF_PAGEOBJ_TEXT:
                box = _as_high_as_its_font(item, box)
            if item.type == raw.FPDF_PAGEOBJ_IMAGE:
                pictures.append((len(texts), box))
            elif raw.FPDFTextObj_GetTextRenderMode(item) == raw.FPDF_TEXTRENDERMODE_INVISIBLE:
                found.append(box)
            else:
                texts.append(box)
        painted = np.array(texts, np.float64).reshape(-1, 4)
        hidden = np.zeros(len(painted), bool)
        for before, box in pictures[:_MOST_PICTURES]:
            hidden[:before] |= _covers(box, painted[:before])
        found += [text for text, covered in zip(texts, hidden, strict=True) if covered]
        places = self._fractions(page, np.array(found, np.float64).reshape(-1, 4))
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in places.tolist()]

    def pictures(self, number: int) -> list[Box]:
        page = self._page(number)
        items = page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)
        boxes = [item.get_bounds() for item in items] + _stamped_on(page)
        found = np.array(boxes, np.float64).reshape(-1, 4)
        return united(
            [(x0, y0, x1, y1) for x0, y0, x1, y1 in self._fractions(page, found).tolist()]
        )

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
        """Page space (origin bottom-left, not rotated) to fractions of the displayed page,
        below 0 and above 1 for what the crop box leaves out."""
        left, bottom, right, top = page.get_cropbox()
        x = (corners[:, [0, 2]] - left) / max(right - left, 1e-6)
        y = (top - corners[:, [1, 3]]) / max(top - bottom, 1e-6)
        for _ in range((page.get_rotation() // 90) % 4):
            x, y = 1 - y, x
        return np.stack((x.min(1), y.min(1), x.max(1), y.max(1)), axis=1).astype(np.float32)

    def _page(self, number: int) -> Any:
        if self._current is None or self._current[0] != number:
            if self._current is not None:
                self._current[1].close()
            self._current = (number, self._document[number])
        return self._current[1]


def _written_on(form: Any, page: Any) -> Iterator[tuple[list[str], list[tuple[float, ...]]]]:
    """Words and places (left, bottom, right, top) of what was filled into fields, and of notes
    written on the page: pdfium paints both and does not count them as text."""
    raw = pypdfium2.raw
    for i in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, i)
        try:
            kind = raw.FPDFAnnot_GetSubtype(note)
            area = raw.FS_RECTF()
            if raw.FPDFAnnot_GetFlags(note) & _UNSEEN or not raw.FPDFAnnot_GetRect(note, area):
                continue
            if kind == raw.FPDF_ANNOT_WIDGET and form is not None:
                field = raw.FPDFAnnot_GetFormFieldType(form, note)
                secret = raw.FPDFAnnot_GetFormFieldFlags(form, note) & _SECRET
                if field not in (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX):
                    continue
                text = "" if secret else _said(raw.FPDFAnnot_GetFormFieldValue, form, note)
            elif kind == raw.FPDF_ANNOT_FREETEXT:
                text = _said(raw.FPDFAnnot_GetStringValue, note, b"Contents")
            else:
                continue
        finally:
            raw.FPDFPage_CloseAnnot(note)
        # Where in its area each word stands only the painter knows.
        box = (area.left, area.bottom, area.right, area.top)
        yield text.split(), [box] * len(text.split())


def _stamped_on(page: Any) -> list[tuple[float, ...]]:
    """Where stamps, and fields of whose words pdfium knows nothing (signatures, buttons), are
    painted: like pictures, they are read only by OCR."""
    raw = pypdfium2.raw
    found: list[tuple[float, ...]] = []
    for i in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, i)
        area = raw.FS_RECTF()
        kind, seen = raw.FPDFAnnot_GetSubtype(note), raw.FPDFAnnot_GetRect(note, area)
        seen = seen and not raw.FPDFAnnot_GetFlags(note) & _UNSEEN
        raw.FPDFPage_CloseAnnot(note)
        if seen and kind in (raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_WIDGET):
            found.append((area.left, area.bottom, area.right, area.top))
    return found


def _said(ask: Callable[..., int], *of: Any) -> str:
    """What a pdfium function writes, UTF-16, that says first how many bytes it takes."""
    size = int(ask(*of, None, 0))
    if size <= 2:
        return ""
    out = ctypes.create_string_buffer(size)
    ask(*of, ctypes.cast(out, ctypes.POINTER(ctypes.c_ushort)), size)
    return out.raw[: size - 2].decode("utf-16-le", "replace")


def _not_shown(document: Any) -> tuple[str, ...]:
    """Flags of what the document holds and its pages do not show."""
    form = document.get_formtype() == pypdfium2.raw.FORMTYPE_XFA_FULL
    attached = document.count_attachments() > 0
    return (*(("form-not-shown",) if form else ()), *(("attachments",) if attached else ()))


def _as_high_as_its_font(text: Any, box: tuple[float, ...]) -> tuple[float, ...]:
    """``box`` of ``text``, which is flat where glyphs have no outlines: so is the font that OCR
    software writes layers in."""
    size = ctypes.c_float()
    pypdfium2.raw.FPDFTextObj_GetFontSize(text, size)
    turn = text.get_matrix()
    high = 0.8 * size.value * float(np.hypot(turn.c, turn.d))
    x0, y0, x1, y1 = box
    return (x0, y0, max(x1, x0 + high), max(y1, y0 + high))


def _covers(picture: tuple[float, ...], texts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Most of which ``texts`` ``[n, 4]`` (left, bottom, right, top) lies in ``picture``."""
    sides = np.minimum(picture[2:], texts[:, 2:]) - np.maximum(picture[:2], texts[:, :2])
    area = (texts[:, 2:] - texts[:, :2]).prod(axis=1)
    covered: NDArray[np.bool_] = np.maximum(sides, 0).prod(axis=1) > _COVERED * area
    return covered & (sides > 0).all(axis=1)


def _divides(character: str) -> bool:
    """Whether a word ends here. pdfium gives control characters, U+FFFE or U+FFFF where it is
    at a loss, but for U+0002: a hyphen at the end of a line."""
    return (
        character.isspace()
        or (character < " " and character != "\x02")
        or character in "\ufffe\uffff"
    )


def _pages_there(document: Any, claimed: int) -> int:
    """How many pages there are: pdfium believes the file's own count, which damaged and
    hostile files put at millions, each of them a failure of its own later on."""

    def there(number: int) -> bool:
        try:
            document.get_page_size(number)
        except pypdfium2.PdfiumError:
            return False
        return True

    if any(there(number) for number in range(max(0, claimed - _LAST), claimed)):
        return claimed
    low, high = 0, max(0, claimed - _LAST)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if there(middle) else (low, middle)
    return low


def _refusal(path: Path, text: str, password: str | None) -> InputError:
    if "password" in text:
        return LockedError(f"{path}: {locked(password)}")
    if "security" in text:
        return LockedError(
            f"{path}: the PDF is encrypted by a scheme that cannot be read; "
            "save it without encryption"
        )
    return LibraryError(
        f"{path}: the PDF is damaged beyond repair; fetch it again, or try --renderer mupdf"
    )

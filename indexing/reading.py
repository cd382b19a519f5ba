"""One page of an open document: its words by text layer or OCR, its picture, its flags.

Runs inside a worker process. A library error costs the page it happened on, never more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from indexing.faults import Faults
from indexing.inspection import FileFacts, inspect_file
from indexing.layer import CheckedLayer, check_layer, with_missing
from indexing.media_types import OFFICE, PDF
from indexing.messages import PageRead
from indexing.picture_reading import read_picture
from indexing.renderers import OpenDocument, opened, poppler
from indexing.renderers.base import Image
from indexing.settings import IntakeSettings
from retrieval.types import DocumentInfo, MetadataValue, PageContent, PageWords

# A text layer this short under a page full of picture is a stamp on a scan, not the page.
_FEW_WORDS = 12
_STAMP_WORDS = 40
_SCAN_SHARE = 0.5
# More unreadable characters than this, and fonts without a character map are likely.
_GARBAGE_SHARE = 0.3
_PREVIEW_DPI = 36
_INK, _INK_SHARE = 160, 0.01
_BLANK_RANGE = 12


def describe_file(
    path: Path,
    settings: IntakeSettings,
    metadata: Mapping[str, MetadataValue],
    alive: Callable[[], None] = lambda: None,
) -> DocumentInfo:
    """What ``path`` is, without reading its pages. Raises ``InputError`` if it is unusable.

    ``alive`` is called now and then while that takes long.
    """
    path = path.absolute()
    facts = inspect_file(path, settings.max_file_mb)
    with opened(path, facts.media_type, settings, alive) as (document, _, _):
        found = _info(path, facts, document, metadata, settings.max_pages)
    if facts.media_type not in OFFICE:
        return found
    from indexing.renderers.office import left_out

    return replace(found, flags=(*found.flags, *left_out(path, facts.media_type)))


def _info(
    path: Path,
    facts: FileFacts,
    document: OpenDocument,
    metadata: Mapping[str, MetadataValue],
    max_pages: int,
) -> DocumentInfo:
    cut = ("pages-cut",) if document.pages > max_pages else ()
    return DocumentInfo(
        source=str(path),
        sha256=facts.sha256,
        media_type=facts.media_type,
        title=document.title,
        pages=min(document.pages, max_pages),
        bytes=facts.bytes,
        metadata=dict(metadata),
        flags=(*facts.flags, *document.flags, *cut),
        note=document.note,
    )


def read_page(
    document: OpenDocument,
    path: Path,
    media_type: str,
    number: int,
    settings: IntakeSettings,
    *,
    want_image: bool,
    text_only: bool = False,
    on_part: Callable[[], None] = lambda: None,
) -> PageRead:
    """Page ``number`` with its words; what failed on it is in its flags.

    With ``text_only`` nothing is drawn, and the page is flagged as one that cannot be.
    ``on_part`` is called after each part of a page that is read in parts.
    """
    faults = Faults()
    attempt = faults.attempt
    width, height = attempt(lambda: document.size(number), (612.0, 792.0), "size-unknown")
    layer = attempt(lambda: document.words(number), PageWords.empty(), "text-failed")
    checked = CheckedLayer(layer)
    if len(layer) and media_type == PDF and not text_only and settings.check_layer:
        checked = check_layer(document, number, layer, faults, settings.ocr)
        layer = checked.words
    words, source = layer, "layer" if len(layer) else "none"
    image: Image | None = None
    reading = False
    if text_only:
        faults.flags.append("render-failed")
    elif settings.ocr != "off":
        reading = needs_ocr(document, number, layer, media_type, faults)
    # A picture, or a page whose text failed, is rendered in any case: whether anything can be
    # read of it is known only then.
    drawing = reading or want_image or media_type != PDF or "text-failed" in faults.flags
    if drawing and not text_only:
        image = render(document, path, media_type, number, settings, faults)
    if reading and image is not None and not is_blank(image):
        words, source = read_picture(document, number, image, layer, settings, faults, on_part)
    elif checked.missing and not reading:
        words = with_missing(document, number, checked, settings, faults, on_part)
    more: tuple[str, ...] = attempt(lambda: document.page_flags(number), (), "page-damaged")
    flags = [*faults.flags, *more]
    unreadable = not len(words) and image is None and bool(faults.reason)
    content = PageContent(
        number=number,
        label=attempt(lambda: document.label(number), str(number + 1), "label-unknown"),
        width=width,
        height=height,
        words=words,
        text_source=source,
        image=image if want_image else None,
        outline=attempt(lambda: document.outline(number), "", "outline-unknown"),
        flags=tuple(dict.fromkeys(flags)),
        times=attempt(lambda: document.times(number), None, "times-unknown"),
        part=document.part(number),
    )
    return PageRead(content, faults.reason if unreadable else "")


def render(
    document: OpenDocument,
    path: Path,
    media_type: str,
    number: int,
    settings: IntakeSettings,
    faults: Faults,
    dpi: int | None = None,
) -> Image | None:
    """The page's picture; poppler, then pdfium, are asked where the library fails, or paints
    nothing although the page has content."""
    dpi = dpi or settings.ocr_dpi
    image: Image | None = faults.attempt(
        lambda: document.render(number, dpi, settings.max_pixels), None, "render-failed"
    )
    if media_type != PDF or (image is not None and not is_blank(image)):
        return image
    if image is not None and not Faults().attempt(lambda: document.has_content(number), True, ""):
        return image
    for name, other in (("poppler", poppler.render), ("pdfium", _render_by_pdfium)):
        second = other(path, number, dpi, settings)
        if second is not None and not is_blank(second):
            faults.flags.append(f"rendered-by-{name}")
            return second
    return image


def _render_by_pdfium(path: Path, number: int, dpi: int, settings: IntakeSettings) -> Image | None:
    from indexing.renderers.pdfium import PdfiumDocument

    def act() -> Image:
        with PdfiumDocument(path, settings.password) as document:
            return document.render(number, dpi, settings.max_pixels)

    return Faults().attempt(act, None, "") if settings.renderer != "pdfium" else None


def is_blank(image: Image) -> bool:
    """Whether nothing is printed: the pixels span hardly any tone."""
    return not image.size or int(image.max()) - int(image.min()) < _BLANK_RANGE


def garbage_share(words: PageWords) -> float:
    """The share of characters that no reader could read: private use, replacement, control."""
    text = "".join(words.texts)
    bad = sum(
        character == "\ufffd" or unicodedata.category(character) in ("Co", "Cn", "Cc")
        for character in text
    )
    return bad / max(1, len(text))


def needs_ocr(
    document: OpenDocument, number: int, layer: PageWords, media_type: str, faults: Faults
) -> bool:
    """Whether a page with this text ``layer`` has to be read from its picture."""
    if media_type != PDF:
        return True
    if len(layer) and garbage_share(layer) > _GARBAGE_SHARE:
        faults.flags.append("text-layer-unreadable")
        return True
    if len(layer) >= _STAMP_WORDS:
        return False
    share = faults.attempt(lambda: document.picture_share(number), 1.0, "pictures-unknown")
    if share >= _SCAN_SHARE:
        return True
    if len(layer) >= _FEW_WORDS:
        return False
    # Few words and no large picture: letters may be drawn as curves, or the page is a title.
    preview: Image | None = faults.attempt(
        lambda: document.render(number, _PREVIEW_DPI, 10_000_000), None, "render-failed"
    )
    if preview is None or float((preview.min(axis=2) < _INK).mean()) > _INK_SHARE:
        return True
    if len(layer):
        return False
    # Small print leaves little ink. Or nothing is painted although there is something to paint:
    # another library may see it.
    return not is_blank(preview) or document.has_content(number)

"""Which library opens which kind of document.

Imports the libraries when they are needed: a build of PDFs does not load FFmpeg.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from indexing.media_types import OFFICE, PDF
from indexing.renderers.base import LibraryError, OpenDocument
from indexing.settings import IntakeSettings
from retrieval.errors import InputError


def open_document(
    path: Path,
    media_type: str,
    settings: IntakeSettings,
    alive: Callable[[], None] = lambda: None,
) -> OpenDocument:
    """Open a PDF, picture or recording. Raises ``InputError`` with the reason if that fails.

    A PDF that MuPDF finds no pages in is tried with pdfium, whose repair differs. ``alive`` is
    called now and then while a recording is looked through.
    """
    if media_type != PDF:
        from indexing.video import is_recording

        if is_recording(path, media_type):
            from indexing.renderers.recordings import RecordingDocument

            return RecordingDocument(path, media_type, settings, alive)
        from indexing.renderers.pictures import PictureDocument
        from indexing.renderers.several import separated

        return separated(PictureDocument(path, media_type, settings.max_picture_megapixels), path)
    from indexing.renderers.pdfium import PdfiumDocument

    if settings.renderer == "pdfium":
        return PdfiumDocument(path, settings.password)
    from indexing.renderers.mupdf import MuPdfDocument

    try:
        return MuPdfDocument(path, settings.password)
    except LibraryError as error:
        try:
            return PdfiumDocument(path, settings.password, ("opened-by-pdfium",))
        except LibraryError:
            raise error from None


@contextlib.contextmanager
def opened(
    path: Path, media_type: str, settings: IntakeSettings, alive: Callable[[], None]
) -> Iterator[tuple[OpenDocument, Path, str]]:
    """The document at ``path``, the file that is read for it, and that file's type.

    The two are ``path`` and ``media_type``, or the PDF that an Office document or web page was
    converted to. Errors name ``path`` in both cases.
    """
    if media_type not in OFFICE:
        with open_document(path, media_type, settings, alive) as document:
            yield document, path, media_type
        return
    from indexing.renderers.office import converted

    with converted(path, media_type, settings, alive) as pdf:
        try:
            with open_document(pdf, PDF, settings) as document:
                yield document, pdf, PDF
        except InputError as error:
            raise type(error)(str(error).replace(str(pdf), str(path))) from error

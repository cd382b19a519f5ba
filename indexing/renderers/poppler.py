"""A second opinion from poppler, through pdf2image, for pages the first library fails on.

Poppler is a system package and optional: without it, its absence is said once.
"""

from __future__ import annotations

import logging
import shutil
from functools import cache
from pathlib import Path

import numpy as np

from indexing.renderers.base import Image

_log = logging.getLogger(__name__)
_SECONDS = 60


@cache
def available() -> bool:
    """Whether poppler is installed; says once if it is not."""
    found = shutil.which("pdftoppm") is not None
    if not found:
        _log.warning(
            "poppler is not installed: pages that the renderer fails on get no second opinion "
            "(Debian and Ubuntu: apt install poppler-utils; macOS: brew install poppler)"
        )
    return found


def render(path: Path, number: int, dpi: float, longest: int, password: str | None) -> Image | None:
    """Page ``number`` as ``[h, w, 3] uint8``, at most ``longest`` pixels on its longer side;
    None if poppler is absent or fails too."""
    if not available():
        return None
    import pdf2image
    from pdf2image.exceptions import (
        PDFPageCountError,
        PDFPopplerTimeoutError,
        PDFSyntaxError,
        PopplerNotInstalledError,
    )

    try:
        found = pdf2image.convert_from_path(
            path,
            dpi=round(dpi),
            first_page=number + 1,
            last_page=number + 1,
            userpw=password or "",
            use_cropbox=True,
            timeout=_SECONDS,
        )
    except (
        PDFPageCountError,
        PDFPopplerTimeoutError,
        PDFSyntaxError,
        PopplerNotInstalledError,
        OSError,
        ValueError,
    ):
        return None
    if not found:
        return None
    picture = found[0].convert("RGB")
    picture.thumbnail((longest, longest))
    image: Image = np.asarray(picture, np.uint8)
    return image

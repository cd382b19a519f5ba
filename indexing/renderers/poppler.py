"""A second opinion from poppler, through pdf2image, for pages the first library fails on.

Poppler is a system package and optional: without it, its absence is said once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from indexing.renderers.base import Image, fitting_dpi
from indexing.settings import IntakeSettings

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


def render(path: Path, number: int, dpi: int, settings: IntakeSettings) -> Image | None:
    """Page ``number`` as ``[h, w, 3] uint8`` RGB within the settings' pixels; None if poppler
    is absent or fails too."""
    if not available():
        return None
    import pdf2image
    from pdf2image.exceptions import (
        PDFPageCountError,
        PDFPopplerTimeoutError,
        PDFSyntaxError,
        PopplerNotInstalledError,
    )

    secret = settings.password or ""
    seconds = max(1, int(min(_SECONDS, settings.seconds_per_page / 2)))
    try:
        # Asked first: a page of some metres would be painted at full size, then scaled down.
        facts = pdf2image.pdfinfo_from_path(
            str(path), userpw=secret, timeout=seconds, first_page=number + 1, last_page=number + 1
        )
        width, height = _points(facts, number + 1)
        found = pdf2image.convert_from_path(
            path,
            dpi=max(1, int(fitting_dpi(width, height, dpi, settings.max_pixels))),
            first_page=number + 1,
            last_page=number + 1,
            userpw=secret,
            use_cropbox=True,
            timeout=seconds,
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
    image: Image = np.asarray(found[0].convert("RGB"), np.uint8)
    return image


def _points(facts: Mapping[str, object], page: int) -> tuple[float, float]:
    """Width and height of ``page`` from what pdfinfo prints of it ("612 x 792 pts (letter)")."""
    for key, value in facts.items():
        parts = str(value).split()
        if key.split() == ["Page", str(page), "size"] and len(parts) >= 3:
            return float(parts[0]), float(parts[2])
    return 612.0, 792.0

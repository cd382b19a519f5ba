"""What the user may say about reading sources."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OcrChoice = Literal["auto", "tesseract", "rapidocr", "off"]
RendererChoice = Literal["mupdf", "pdfium"]


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


LIMITS = (
    "max_file_mb",
    "max_pages",
    "max_picture_megapixels",
    "max_pixels",
    "max_tiles",
    "max_unpacked_mb",
    "max_video_minutes",
    "max_video_pages",
    "video_fps",
    "cache_mb",
    "seconds_per_page",
    "seconds_per_file",
    "wasted_seconds",
    "worker_memory_mb",
)


def raise_limit(name: str, value: float) -> str:
    """The remedy where a limit is in the way: "raise max_pages (--limit max_pages=40000)"."""
    return f"raise {name} (--limit {name}={value:g})"


class IntakeSettings(BaseModel):
    """Limits and choices for reading one source; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ocr: OcrChoice = "auto"
    renderer: RendererChoice = "mupdf"
    # 200 dpi is where both OCR engines stop gaining on 10-point print.
    ocr_dpi: int = Field(default=200, ge=72, le=600)
    # Whether text layers are compared with the pages as drawn; a tenth of the time of a build.
    check_layer: bool = True
    # Limits. What goes beyond one is refused or cut, and the message names the limit.
    max_file_mb: int = Field(default=4096, ge=1)
    max_pages: int = Field(default=20_000, ge=1)
    # A frame beyond this is a decompression bomb or a map; 24,000 x 16,000 still passes.
    max_picture_megapixels: int = Field(default=400, ge=1)
    # Rendering above this many pixels lowers the dpi; pictures above it are scaled down for OCR.
    max_pixels: int = Field(default=40_000_000, ge=1_000_000)
    # A picture larger than an OCR engine takes at once is read in tiles where it has small print.
    max_tiles: int = Field(default=48, ge=1, le=10_000)
    # What an Office document, which is an archive, may hold.
    max_unpacked_mb: int = Field(default=2000, ge=1)
    # Recordings: how long, how often a frame is looked at, how many pages one may become.
    max_video_minutes: int = Field(default=240, ge=1)
    video_fps: float = Field(default=4.0, gt=0, le=60)
    max_video_pages: int = Field(default=600, ge=1, le=20_000)
    # What is made of sources (PDFs of Office documents, which frames are pages) and kept.
    cache_mb: int = Field(default=2000, ge=1)
    # For a page, or for one part of a page that is read in parts.
    seconds_per_page: float = Field(default=120.0, gt=0)
    # Before its first page: looking through a recording, converting an Office document.
    seconds_per_file: float = Field(default=3600.0, gt=0)
    # Pages that spin until their limit may cost a document so much in all.
    wasted_seconds: float = Field(default=600.0, gt=0)
    worker_memory_mb: int = Field(default=4096, ge=512)
    workers: int = Field(default_factory=cores, ge=1, le=256)
    password: str | None = None

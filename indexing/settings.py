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


class IntakeSettings(BaseModel):
    """Limits and choices for reading one source; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ocr: OcrChoice = "auto"
    renderer: RendererChoice = "mupdf"
    # 200 dpi is where both OCR engines stop gaining on 10-point print.
    ocr_dpi: int = Field(default=200, ge=72, le=600)
    # Rendering above this many pixels lowers the dpi; pictures above it are scaled down for OCR.
    max_pixels: int = Field(default=40_000_000, ge=1_000_000)
    seconds_per_page: float = Field(default=120.0, gt=0)
    worker_memory_mb: int = Field(default=4096, ge=512)
    workers: int = Field(default_factory=cores, ge=1, le=256)
    password: str | None = None

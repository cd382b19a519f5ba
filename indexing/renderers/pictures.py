"""Pictures as documents: every frame of a TIFF, GIF or WebP is a page."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from indexing.renderers.base import Image
from retrieval.errors import InputError
from retrieval.types import PageWords

# A frame beyond this is a decompression bomb or a map; 24,000 x 16,000 still passes.
_MOST_PIXELS = 400_000_000
_MOST_FRAMES = 5_000


class PictureDocument:
    """An ``OpenDocument`` over Pillow. Turned as its EXIF orientation says."""

    def __init__(self, path: Path) -> None:
        Pillow.MAX_IMAGE_PIXELS = _MOST_PIXELS
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._picture: Any = Pillow.open(path)
                frames = int(getattr(self._picture, "n_frames", 1))
        except Pillow.DecompressionBombError as error:
            raise InputError(
                f"{path}: the picture claims more than {_MOST_PIXELS // 1_000_000} million "
                "pixels; scale it down"
            ) from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
            raise InputError(
                f"{path}: the picture is damaged and cannot be opened; fetch it again"
            ) from error
        if min(self._picture.size) < 1:
            raise InputError(f"{path}: the picture has no pixels; fetch or export it again")
        self._frames = min(frames, _MOST_FRAMES)
        self._flags = ("frames-cut",) if frames > _MOST_FRAMES else ()
        self._sizes: dict[int, tuple[int, int]] = {}

    @property
    def pages(self) -> int:
        return self._frames

    @property
    def title(self) -> str:
        return ""

    @property
    def flags(self) -> tuple[str, ...]:
        return self._flags

    def label(self, number: int) -> str:
        return str(number + 1)

    def outline(self, number: int) -> str:
        return ""

    def size(self, number: int) -> tuple[float, float]:
        self._picture.seek(number)
        width, height = self._picture.size
        turned = self._picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (float(height), float(width)) if turned else (float(width), float(height))

    def words(self, number: int) -> PageWords:
        return PageWords.empty()

    def picture_share(self, number: int) -> float:
        return 1.0

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        """The frame's own pixels: ``dpi`` means nothing for a picture."""
        self._picture.seek(number)
        frame = ImageOps.exif_transpose(self._picture)
        if frame.mode in ("RGBA", "LA", "PA") or "transparency" in frame.info:
            paper = Pillow.new("RGBA", frame.size, "white")
            frame = Pillow.alpha_composite(paper, frame.convert("RGBA"))
        elif frame.mode in ("I;16", "I", "F"):
            frame = _stretched(frame)
        frame = frame.convert("RGB")
        if frame.width * frame.height > max_pixels:
            shrink = (max_pixels / (frame.width * frame.height)) ** 0.5
            size = (max(1, int(frame.width * shrink)), max(1, int(frame.height * shrink)))
            frame = frame.resize(size, Pillow.Resampling.LANCZOS)
        image: Image = np.asarray(frame, np.uint8)
        return image

    def close(self) -> None:
        self._picture.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _stretched(frame: Any) -> Any:
    """16-bit and float pixels brought to 8 bits by their own range."""
    values = np.asarray(frame, np.float64)
    low, high = float(values.min(initial=0)), float(values.max(initial=1))
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return Pillow.fromarray(scaled.astype(np.uint8))

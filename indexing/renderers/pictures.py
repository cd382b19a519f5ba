"""Pictures as documents: every frame of a TIFF, GIF or WebP is a page."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageFile, ImageOps

from indexing.media_types import HEIC, TGA
from indexing.ocr import print_blocks
from indexing.renderers.base import Image, opening, pixel_part
from indexing.settings import raise_limit
from retrieval.errors import InputError
from retrieval.types import Box, PageWords

_ORIENTATION = 0x0112
# What Pillow raises for pixels that cannot be had.
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError)
# Grey values that span so much or more use the 16 bits of a file.
_USED_RANGE = 16_384
_OPAQUE = 255
# From the one ratio of a pixel's sides on it is stretched; beyond the other the file lies.
_OBLONG = (1.2, 4.0)
# Print shows on black by so much more than on white where black is what it was made for.
_PLAINER = 2
# The colours that a profile must be about, by the picture's mode.
_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}

# Pillow is let try the decoder of the type that the bytes show and no other: some of its
# decoders (EPS) run programs.
_FORMATS: dict[str, tuple[str, ...]] = {
    "image/jpeg": ("JPEG", "MPO"),
    "image/png": ("PNG",),
    "image/tiff": ("TIFF",),
    "image/webp": ("WEBP",),
    "image/avif": ("AVIF",),
    HEIC: ("HEIF",),
    "image/gif": ("GIF",),
    "image/bmp": ("BMP",),
    "image/jp2": ("JPEG2000",),
    "image/x-portable-anymap": ("PPM",),
    "image/x-pcx": ("PCX",),
    "image/x-sgi": ("SGI",),
    "image/x-dds": ("DDS",),
    "image/x-photoshop": ("PSD",),
    "image/x-fli": ("FLI",),
    TGA: ("TGA",),
}


class PictureDocument:
    """An ``OpenDocument`` over Pillow. Turned as its EXIF orientation says."""

    def __init__(self, path: Path, media_type: str, max_megapixels: int) -> None:
        self._path, self._formats = path, _FORMATS[media_type]
        self._most = max_megapixels
        self._picture: Any = self._open()
        with opening(path, "the picture"):
            frames = int(getattr(self._picture, "n_frames", 1))
        # The further frames of an MPO or HEIC are other exposures of the same view.
        single = media_type in ("image/jpeg", HEIC)
        self._frames = 1 if single else frames
        self._first = self._picture.tell() if single else 0
        self._cut: set[int] = set()
        self._seen: tuple[int, Any] | None = None

    def _open(self) -> Any:
        if "HEIF" in self._formats:
            _learn_heif(self._path)
        # Pillow refuses from twice this on, also frames that grow beyond the first one.
        Pillow.MAX_IMAGE_PIXELS = self._most * 500_000
        with opening(self._path, "the picture"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture: Any = Pillow.open(self._path, formats=self._formats)
            except Pillow.DecompressionBombError as error:
                raise self._too_large() from error
        width, height = picture.size
        if min(width, height) < 1:
            raise InputError(f"{self._path}: the picture has no pixels; fetch or export it again")
        if width * height > self._most * 1_000_000:
            raise self._too_large(width * height)
        return picture

    def _too_large(self, pixels: int = 0) -> InputError:
        wanted = max(2 * self._most, pixels // 1_000_000 + 1)
        return InputError(
            f"{self._path}: the picture claims more than {self._most} million pixels; scale it "
            f"down, or {raise_limit('max_picture_megapixels', wanted)}"
        )

    @property
    def pages(self) -> int:
        return self._frames

    @property
    def title(self) -> str:
        return ""

    @property
    def flags(self) -> tuple[str, ...]:
        return ()

    @property
    def note(self) -> str:
        return ""

    def label(self, number: int) -> str:
        return str(number + 1)

    def outline(self, number: int) -> str:
        return ""

    def size(self, number: int) -> tuple[float, float]:
        self._picture.seek(self._first + number)
        width, height = self._picture.size
        if self._picture.format == "PNG":
            # Asked for EXIF, Pillow decodes a PNG, and after a failure it takes what it has for
            # the whole: the failure must be seen here first.
            try:
                self._decoded(number)
            except UNDECODABLE:
                return float(width), float(height)
        # Pillow gives a TIFF's size as turned, that of the others as stored.
        if self._picture.format == "TIFF":
            return self._squared(width, height)
        turned = _orientation(self._picture) > 4
        return (float(height), float(width)) if turned else (float(width), float(height))

    def _squared(self, width: int, height: int) -> tuple[float, float]:
        """The size of a fax, whose pixels are higher than wide, in square ones."""
        across, down = map(float, self._picture.info.get("dpi") or (1, 1))
        if not (across > 0 and down > 0):
            return float(width), float(height)
        if _orientation(self._picture) > 4:
            across, down = down, across
        longer = max(across / down, down / across)
        if not _OBLONG[0] < longer < _OBLONG[1] or width * height * longer > self._most * 1_000_000:
            return float(width), float(height)
        if across > down:
            return float(width), float(round(height * across / down))
        return float(round(width * down / across)), float(height)

    def words(self, number: int) -> PageWords:
        return PageWords.empty()

    def times(self, number: int) -> None:
        return None

    def part(self, number: int) -> None:
        return None

    def picture_share(self, number: int) -> float:
        return 1.0

    def has_content(self, number: int) -> bool:
        return True

    def page_flags(self, number: int) -> tuple[str, ...]:
        return ("cut-off",) if number in self._cut else ()

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        """The frame's own pixels: ``dpi`` means nothing for a picture."""
        frame = self._as_seen(number)
        if frame.width * frame.height > max_pixels:
            shrink = (max_pixels / (frame.width * frame.height)) ** 0.5
            size = (max(1, int(frame.width * shrink)), max(1, int(frame.height * shrink)))
            frame = frame.resize(size, Pillow.Resampling.LANCZOS)
        image: Image = np.asarray(frame, np.uint8)
        return image

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        width, height = self.size(number)
        return int(width), int(height)

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        frame = self._as_seen(number)
        return np.asarray(frame.crop(pixel_part(box, frame.width, frame.height)), np.uint8)

    def detail(self, number: int) -> float:
        """Its pixels are all there is, at any resolution."""
        return 0.0

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        return []

    def doubtful(self, number: int) -> list[Box]:
        return []

    def pictures(self, number: int) -> list[Box]:
        return []

    def _as_seen(self, number: int) -> Any:
        """The frame as a person sees it, RGB; the last one is kept, as it is asked for in parts."""
        if self._seen is None or self._seen[0] != number:
            self._seen = None
            self._seen = (number, self._converted(number))
        return self._seen[1]

    def _converted(self, number: int) -> Any:
        frame = _upright(self._decoded(number))
        profile = frame.info.get("icc_profile")
        if frame.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in frame.info:
            frame = _on_paper(frame.convert("RGBA"))
        elif frame.mode in ("I", "F") or frame.mode.startswith("I;16"):
            frame = _stretched(frame)
        elif frame.mode == "LAB":
            frame = _from_lab(frame)
        frame = (_by_profile(frame, profile) if profile else frame).convert("RGB")
        if self._picture.format != "TIFF":
            return frame
        width, height = (int(side) for side in self._squared(*frame.size))
        return frame if frame.size == (width, height) else frame.resize((width, height))

    def _decoded(self, number: int) -> Any:
        """Frame ``number``; of a file that ends early, what there is of it."""
        try:
            self._picture.seek(self._first + number)
            self._picture.load()
            return self._picture
        except UNDECODABLE:
            partial = self._partial(number)
            if partial is None:
                # Asked again, what was opened for parts would pass for the whole.
                self._picture.close()
                self._picture = self._open()
                raise
        self._cut.add(number)
        return partial

    def _partial(self, number: int) -> Any:
        # A decoder that failed once does not go on: the file is opened anew.
        self._picture.close()
        self._picture = self._open()
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            self._picture.seek(self._first + number)
            self._picture.load()
        except UNDECODABLE:
            return None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        tones = self._picture.getextrema()
        bands = tones if isinstance(tones[0], tuple) else (tones,)
        # One tone all over means that nothing was decoded.
        return self._picture if any(low != high for low, high in bands) else None

    def close(self) -> None:
        self._seen = None
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


def _orientation(picture: Any) -> int:
    """1 to 8 as EXIF numbers them; 1, as it lies, where the EXIF block is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError):
        return 1


def _upright(picture: Any) -> Any:
    if _orientation(picture) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _on_paper(frame: Any) -> Any:
    """``frame``, RGBA, on white paper; on black where only that shows its print, as of a logo in
    white letters."""
    white, black = (
        Pillow.alpha_composite(Pillow.new("RGBA", frame.size, paper), frame).convert("RGB")
        for paper in ("white", "black")
    )
    if frame.getchannel("A").getextrema()[0] == _OPAQUE:
        return white
    on_white, on_black = (int(print_blocks(np.asarray(one)).sum()) for one in (white, black))
    return black if on_black > _PLAINER * on_white else white


def _stretched(frame: Any) -> Any:
    """16-bit, 32-bit and float pixels brought to 8 bits.

    By the range of 16 bits where it is used, as viewers do. Otherwise by their own range:
    measurements and 12-bit scans would be black.
    """
    values = np.nan_to_num(np.asarray(frame, np.float32), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if frame.mode != "F" and low >= 0 and high - low >= _USED_RANGE and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return Pillow.fromarray(scaled.astype(np.uint8))


def _by_profile(frame: Any, profile: bytes) -> Any:
    """``frame`` in sRGB as its embedded colour profile says; as it is if that is damaged or of
    other colours."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if str(source.profile.xcolor_space).strip() != _SPACES.get(frame.mode):
            return frame
        return ImageCms.profileToProfile(
            frame, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return frame


def _learn_heif(path: Path) -> None:
    """Teach Pillow HEIC, the phones' format; again is harmless."""
    try:
        import pi_heif
    except ImportError as error:
        raise InputError(
            f"{path}: is a HEIC picture, which needs pi-heif: run `pip install pi-heif`, or save "
            "it as PNG or JPEG"
        ) from error
    pi_heif.register_heif_opener(thumbnails=False)


def _from_lab(frame: Any) -> Any:
    """CIE Lab as RGB, which Pillow's own conversion does not do."""
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.applyTransform(frame, ImageCms.buildTransform(lab, rgb, "LAB", "RGB"))

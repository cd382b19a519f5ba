"""How an index keeps patch vectors: a kind of code, and how many vectors share one.

====== ===================== ==================================================================
kind   bytes, 1,030 x 128    what is kept
====== ===================== ==================================================================
fp32   527,360               everything
fp16   263,680               11 bits of every component
int8   133,900               8 bits, one scale a vector. The default: ranking by these and by
                             floats could not be told apart on real questions
binary 16,480                signs, one scale a page; the question keeps its floats
====== ===================== ==================================================================

``+pool2`` to ``+pool5`` leave one vector for so many (``retrieval.token_pooling``). The setting
(``int8``, ``binary+pool3``) is in the manifest and is fixed for an index's life.

At first ``int8`` had one scale a page, and nearly twice the error. Such indexes have
``int8-page`` here and are written and searched as they were begun. In a manifest they are called
``int8``, as they always were, and what is ``int8`` now is called ``int8-patch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.maxsim import FRACTION, PACKED, SCALED, code_width, join_scaled
from retrieval.token_pooling import TEXT_RUN, pool_tokens
from retrieval.types import FloatArray

LARGEST_CODE = 127
MOST_POOLED = 5
DEFAULT = "int8"
_OLD = "int8-page"
_DTYPES: dict[str, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "int8": SCALED,
    "binary": PACKED,
    _OLD: np.dtype(np.int8),
}
KINDS = tuple(kind for kind in _DTYPES if kind != _OLD)
# What manifests call a kind, where that is not its name.
_IN_MANIFESTS = {"int8": "int8-patch", _OLD: "int8"}
_OTHER_NAMES = {"float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True, slots=True, eq=False)
class CompressedPage:
    """``codes`` of m vectors, what they are multiplied by, and for each of the page's n patches
    the vector that stands for it, ``member_of [n] int32``; None where each has its own."""

    codes: NDArray[Any]
    scale: float
    member_of: NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Compression:
    """A setting: one of ``KINDS`` (or ``int8-page``, in an older index), and how many vectors
    become one (1 to ``MOST_POOLED``)."""

    kind: str = DEFAULT
    factor: int = 1

    @staticmethod
    def parse(name: str) -> Compression:
        """The setting called ``name``. Raises ``InputError`` if there is none."""
        kind, plus, pool = name.partition("+")
        kind = _OTHER_NAMES.get(kind, kind)
        factor = 1
        if plus and pool.startswith("pool") and pool[4:].isdecimal():
            factor = int(pool[4:])
        if kind not in KINDS or (plus and not 2 <= factor <= MOST_POOLED):
            raise InputError(
                f"unknown compression '{name}'; write one of {', '.join(KINDS)}, alone or with "
                f"+pool2 to +pool{MOST_POOLED}, as in {DEFAULT}+pool3"
            )
        return Compression(kind, factor)

    @staticmethod
    def of_manifest(name: str) -> Compression:
        """The setting that a manifest calls ``name``. Raises ``InputError`` if there is none."""
        kind, plus, pool = name.partition("+")
        kind = _OTHER_NAMES.get(kind, kind)
        known = {_IN_MANIFESTS.get(kind, kind): kind for kind in _DTYPES}
        if kind not in known:
            raise InputError(f"unknown compression '{name}' in a manifest")
        return Compression(known[kind], Compression.parse(f"{DEFAULT}{plus}{pool}").factor)

    @property
    def name(self) -> str:
        """What ``parse`` reads."""
        return self.kind + self._pool

    @property
    def in_manifest(self) -> str:
        """What ``of_manifest`` reads."""
        return _IN_MANIFESTS.get(self.kind, self.kind) + self._pool

    def is_called(self, name: str) -> bool:
        """Whether who asks for ``name`` means this; ``int8`` is also that of an older index."""
        asked = Compression.parse(name)
        kinds = ("int8", _OLD) if asked.kind == "int8" else (asked.kind,)
        return self.kind in kinds and self.factor == asked.factor

    @property
    def _pool(self) -> str:
        return f"+pool{self.factor}" if self.factor > 1 else ""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the codes."""
        return _DTYPES[self.kind]

    def width(self, dim: int) -> int:
        """Codes a vector of ``dim`` components takes."""
        return code_width(self.dtype, dim)

    def bytes_a_page(self, patches: int, dim: int) -> int:
        """What a page's codes take when all is pooled at once; runs round up for each."""
        return -(-patches // self.factor) * self.width(dim) * self.dtype.itemsize

    def compress(self, vectors: FloatArray, run: int = 0) -> CompressedPage:
        """The codes of a page's ``vectors [n, d]``; ``run`` is ``pool_tokens``'s.

        Raises ``ValueError`` when a component is not finite: such a page would poison every
        score.
        """
        vectors = np.asarray(vectors, np.float32)
        member_of = None
        if self.factor > 1:
            vectors, member_of = pool_tokens(vectors, self.factor, run)
        if not np.isfinite(vectors).all():
            raise ValueError("vectors to compress must be finite")
        if self.kind == "int8":
            return CompressedPage(*quantise_patches(vectors), member_of)
        if self.kind == _OLD:
            return CompressedPage(*quantise(vectors), member_of)
        if self.kind == "binary":
            return CompressedPage(*signs(vectors), member_of)
        peak = float(np.abs(vectors).max(initial=0.0))
        scale = max(peak, 1.0) if self.kind == "fp16" else 1.0
        return CompressedPage((vectors / np.float32(scale)).astype(self.dtype), scale, member_of)

    def window(self, patches: int, stride: int) -> tuple[int, int]:
        """A window of ``retrieval.passages`` (patches, stride), in vectors that are left."""
        if self.factor == 1 or not patches:
            return patches, stride
        left = -(-stride // self.factor) if stride == TEXT_RUN else max(1, stride // self.factor)
        return patches // stride * left, left


def quantise_patches(vectors: FloatArray) -> tuple[NDArray[Any], float]:
    """``SCALED`` patches ``[n, d + 2]`` and the page's scale.

    Each vector has the whole range of a byte to itself. What its codes are multiplied by is chosen
    so that its product with itself stays what it was: the patch that a question finds is one that
    is near to it, and so the error lies across the question (as in RaBitQ, Gao and Long 2024). A
    vector of zeros has the fraction 0.

    Raises ``ValueError`` when a component is not finite.
    """
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("vectors to quantise must be finite")
    peaks = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    # A vector this small is one of zeros beside any other.
    peaks[peaks < np.finfo(np.float32).tiny * LARGEST_CODE * FRACTION] = np.inf
    unit = vectors / peaks
    codes = np.rint(unit * LARGEST_CODE)
    along = np.einsum("ij,ij->i", unit, codes)
    factors = np.zeros(len(vectors), np.float64)
    found = along > 0
    squares = np.einsum("ij,ij->i", unit, unit)[found]
    factors[found] = squares.astype(np.float64) / along[found] * peaks[found, 0]
    largest = float(factors.max(initial=0.0))
    if not largest:
        return join_scaled(codes.astype(np.int8), np.zeros(len(codes), np.uint16)), 1.0
    scale = np.float32(largest * FRACTION / (FRACTION - 1))
    steps = np.clip(np.rint(factors / scale * FRACTION), 0, FRACTION - 1)
    return join_scaled(codes.astype(np.int8), steps.astype(np.uint16)), float(scale)


def quantise(vectors: FloatArray) -> tuple[NDArray[np.int8], float]:
    """Codes ``[n, d] int8`` and the scale for which ``codes * scale`` is close to ``vectors``.

    Every component is off by at most ``scale / 2``. -128 is never used, so that a code can be
    negated. A page without vectors, or of zeros, has scale 1.

    Raises ``ValueError`` when a component is not finite: such a page would poison every score.
    """
    vectors = np.asarray(vectors, np.float32)
    peak = float(np.abs(vectors).max(initial=0.0))
    if not np.isfinite(peak):
        raise ValueError("vectors to quantise must be finite")
    scale = float(np.float32(peak / LARGEST_CODE))
    if scale < np.finfo(np.float32).tiny:
        return np.zeros(vectors.shape, np.int8), 1.0
    codes = np.clip(np.rint(vectors / np.float32(scale)), -LARGEST_CODE, LARGEST_CODE)
    return codes.astype(np.int8), scale


def dequantise(codes: NDArray[np.int8], scale: float) -> FloatArray:
    """The ``[n, d] float32`` vectors that ``codes`` stand for."""
    return codes.astype(np.float32) * np.float32(scale)


def signs(vectors: FloatArray) -> tuple[NDArray[Any], float]:
    """``PACKED`` signs ``[n, ceil(d / 8)]`` and the scale that keeps scores where they were.

    With it a vector's product with its own signs is its square, on average over the page: so
    scores stay comparable with the other lanes' and across pages. Zero counts as positive.
    """
    bits = np.packbits(vectors >= 0, axis=1, bitorder="little").view(PACKED)
    spread = float(np.abs(vectors).sum(dtype=np.float64))
    scale = float(np.float32((vectors.astype(np.float64) ** 2).sum() / max(spread, 1e-30)))
    return bits.reshape(len(vectors), (vectors.shape[1] + 7) // 8), scale if scale > 0 else 1.0

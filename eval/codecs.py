"""Ways to keep patch vectors that the compression curve compares.

Each takes a page's vectors and gives back what a search would see of them, and the bytes a page
takes. What is compared are the vectors that an index holds: they are the reference, so a codec
finer than the index's own shows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from retrieval.compression import dequantise, quantise
from retrieval.types import FloatArray


@dataclass(frozen=True, slots=True)
class Codec:
    """``apply`` maps a page's vectors ``[n, d] float32`` to those that remain ``[m, d]``, m <= n,
    and the bytes they take. ``merged`` is how many neighbouring patches became one."""

    name: str
    apply: Callable[[FloatArray], tuple[FloatArray, int]]
    merged: int = 1


def _float16(vectors: FloatArray) -> tuple[FloatArray, int]:
    return vectors.astype(np.float16).astype(np.float32), 2 * vectors.size


def _int8(vectors: FloatArray) -> tuple[FloatArray, int]:
    codes, scale = quantise(vectors)
    return dequantise(codes, scale), codes.nbytes + 4


def _few_bits(bits: int) -> Callable[[FloatArray], tuple[FloatArray, int]]:
    """Uniform codes of ``bits`` bits, one scale a vector."""
    steps = 2 ** (bits - 1) - 1

    def apply(vectors: FloatArray) -> tuple[FloatArray, int]:
        if not len(vectors):
            return vectors, 0
        peak = np.abs(vectors).max(axis=1, keepdims=True) / steps
        scale = np.where(peak > 0, peak, 1).astype(np.float16).astype(np.float32)
        kept = np.clip(np.rint(vectors / scale), -steps, steps) * scale
        return kept.astype(np.float32), len(vectors) * (vectors.shape[1] * bits // 8 + 2)

    return apply


def _binary(vectors: FloatArray) -> tuple[FloatArray, int]:
    signs = np.where(vectors >= 0, 1, -1).astype(np.float32)
    return signs / np.float32(np.sqrt(vectors.shape[1])), vectors.size // 8


def _merged(factor: int) -> Callable[[FloatArray], tuple[FloatArray, int]]:
    """Means of ``factor`` neighbouring patches in reading order, unit norm, as int8."""

    def apply(vectors: FloatArray) -> tuple[FloatArray, int]:
        if not len(vectors):
            return vectors, 0
        sums = np.add.reduceat(vectors, np.arange(0, len(vectors), factor))
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return _int8((sums / np.where(norms > 0, norms, 1)).astype(np.float32))

    return apply


def codecs() -> Mapping[str, Codec]:
    """Every way that is compared, by name, from the most bytes to the fewest."""
    every = (
        Codec("float16", _float16),
        Codec("int8", _int8),
        Codec("int4", _few_bits(4)),
        Codec("int2", _few_bits(2)),
        Codec("binary", _binary),
        Codec("int8, 2 merged", _merged(2), 2),
        Codec("int8, 3 merged", _merged(3), 3),
        Codec("int8, 4 merged", _merged(4), 4),
    )
    return {codec.name: codec for codec in every}

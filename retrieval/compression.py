"""Patch vectors as int8 codes with one scale a page.

A quarter of float32's bytes on disk and in memory traffic. Rounding is the only loss: every
component is off by at most half a step, the step being the page's largest component / 127.
Measured on real questions, ranking by codes and ranking by floats could not be told apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

LARGEST_CODE = 127


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

"""Late-interaction scoring: how well does every page answer each word of the query.

The score of a page is ``sum_q weight_q * max_patch <query_q, patch>``. Pages are ragged
segments of one array. Padding them to one length would be wrong as well as slow: a padding
row has similarity 0, which beats the true maximum of a page whose similarities are negative.

One call uses one thread: several queries at once share the cores better than one query
spread over them. With the compiled kernel (``retrieval._maxsim``) int8 codes are scored at
several times numpy's speed; without it numpy does the same work.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.types import FloatArray

try:
    _maxsim: Any = import_module("retrieval._maxsim")
except ImportError:  # built without a C compiler, or a processor without AVX2
    _maxsim = None

Codes = NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.float16] | NDArray[np.float32]
Starts = NDArray[np.int64]

# Rows converted to float32 at a time: 4,096 x 128 floats stay within the second-level cache.
BLOCK_ROWS = 4096
# 2**31 - 1 over the largest |code|: the compiled kernel adds up in 32 bits.
_INT32_BUDGET = (2**31 - 1) // 128


def has_kernel() -> bool:
    """Whether int8 codes are scored by the compiled kernel."""
    return _maxsim is not None


def maxsim(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    scales: ArrayLike = 1.0,
) -> FloatArray:
    """Score k pages against one query.

    Parameters
    ----------
    query
        ``[q, d] float32``, one row a query token.
    weights
        ``[q] float32``, non-negative share of each token in the sum.
    codes
        ``[N, d]`` int8, float16 or float32: the patches of all pages, one page after another.
        (uint8 is read as its value, 0 to 255; FAISS's scalar codes come like this.)
    starts
        ``[k + 1] int64``: page i is ``codes[starts[i]:starts[i + 1]]``.
    scales
        ``[k] float32`` or one number: what a page's codes are multiplied by.

    Returns
    -------
    ``[k] float32``; ``-inf`` for a page without patches.

    >>> q = np.eye(2, dtype=np.float32)
    >>> pages = np.array([[1, 0], [0, 1], [-1, -1]], np.float32)
    >>> maxsim(q, np.ones(2, np.float32), pages, np.array([0, 2, 3, 3])).tolist()
    [2.0, -2.0, -inf]
    """
    query = np.ascontiguousarray(query, np.float32)
    weights = np.ascontiguousarray(weights, np.float32)
    starts = np.ascontiguousarray(starts, np.int64)
    _check(query, weights, codes, starts)
    pages = len(starts) - 1
    page_scales = np.broadcast_to(np.asarray(scales, np.float32), (pages,))
    if not pages or not len(query):
        scores = np.zeros(pages, np.float32)
    elif _maxsim is not None and codes.dtype in (np.int8, np.uint8):
        scores = _maxsim_compiled(query, weights, codes, starts) * page_scales
    else:
        scores = _maxsim_numpy(query, weights, codes, starts) * page_scales
    scores[starts[1:] == starts[:-1]] = -np.inf
    return scores


def similarities(query: FloatArray, codes: Codes, scale: float = 1.0) -> FloatArray:
    """Similarity of every query token to every patch of *one* page, ``[q, n] float32``.

    What regions and heatmaps are made of. ``query`` is ``[q, d]``, ``codes`` ``[n, d]``.
    """
    query = np.asarray(query, np.float32)
    product: FloatArray = query @ codes.astype(np.float32, copy=False).T
    return product * np.float32(scale)


def _check(query: FloatArray, weights: FloatArray, codes: Codes, starts: Starts) -> None:
    """Refuse arrays that do not fit: the compiled kernel trusts them with memory."""
    if query.ndim != 2 or codes.ndim != 2 or query.shape[1] != codes.shape[1]:
        raise ValueError(
            f"query {query.shape} and codes {codes.shape} must be [q, d] and [N, d] of one d"
        )
    if weights.shape != (len(query),):
        raise ValueError(f"weights {weights.shape} must be [{len(query)}], one a query row")
    if starts.ndim != 1 or not len(starts) or starts[0] < 0 or starts[-1] > len(codes):
        raise ValueError(f"starts must be [k + 1] offsets within the {len(codes)} rows of codes")
    if np.any(starts[1:] < starts[:-1]):
        raise ValueError("starts must not decrease")


def _maxsim_compiled(
    query: FloatArray, weights: FloatArray, codes: Codes, starts: Starts
) -> FloatArray:
    """Exact integer sums over the codes; the query is rounded to at most 15 bits a component."""
    peaks = np.abs(query).max(axis=1, initial=0.0)
    limit = min(32767, _INT32_BUDGET // (2 * max(1, (query.shape[1] + 1) // 2)))
    steps = np.where(peaks > 0, peaks / limit, 1.0).astype(np.float32)
    rounded = np.rint(query / steps[:, None]).astype(np.int16)
    scores = np.empty(len(starts) - 1, np.float32)
    _maxsim.maxsim(
        rounded,
        weights * steps,
        np.ascontiguousarray(codes),
        codes.dtype == np.int8,
        starts,
        scores,
    )
    return scores


def _maxsim_numpy(
    query: FloatArray, weights: FloatArray, codes: Codes, starts: Starts
) -> FloatArray:
    scores = np.zeros(len(starts) - 1, np.float32)
    filled = np.flatnonzero(starts[1:] > starts[:-1])
    # reduceat takes an empty segment for a segment of one row, so empty pages stay out.
    first, last = starts[filled], starts[filled + 1]
    begin = 0
    while begin < len(filled):
        end = int(np.searchsorted(last, first[begin] + BLOCK_ROWS, side="right"))
        end = max(end, begin + 1)
        base = first[begin]
        block = codes[base : last[end - 1]].astype(np.float32, copy=False)
        best = np.maximum.reduceat(query @ block.T, first[begin:end] - base, axis=1)
        scores[filled[begin:end]] = weights @ best
        begin = end
    return scores

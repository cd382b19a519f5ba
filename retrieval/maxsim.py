"""Late-interaction scoring: how well does every page answer each word of the query.

The score of a page is ``sum_q weight_q * max_patch <query_q, patch>``. Pages are ragged
segments of one array. Padding them to one length would be wrong as well as slow: a padding
row has similarity 0, which beats the true maximum of a page whose similarities are negative.

One call uses one thread: several queries at once share the cores better than one query
spread over them. The compiled kernel (``retrieval._maxsim``) reads stored codes as they are
and makes no matrix of similarities; it has a *level* for each generation of processors.
Without it (no C compiler at installation) numpy does the same work.

Bytes and bits are compared with a query rounded to 8 bits (7 at level ``avx2``), and what was
chosen so, a token's best patch, is scored again exactly. So a score is never above the
exact one. It is below by at most ``sum_q weight_q * 2 * |error_q| * |patch|``, ``error_q``
being token q's rounding, and only if another patch came closer than that.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.types import FloatArray

try:
    _maxsim: Any = import_module("retrieval._maxsim")
except ImportError:  # built without a C compiler
    _maxsim = None

# Eight signs a byte, the first in the lowest bit: binary codes are ``[N, ceil(d / 8)]`` of this.
PACKED: np.dtype[np.void] = np.dtype([("bits", np.uint8)])
# Bytes with a scale a patch: ``[N, d + 2]`` of this, d signed codes, then what they are multiplied
# by, 65,536ths in two bytes, the lower first. Codes times fraction are exact in float32.
SCALED: np.dtype[np.void] = np.dtype([("scaled", np.int8)])
FRACTION = 65536
_FRACTION_BYTES = 2
Codes = NDArray[Any]
Starts = NDArray[np.int64]

# Rows converted to float32 at a time: 4,096 x 128 floats stay within the second-level cache.
BLOCK_ROWS = 4096
# The kernel's numbers for what it can read.
_KINDS = {
    np.dtype(np.int8): 0,
    np.dtype(np.uint8): 1,
    np.dtype(np.float16): 2,
    np.dtype(np.float32): 3,
    PACKED: 4,
    SCALED: 5,
}

if getattr(_maxsim, "KINDS", 0) != len(_KINDS):  # built in place, of an older source
    _maxsim = None


def levels() -> tuple[str, ...]:
    """The kernels that run on this machine, best first; the last is always ``numpy``."""
    return (*(_maxsim.LEVELS if _maxsim is not None else ()), "numpy")


def has_kernel() -> bool:
    """Whether pages are scored by the compiled kernel."""
    return _maxsim is not None


def maxsim(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    scales: ArrayLike = 1.0,
    *,
    level: str | None = None,
) -> FloatArray:
    """Score k pages against one query.

    Parameters
    ----------
    query
        ``[q, d] float32``, one row a query token.
    weights
        ``[q] float32``, non-negative share of each token in the sum.
    codes
        The patches of all pages, one page after another: ``[N, d]`` int8, float16 or float32,
        ``[N, d + 2]`` of ``SCALED`` bytes, each patch with a fraction of the page's scale, or
        ``[N, ceil(d / 8)]`` of ``PACKED`` signs, a bit standing for 1 or -1.
        (uint8 is read as its value, 0 to 255; FAISS's scalar codes come like this.)
    starts
        ``[k + 1] int64``: page i is ``codes[starts[i]:starts[i + 1]]``.
    scales
        ``[k] float32`` or one number: what a page's codes are multiplied by.
    level
        One of ``levels()``; the best by default.

    Returns
    -------
    ``[k] float32``; ``-inf`` for a page without patches.

    >>> q = np.eye(2, dtype=np.float32)
    >>> pages = np.array([[1, 0], [0, 1], [-1, -1]], np.float32)
    >>> maxsim(q, np.ones(2, np.float32), pages, np.array([0, 2, 3, 3])).tolist()
    [2.0, -2.0, -inf]
    """
    return windowed(query, weights, codes, starts, scales, 0, 1, level=level)


def windowed(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    scales: ArrayLike,
    stride: int,
    width: int,
    *,
    level: str | None = None,
) -> FloatArray:
    """The best run of ``width`` blocks of ``stride`` patches of each page, ``[k] float32``.

    ``stride`` 0 takes a page for one block. ``retrieval.passages`` says what this is for;
    everything else is as for ``maxsim``.
    """
    query = np.ascontiguousarray(query, np.float32)
    weights = np.ascontiguousarray(weights, np.float32)
    starts = np.ascontiguousarray(starts, np.int64)
    _check(query, weights, codes, starts)
    if level is None:
        level = levels()[0]
    elif level not in levels():
        raise ValueError(f"level {level!r} is not one of {', '.join(levels())}")
    scores = np.zeros(len(starts) - 1, np.float32)
    if not len(scores) or not len(query):
        pass
    elif level != "numpy" and codes.dtype in _KINDS:
        flat = np.ascontiguousarray(codes)
        kind = _KINDS[codes.dtype]
        flat = flat.view(np.uint8) if codes.dtype in (PACKED, SCALED) else flat
        _maxsim.score(level, query, weights, flat, kind, starts, stride, width, scores)
    else:
        _score_numpy(query, weights, codes, starts, stride, width, scores)
    scores *= np.asarray(scales, np.float32)
    scores[starts[1:] == starts[:-1]] = -np.inf
    return scores


def as_floats(codes: Codes, dim: int) -> FloatArray:
    """The numbers ``[n, dim] float32`` that codes stand for, before their page's scale."""
    if codes.dtype == SCALED:
        numbers, fractions = split_scaled(codes)
        return numbers * fractions[:, None]
    if codes.dtype != PACKED:
        return codes.astype(np.float32, copy=False)
    bits = np.ascontiguousarray(codes).view(np.uint8).reshape(codes.shape)
    signs = np.unpackbits(bits, axis=1, count=dim, bitorder="little").astype(np.float32)
    signs += signs
    signs -= 1
    return signs


def code_width(dtype: np.dtype[Any], dim: int) -> int:
    """Codes that a patch of ``dim`` components takes."""
    if dtype == SCALED:
        return dim + _FRACTION_BYTES
    return (dim + 7) // 8 if dtype == PACKED else dim


def split_scaled(codes: Codes) -> tuple[NDArray[np.int8], FloatArray]:
    """The codes ``[n, d] int8`` and fractions ``[n] float32`` of ``SCALED`` patches."""
    flat = np.ascontiguousarray(codes).view(np.uint8).reshape(codes.shape)
    dim = codes.shape[1] - _FRACTION_BYTES
    steps = np.ascontiguousarray(flat[:, dim:]).view("<u2").reshape(len(flat))
    return flat[:, :dim].view(np.int8), steps.astype(np.float32) / np.float32(FRACTION)


def join_scaled(numbers: NDArray[np.int8], steps: NDArray[np.uint16]) -> NDArray[Any]:
    """``SCALED`` patches of codes ``[n, d]`` and fractions ``[n]`` in steps of 1 / 65,536."""
    behind = np.ascontiguousarray(steps, "<u2").view(np.int8).reshape(len(numbers), _FRACTION_BYTES)
    joined = np.concatenate((numbers, behind), axis=1)
    return joined.view(SCALED).reshape(joined.shape)


def similarities(query: FloatArray, codes: Codes, scale: float = 1.0) -> FloatArray:
    """Similarity of every query token to every patch of *one* page, ``[q, n] float32``.

    What regions and heatmaps are made of. ``query`` is ``[q, d]``, ``codes`` as in ``maxsim``.
    """
    query = np.asarray(query, np.float32)
    product: FloatArray = query @ as_floats(codes, query.shape[1]).T
    return product * np.float32(scale)


def _check(query: FloatArray, weights: FloatArray, codes: Codes, starts: Starts) -> None:
    """Refuse arrays that do not fit: the compiled kernel trusts them with memory."""
    width = code_width(codes.dtype, query.shape[-1])
    if query.ndim != 2 or codes.ndim != 2 or codes.shape[1] != width:
        raise ValueError(
            f"query {query.shape} and codes {codes.shape} must be [q, d] and [N, d] of one d"
        )
    if weights.shape != (len(query),):
        raise ValueError(f"weights {weights.shape} must be [{len(query)}], one a query row")
    if starts.ndim != 1 or not len(starts) or starts[0] < 0 or starts[-1] > len(codes):
        raise ValueError(f"starts must be [k + 1] offsets within the {len(codes)} rows of codes")
    if np.any(starts[1:] < starts[:-1]):
        raise ValueError("starts must not decrease")


def _score_numpy(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    stride: int,
    width: int,
    scores: FloatArray,
) -> None:
    """Write the scores of the pages that are not empty, a block of adjoining pages at a time."""
    filled = np.flatnonzero(starts[1:] > starts[:-1])
    # reduceat takes an empty segment for a segment of one row, so empty pages stay out.
    first, last = starts[filled], starts[filled + 1]
    begin = 0
    while begin < len(filled):
        end = int(np.searchsorted(last, first[begin] + BLOCK_ROWS, side="right"))
        end = max(end, begin + 1)
        base = first[begin]
        rows = as_floats(codes[base : last[end - 1]], query.shape[1])
        here = slice(begin, end)
        blocks = -(-(last[here] - first[here]) // stride) if stride else np.ones(end - begin, int)
        block_of_page = np.cumsum(blocks) - blocks
        page = np.repeat(np.arange(end - begin), blocks)
        block_start = first[here][page] - base
        block_start += (np.arange(len(page)) - block_of_page[page]) * stride
        best = np.maximum.reduceat(query @ rows.T, block_start, axis=1)
        windows = best.copy()
        for shift in range(1, width):
            same = page[shift:] == page[:-shift]
            following = np.where(same, best[:, shift:], -np.inf)
            np.maximum(windows[:, :-shift], following, out=windows[:, :-shift])
        scores[filled[here]] = np.maximum.reduceat(weights @ windows, block_of_page)
        begin = end

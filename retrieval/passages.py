"""Late interaction with the best passage of a page, rather than with the page as a whole.

A long page holds some match for every word of a question, each in another corner; MaxSim over
the whole page cannot tell that from a paragraph about the question. Taking each token's
best match within one window of neighbouring patches, and the best window of the page, can.
On real questions this ranks above whole-page MaxSim (docs/BENCHMARKS.md). A page no longer
than one window scores the same either way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.maxsim import Codes, Starts, maxsim
from retrieval.types import FloatArray

# Rows scored at a time: 8,192 rows x 128 floats are 4 MB, about a core's share of the cache.
_BLOCK_ROWS = 8192


def best_passage(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    scales: FloatArray,
    *,
    window: int = 128,
    stride: int = 32,
) -> FloatArray:
    """Score k pages by their best window of patches, ``[k] float32``.

    The score is ``max_windows sum_q weight_q * max_{patch in window} <query_q, patch>``.

    Parameters
    ----------
    query, weights, codes, starts, scales
        As for ``retrieval.maxsim.maxsim``; a page's patches are in reading order.
    window, stride
        Patches a window holds (a multiple of ``stride``), and how far apart windows begin.
        ``window`` 0 means the whole page: plain MaxSim.

    Returns
    -------
    ``[k] float32``; ``-inf`` for a page without patches.
    """
    if not window:
        return maxsim(query, weights, codes, starts, scales)
    if window % stride:
        raise ValueError(f"window {window} must be a multiple of stride {stride}")
    scores = np.full(len(starts) - 1, -np.inf, np.float32)
    if not len(query):
        scores[starts[1:] > starts[:-1]] = 0.0
        return scores
    filled = np.flatnonzero(starts[1:] > starts[:-1])
    last = starts[filled + 1]
    begin = 0
    while begin < len(filled):
        base = starts[filled[begin]]
        end = max(int(np.searchsorted(last, base + _BLOCK_ROWS, side="right")), begin + 1)
        pages = filled[begin:end]
        scores[pages] = _score(
            query, weights, codes, starts[pages], starts[pages + 1], window // stride, stride
        )
        begin = end
    scores[filled] *= np.broadcast_to(np.asarray(scales, np.float32), scores.shape)[filled]
    return scores


def _score(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    width: int,
    stride: int,
) -> FloatArray:
    """Scores of a run of adjoining, non-empty pages."""
    base = first[0]
    rows = codes[base : last[-1]].astype(np.float32, copy=False)
    blocks = -(-(last - first) // stride)
    block_of_page = np.cumsum(blocks) - blocks
    page = np.repeat(np.arange(len(first)), blocks)
    block_start = first[page] - base + (np.arange(len(page)) - block_of_page[page]) * stride
    best = np.maximum.reduceat(query @ rows.T, block_start, axis=1)
    windows = best.copy()
    for shift in range(1, width):
        same = page[shift:] == page[:-shift]
        following = np.where(same, best[:, shift:], -np.inf)
        np.maximum(windows[:, :-shift], following, out=windows[:, :-shift])
    per_page: FloatArray = np.maximum.reduceat(weights @ windows, block_of_page)
    return per_page

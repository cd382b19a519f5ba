"""Late interaction with the best passage of a page, rather than with the page as a whole.

A long page holds some match for every word of a question, each in another corner; MaxSim over
the whole page cannot tell that from a paragraph about the question. Taking each token's
best match within one window of neighbouring patches, and the best window of the page, can.
On real questions this ranks above whole-page MaxSim (docs/BENCHMARKS.md). A page no longer
than one window scores the same either way.
"""

from __future__ import annotations

from retrieval.maxsim import Codes, Starts, maxsim, windowed
from retrieval.types import FloatArray


def best_passage(
    query: FloatArray,
    weights: FloatArray,
    codes: Codes,
    starts: Starts,
    scales: FloatArray,
    *,
    window: int = 128,
    stride: int = 32,
    level: str | None = None,
) -> FloatArray:
    """Score k pages by their best window of patches, ``[k] float32``.

    The score is ``max_windows sum_q weight_q * max_{patch in window} <query_q, patch>``.

    Parameters
    ----------
    query, weights, codes, starts, scales, level
        As for ``retrieval.maxsim.maxsim``; a page's patches are in reading order.
    window, stride
        Patches a window holds (a multiple of ``stride``), and how far apart windows begin.
        ``window`` 0 means the whole page: plain MaxSim.

    Returns
    -------
    ``[k] float32``; ``-inf`` for a page without patches.
    """
    if not window:
        return maxsim(query, weights, codes, starts, scales, level=level)
    if window % stride:
        raise ValueError(f"window {window} must be a multiple of stride {stride}")
    return windowed(query, weights, codes, starts, scales, stride, window // stride, level=level)

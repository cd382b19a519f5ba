"""One page's patches as a few page-level vectors for the coarse stage.

One mean vector blurs a page about many things; a few vectors, scored by MaxSim like the
patches themselves, keep most of the ranking at a fraction of the size.
"""

from __future__ import annotations

import re
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import FloatArray

PoolMethod = Literal["mean", "kmeans", "strips", "rows", "cols", "grid"]
METHODS: tuple[str, ...] = get_args(PoolMethod)
MOST_VECTORS = 64
_NAME = re.compile(r"([a-z]+?)(\d*)")
_ITERATIONS = 5


def pool_page(
    vectors: FloatArray, boxes: FloatArray, k: int, method: PoolMethod = "kmeans"
) -> FloatArray:
    """At most k unit vectors ``[<=k, d] float32`` that stand for a page.

    Parameters
    ----------
    vectors
        ``[n, d] float32`` unit rows, in reading order.
    boxes
        ``[n, 4] float32`` page fractions; ``kmeans`` does not look at them.
    k
        How many vectors at most; ``mean`` gives one whatever k is.
    method
        ``mean``: one vector. ``rows`` (also called ``strips``), ``cols``: bands of the page with
        as many patches each. ``grid``: rows, each cut into columns. ``kmeans``: spherical
        k-means, started from runs of the reading order, so the same page always gives the same
        vectors.

    A page without patches gives no vectors.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    vectors = np.ascontiguousarray(vectors, np.float32)
    n = len(vectors)
    if method == "mean":
        return _means(vectors, np.zeros(n, np.intp), 1)
    if n <= k:
        return _means(vectors, np.arange(n), n)
    runs = np.arange(n) * k // n
    if method == "kmeans":
        return _spherical_kmeans(vectors, runs, k)
    if method in ("strips", "rows"):
        return _means(vectors, _bands(boxes[:, 1] + boxes[:, 3], k), k)
    if method == "cols":
        return _means(vectors, _bands(boxes[:, 0] + boxes[:, 2], k), k)
    if method == "grid":
        return _means(vectors, _cells(boxes, k), k)
    raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")


def parse_page_vectors(name: str) -> tuple[PoolMethod, int]:
    """The method and number of vectors that "kmeans16", "rows8" or "mean" names.

    Raises ``InputError`` for anything else.
    """
    match = _NAME.fullmatch(name)
    method, count = match.groups() if match else ("", "")
    k = int(count) if count else 1
    if method not in METHODS or (method == "mean") != (not count) or not 1 <= k <= MOST_VECTORS:
        others = ", ".join(known for known in METHODS if known != "mean")
        raise InputError(
            f"unknown page vectors '{name}'; write mean, or one of {others} with 1 to "
            f"{MOST_VECTORS}, as in kmeans16"
        )
    return cast(PoolMethod, method), k


def _bands(at: FloatArray, k: int) -> NDArray[np.intp]:
    """Which of k bands each patch is in, by where it is ``at [n]``; the same number in each."""
    n = len(at)
    bands = np.empty(n, np.intp)
    bands[np.argsort(at, kind="stable")] = np.arange(n) * k // n
    return bands


def _cells(boxes: FloatArray, k: int) -> NDArray[np.intp]:
    """Which of k cells each patch is in: rows with as many patches each, cut into columns.

    Where k is no product of two near numbers, the upper rows have a column more.
    """
    rows = max(1, round(k**0.5))
    columns = np.diff(np.arange(rows + 1) * k // rows)[::-1]
    # Rows hold patches in proportion to their cells.
    row = np.repeat(np.arange(rows), columns)[_bands(boxes[:, 1] + boxes[:, 3], k)]
    first = np.concatenate(([0], np.cumsum(columns)))
    cells = np.empty(len(boxes), np.intp)
    for i, count in enumerate(columns.tolist()):
        here = np.flatnonzero(row == i)
        cells[here] = first[i] + _bands(boxes[here, 0] + boxes[here, 2], count)
    return cells


def _means(vectors: FloatArray, labels: NDArray[np.intp], k: int) -> FloatArray:
    """Unit means of the groups; a group that is empty or cancels out has no direction."""
    member = (labels == np.arange(k)[:, None]).astype(np.float32)
    sums: FloatArray = member @ vectors
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    kept = norms[:, 0] > 1e-6
    unit: FloatArray = sums[kept] / norms[kept]
    return unit


def _spherical_kmeans(vectors: FloatArray, labels: NDArray[np.intp], k: int) -> FloatArray:
    centres = _means(vectors, labels, k)
    for _ in range(_ITERATIONS):
        moved = np.argmax(vectors @ centres.T, axis=1)
        if np.array_equal(moved, labels):
            break
        labels = moved
        centres = _means(vectors, labels, len(centres))
    return centres

"""One page's patches as a few page-level vectors for the coarse stage.

One mean vector blurs a page about many things; a few vectors, scored by MaxSim like the
patches themselves, keep most of the ranking at a fraction of the size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

PoolMethod = Literal["mean", "kmeans", "strips"]
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
        ``[n, 4] float32`` page fractions; only ``strips`` looks at them.
    k
        How many vectors at most; ``mean`` gives one whatever k is.
    method
        ``mean``: one vector. ``strips``: horizontal bands of the page with as many patches
        each. ``kmeans``: spherical k-means, started from runs of the reading order, so the
        same page always gives the same vectors.

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
    if method == "strips":
        order = np.argsort(boxes[:, 1] + boxes[:, 3], kind="stable")
        bands = np.empty(n, np.intp)
        bands[order] = runs
        return _means(vectors, bands, k)
    raise ValueError(f"method must be mean, kmeans or strips, not {method!r}")


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

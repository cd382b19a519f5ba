"""Fewer patch vectors a page: those that say nearly the same are averaged.

Hierarchical clustering by Ward's criterion, cut where a factor of the vectors is left, and each
cluster's mean as its vector: the token pooling of Clavié et al. (2024) for ColBERT, which
ColPali adopted. Three vectors in one keep nearly all of the ranking of a page read as a picture,
where most patches are background.

Text is pooled within runs of neighbouring words, so that a vector still belongs to one passage
(``retrieval.passages`` looks for a page's best). Pictures are pooled over the page.

>>> pooled, member_of = pool_tokens(np.eye(2, dtype=np.float32)[[0, 1, 0, 0]], 2, 0)
>>> member_of.tolist()
[0, 1, 0, 0]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

# What text is pooled within: as far as the windows of ``retrieval.passages`` are apart.
TEXT_RUN = 32


def pool_tokens(vectors: FloatArray, factor: int, run: int) -> tuple[FloatArray, NDArray[np.int32]]:
    """About a ``factor``-th of ``vectors [n, d]``, unit rows, and which of them each became.

    ``run`` is how many neighbouring vectors are pooled at a time, 0 for all of them; each run
    leaves ``ceil(len / factor)``. Clusters are in the order of their first members, runs in
    theirs. Returns ``[m, d] float32`` and ``[n] int32``.
    """
    return pool_by(vectors, (factor,), run)[factor]


def pool_by(
    vectors: FloatArray, factors: Sequence[int], run: int
) -> dict[int, tuple[FloatArray, NDArray[np.int32]]]:
    """``pool_tokens`` by several factors for little more than one: they cut one tree."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    n = len(vectors)
    member_of = {factor: np.zeros(n, np.int32) for factor in factors}
    left = dict.fromkeys(factors, 0)
    for begin in range(0, n, run or max(n, 1)):
        part = vectors[begin : begin + (run or n)]
        tree = _tree(part)
        for factor in factors:
            labels = _cut(tree, len(part), -(-len(part) // factor))
            member_of[factor][begin : begin + len(part)] = labels + left[factor]
            left[factor] += int(labels.max()) + 1
    return {factor: (_means(vectors, m, left[factor]), m) for factor, m in member_of.items()}


def _means(vectors: FloatArray, member_of: NDArray[np.int32], m: int) -> FloatArray:
    sums = np.zeros((m, vectors.shape[1]), np.float32)
    np.add.at(sums, member_of, vectors)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    # Opposite vectors cancel out; what they had in common is nothing.
    unit: FloatArray = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 1e-6)
    return unit


def ward(vectors: FloatArray, clusters: int) -> NDArray[np.int32]:
    """Labels ``[n] int32`` of at most ``clusters`` clusters, numbered by their first members."""
    return _cut(_tree(vectors), len(vectors), clusters)


_Merge = tuple[float, int, int]


def _cut(tree: Sequence[_Merge], n: int, clusters: int) -> NDArray[np.int32]:
    """The labels that are left when only the cheapest merges are done."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for _, a, b in tree[: max(0, n - clusters)]:
        parent[root(a)] = root(b)
    roots = np.array([root(i) for i in range(n)])
    _, first, label = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[label].astype(np.int32)


def _tree(vectors: FloatArray) -> list[_Merge]:
    """The n - 1 merges, cheapest first: cost, and a vector of each of the two sides.

    Chains of nearest neighbours (Murtagh 1983) end in pairs that any order of merging would
    join, so that the tree is found in O(n^2) rather than O(n^3).
    """
    vectors = np.asarray(vectors, np.float64)
    n = len(vectors)
    squares = (vectors**2).sum(axis=1)
    # In place: a page in twelve tiles has 13,000 vectors, and each copy of this 1.4 GB.
    cost = vectors @ vectors.T
    cost *= -2
    # Of both squares at once: added one after the other they would round differently on the two
    # sides of the diagonal, and a chain through equal costs might never end.
    for row, square in zip(cost, squares, strict=True):
        row += squares + square
    np.fill_diagonal(cost, np.inf)
    size = np.ones(n)
    alive = np.ones(n, bool)
    merges: list[_Merge] = []
    chain: list[int] = []
    while len(merges) < n - 1:
        if not chain:
            chain.append(int(alive.argmax()))
        a = chain[-1]
        b = int(cost[a].argmin())
        # Equal costs: going back ends the chain, going on might never.
        if len(chain) < 2 or cost[a, chain[-2]] > cost[a, b]:
            chain.append(b)
            continue
        b = chain[-2]
        del chain[-2:]
        height = float(cost[a, b])
        merges.append((height, a, b))
        # Lance and Williams: what the union costs against every other cluster.
        joint = (size[a] + size) * cost[a] + (size[b] + size) * cost[b] - size * height
        joint /= size[a] + size[b] + size
        size[b] += size[a]
        alive[a] = False
        joint[~alive] = np.inf
        joint[b] = np.inf
        cost[b] = cost[:, b] = joint
        cost[a] = cost[:, a] = np.inf
    return sorted(merges, key=lambda merge: merge[0])

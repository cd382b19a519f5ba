"""Pooling of patch vectors: the clusters are Ward's, places and order are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.token_pooling import pool_tokens, ward
from retrieval.types import FloatArray


def unit(seed: int, n: int, d: int) -> FloatArray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 60))
def test_clusters_are_those_of_scipy(seed: int, n: int, clusters: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    vectors = unit(seed, n, 8)
    ours = ward(vectors, clusters)
    tree = hierarchy.linkage(vectors.astype(np.float64), "ward")
    theirs = hierarchy.fcluster(tree, clusters, "maxclust")
    assert len(set(zip(ours.tolist(), theirs.tolist(), strict=True))) == len(set(ours.tolist()))
    assert len(set(ours.tolist())) == len(set(theirs.tolist())) == min(n, clusters)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(2, 5), st.sampled_from([0, 7, 32])
)
def test_every_vector_has_its_cluster_and_runs_do_not_mix(
    seed: int, n: int, factor: int, run: int
) -> None:
    vectors = unit(seed, n, 6)
    pooled, member_of = pool_tokens(vectors, factor, run)
    lengths = [min(run or n, n - at) for at in range(0, n, run or max(n, 1))]
    assert len(pooled) == sum(-(-length // factor) for length in lengths)
    assert sorted(set(member_of.tolist())) == list(range(len(pooled)))
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-4)
    runs = np.repeat(np.arange(len(lengths)), lengths)
    firsts = [np.flatnonzero(member_of == i) for i in range(len(pooled))]
    assert all(len(set(runs[members])) == 1 for members in firsts)
    assert [int(members[0]) for members in firsts] == sorted(int(m[0]) for m in firsts)
    for i, members in enumerate(firsts):
        mean = vectors[members].sum(axis=0)
        np.testing.assert_allclose(pooled[i] * np.linalg.norm(mean), mean, atol=1e-4)


def test_equal_vectors_become_one_and_opposite_ones_nothing() -> None:
    same = np.repeat(unit(0, 3, 8), 4, axis=0)
    pooled, member_of = pool_tokens(same, 4, 0)
    np.testing.assert_allclose(pooled, unit(0, 3, 8), atol=1e-6)
    assert member_of.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    assert pool_tokens(opposite, 2, 0)[0].tolist() == [[0, 0]]

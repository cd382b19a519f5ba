"""Stage one's nearest vectors elsewhere: exact, in the same order, and only where it helps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import pytest

from retrieval import coarse_gpu
from retrieval.coarse import CoarseIndex
from retrieval.coarse_gpu import NearestOnGpu

DIM = 16


def build(kind: str, pages: int = 300) -> tuple[CoarseIndex, Any]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(pages * 2, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    batch = (np.repeat(np.arange(pages) * 3, 2).astype(np.int64), vectors)
    return CoarseIndex.build([batch], DIM, kind), vectors


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8", "ivf_pq4fs"])
def test_it_finds_no_less_than_the_index_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS's flat index on the processor stands where its GPU twin would."""
    index, vectors = build(kind)
    query, weights = vectors[[5, 77, 210]] + 0.05, np.ones(3, np.float32)
    _, scores = index.candidates(query, weights, 10)
    every, exact = index.candidates(query, weights, 300)
    monkeypatch.setattr(coarse_gpu, "_gpu_flat", lambda: faiss.IndexFlatIP)
    assert index.use_gpu()
    after, found = index.candidates(query, weights, 10)
    best = dict(zip(every.tolist(), exact.tolist(), strict=True))
    np.testing.assert_allclose(found, [best[page] for page in after.tolist()], rtol=1e-5)
    assert found.sum() >= scores.sum() - 1e-5
    allowed = np.array([15, 231, 630])
    np.testing.assert_array_equal(np.sort(index.candidates(query, weights, 5, allowed)[0]), allowed)
    # What is added later is found, if not there.
    index.add(np.array([9000]), query[:1])
    assert 9000 in index.candidates(query[:1], weights[:1], 3)[0]


@pytest.mark.parametrize("kind", ["flat", "sq8"])
def test_what_is_scanned_anyway_stays(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse_gpu, "_gpu_flat", lambda: faiss.IndexFlatIP)
    assert not build(kind)[0].use_gpu()


def test_no_gpu_or_a_full_one_leaves_the_index_as_it_is() -> None:
    index, _ = build("ivf_sq8")

    class Full(faiss.IndexFlatIP):  # type: ignore[misc]
        def add(self, x: Any) -> None:
            raise RuntimeError("out of GPU memory")

    assert NearestOnGpu.of(index._inner, "ivf_sq8", Full) is None
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        assert not index.use_gpu()


def test_searches_take_turns() -> None:
    inside: list[int] = []
    most: list[int] = []

    class Watched(faiss.IndexFlatIP):  # type: ignore[misc]
        def search(self, x: Any, k: int) -> Any:
            inside.append(1)
            most.append(len(inside))
            try:
                return super().search(x, k)
            finally:
                inside.pop()

    index, vectors = build("ivf_sq8")
    nearest = NearestOnGpu.of(index._inner, "ivf_sq8", Watched)
    assert nearest is not None
    queries = [np.repeat(vectors[i : i + 1], 200, axis=0) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda query: nearest.search(query, 50), queries))
    assert max(most) == 1

"""Coarse candidates: MaxSim over pooled vectors, filters before the cut, files that survive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.coarse import CoarseIndex, pool_page
from retrieval.coarse_kinds import KINDS, choose
from retrieval.errors import InputError, StorageError
from retrieval.pooling import METHODS, parse_page_vectors


def unit(rng: np.random.Generator, n: int, d: int) -> Any:
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def collection(seed: int, pages: int, d: int = 16) -> tuple[Any, Any]:
    """Page ids in no order, each with 1 to 6 vectors."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(pages * 3)[:pages]
    repeated = np.repeat(ids, rng.integers(1, 7, pages)).astype(np.int64)
    return repeated, unit(rng, len(repeated), d)


def reference(ids: Any, vectors: Any, query: Any, weights: Any, allowed: Any) -> dict[int, float]:
    return {
        int(page): float(weights @ (query @ vectors[ids == page].T).max(axis=1))
        for page in np.unique(ids)
        if allowed is None or page in allowed
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    pages=st.integers(1, 60),
    k=st.integers(1, 80),
    share=st.sampled_from([None, 0.0, 0.05, 0.4, 0.9]),
)
def test_flat_returns_the_best_allowed_pages(
    seed: int, pages: int, k: int, share: float | None
) -> None:
    ids, vectors = collection(seed, pages)
    rng = np.random.default_rng(seed + 1)
    query, weights = unit(rng, 5, 16), rng.uniform(0, 1, 5).astype(np.float32)
    allowed = None
    if share is not None:
        # ids that the index has never seen are part of any real filter
        everything = np.arange(pages * 3 + 5)
        allowed = rng.permutation(everything[rng.random(len(everything)) < share])
    got, scores = CoarseIndex.build([(ids, vectors)], 16, "flat").candidates(
        query, weights, k, allowed
    )
    expected = reference(ids, vectors, query, weights, allowed)
    best = sorted(expected, key=lambda page: (-expected[page], page))[:k]
    assert got.tolist() == best
    np.testing.assert_allclose(scores, [expected[page] for page in best], atol=1e-5)


def test_equal_scores_come_in_the_order_of_their_ids() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (6, 1))
    index = CoarseIndex.build([(np.array([9, 4, 7, 1, 5, 2]), vectors)], 2)
    got, _ = index.candidates(np.eye(2, dtype=np.float32), np.ones(2, np.float32), 3)
    assert got.tolist() == [1, 2, 4]


def test_added_and_removed_pages() -> None:
    ids, vectors = collection(3, 40)
    index = CoarseIndex.build([(ids[:0], vectors[:0])], 16)
    query, weights = vectors[:4], np.ones(4, np.float32)
    assert index.n_pages == 0
    assert len(index.candidates(query, weights, 5)[0]) == 0
    half = int(np.flatnonzero(np.diff(ids))[20]) + 1
    index.add(ids[:half], vectors[:half])
    index.add(ids[half:], vectors[half:])
    assert (index.n_pages, index.n_vectors) == (40, len(ids))
    best = index.candidates(query, weights, 40)[0]
    assert index.remove(best[:3]) == 3
    assert index.remove(best[:3]) == 0
    assert index.candidates(query, weights, 40)[0].tolist() == best[3:].tolist()
    assert index.candidates(query, weights, 40, best[:5])[0].tolist() == best[3:5].tolist()
    again = CoarseIndex.from_bytes(index.to_bytes())
    assert again.candidates(query, weights, 40)[0].tolist() == best[3:].tolist()
    again.add(best[:1], vectors[:1])
    assert again.n_pages == 38


def clustered(seed: int, pages: int, each: int, d: int = 32) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    topics = unit(rng, 200, d)
    vectors = topics[rng.integers(0, 200, pages * each)] + rng.normal(size=(pages * each, d)) * 0.1
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return np.repeat(rng.permutation(pages * 2)[:pages], each).astype(np.int64), vectors


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_the_best_pages_and_honours_filters(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that a small collection goes through the search that large ones need
    monkeypatch.setattr("retrieval.coarse._SCORE_ALL_UP_TO", 0)
    ids, vectors = clustered(7, 800, 4)
    batches = [(ids[i : i + 1000], vectors[i : i + 1000]) for i in range(0, len(ids), 1000)]
    index = CoarseIndex.build(lambda: batches, 32, kind)
    assert (index.kind, index.n_pages, index.n_vectors) == (kind, 800, 3200)
    again = CoarseIndex.from_bytes(index.to_bytes())
    assert again.kind == kind
    rng = np.random.default_rng(8)
    some = np.unique(ids)[::5]
    found = total = 0
    for trial in range(10):
        query = vectors[rng.integers(0, len(vectors), 6)] + rng.normal(size=(6, 32)) * 0.03
        query, weights = query.astype(np.float32), rng.uniform(0.5, 1, 6).astype(np.float32)
        allowed = some if trial % 2 else None
        got, scores = again.candidates(query, weights, 20, allowed)
        assert len(got) == 20 and np.all(np.diff(scores) <= 0)
        if allowed is not None:
            assert np.isin(got, allowed).all()
        expected = reference(ids, vectors, query, weights, None if allowed is None else set(some))
        best = sorted(expected, key=lambda page: -expected[page])[:10]
        found, total = found + len(set(best) & set(got.tolist())), total + 10
        exact = [expected[int(page)] for page in got]
        np.testing.assert_allclose(scores, exact, atol=0.02 * weights.sum())
    assert found / total >= 0.97
    gone = got[:4]
    again.remove(gone)
    assert not np.isin(again.candidates(query, weights, 20)[0], gone).any()
    again.add(np.array([10_000]), query[:1])
    assert 10_000 in again.candidates(query[:1], weights[:1], 20)[0]


def test_auto_goes_from_whole_vectors_to_codes() -> None:
    kinds = [choose(n) for n in (0, 5_000, 100_000, 2_000_000)]
    assert kinds == ["flat", "flat", "sq8", "ivf_pq4fs"]
    batch = clustered(1, 300, 8)
    memory = {kind: CoarseIndex.build([batch], 32, kind).memory_bytes for kind in KINDS}
    assert memory["flat"] > batch[1].nbytes
    assert memory["sq8"] < memory["ivf_sq8"] < memory["flat"]
    assert memory["sq8"] < memory["ivf_pq4fs"] < memory["flat"]


def test_an_unknown_kind_and_a_foreign_index_are_refused() -> None:
    with pytest.raises(ValueError, match="ivf_sq8"):
        CoarseIndex.build([], 4, "annoy")
    import faiss

    foreign = faiss.serialize_index(faiss.IndexLSH(16, 8)).tobytes()
    with pytest.raises(StorageError, match="another program"):
        CoarseIndex.from_bytes(foreign)


def test_a_page_may_not_come_twice() -> None:
    with pytest.raises(ValueError, match="together"):
        CoarseIndex.build([(np.array([1, 2, 1]), np.eye(3, dtype=np.float32))], 3)


def test_a_file_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    ids, vectors = collection(5, 30)
    index = CoarseIndex.build([(ids, vectors)], 16)
    path = tmp_path / "1.faiss"
    index.write(path)
    query, weights = vectors[:3], np.ones(3, np.float32)
    back = CoarseIndex.read(path)
    assert back.kind == index.kind and back.memory_bytes > vectors.nbytes
    for a, b in zip(
        back.candidates(query, weights, 9), index.candidates(query, weights, 9), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match="repair"):
        CoarseIndex.read(path)
    with pytest.raises(StorageError, match="repair"):
        CoarseIndex.read(tmp_path / "absent.faiss")


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 60),
    k=st.integers(1, 20),
    method=st.sampled_from(METHODS),
)
def test_pooled_vectors_are_few_unit_and_repeatable(seed: int, n: int, k: int, method: Any) -> None:
    rng = np.random.default_rng(seed)
    vectors, boxes = unit(rng, n, 8), np.sort(rng.random((n, 4)), axis=1).astype(np.float32)
    pooled = pool_page(vectors, boxes, k, method)
    assert pooled.dtype == np.float32
    assert len(pooled) <= (1 if method == "mean" else k) and (len(pooled) > 0) == (n > 0)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(pooled, pool_page(vectors, boxes, k, method))


def test_kmeans_finds_the_topics_of_a_page() -> None:
    rng = np.random.default_rng(0)
    topics = unit(rng, 4, 32)
    vectors = np.repeat(topics, 50, axis=0) + rng.normal(size=(200, 32)).astype(np.float32) * 0.03
    vectors = rng.permutation(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    pooled = pool_page(vectors, np.zeros((200, 4), np.float32), 8, "kmeans")
    assert (topics @ pooled.T).max(axis=1).min() > 0.98


def test_strips_go_down_the_page() -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(90) / 90
    boxes = np.stack([y * 0, y, y * 0 + 1, y + 0.01], axis=1).astype(np.float32)
    thirds = np.eye(3, dtype=np.float32)[(y * 3).astype(int)]
    np.testing.assert_allclose(pool_page(thirds, boxes, 3, "strips"), np.eye(3), atol=1e-6)


def test_vectors_that_cancel_out_leave_no_direction() -> None:
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    assert pool_page(vectors, np.zeros((2, 4), np.float32), 1, "mean").shape == (0, 2)


def test_columns_and_cells_are_where_they_say() -> None:
    """Nine patches, a 3 x 3 grid in any order, each of a direction of its own."""
    order = np.random.default_rng(2).permutation(9)
    left, top = order % 3 / 3, order // 3 / 3
    boxes = np.stack([left, top, left + 1 / 3, top + 1 / 3], axis=1).astype(np.float32)
    vectors = np.eye(9, dtype=np.float32)[order]
    columns = pool_page(vectors, boxes, 3, "cols")
    expected = np.stack([np.eye(9)[[i, i + 3, i + 6]].sum(axis=0) for i in range(3)]) / 3**0.5
    np.testing.assert_allclose(columns, expected, atol=1e-6)
    twice = np.concatenate((vectors, vectors))
    cells = pool_page(twice, np.concatenate((boxes, boxes)), 9, "grid")
    np.testing.assert_allclose(cells, np.eye(9), atol=1e-6)


@pytest.mark.parametrize("name", ["kmeans16", "rows8", "cols1", "grid64", "strips4"])
def test_page_vectors_by_name(name: str) -> None:
    method, k = parse_page_vectors(name)
    assert f"{method}{k}" == name


@pytest.mark.parametrize(
    "name", ["", "16", "mean4", "kmeans", "kmeans0", "grid65", "fde8", "rows-1"]
)
def test_other_page_vectors_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown page vectors"):
        parse_page_vectors(name)
    assert parse_page_vectors("mean") == ("mean", 1)


def test_scores_are_the_same_beside_pymupdf() -> None:
    rng = np.random.default_rng(2)
    ids, vectors = np.arange(200), rng.normal(size=(200, 16)).astype(np.float32)
    index = CoarseIndex.build([(ids, vectors)], 16, "sq8")
    script = (
        "import sys, faiss, pymupdf, numpy as np\n"
        "from retrieval.coarse import CoarseIndex\n"
        "index = CoarseIndex.from_bytes(sys.stdin.buffer.read())\n"
        "print(index.candidates(np.ones((2, 16), 'f4'), np.ones(2, 'f4'), 5)[0].tolist())\n"
    )
    pytest.importorskip("pymupdf")
    found = subprocess.run(
        [sys.executable, "-c", script], input=index.to_bytes(), capture_output=True, check=True
    )
    ones = np.ones((2, 16), np.float32)
    expected, _ = index.candidates(ones, ones[:, 0], 5)
    assert found.stdout.decode().strip() == str(expected.tolist())

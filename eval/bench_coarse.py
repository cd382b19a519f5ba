"""Which FAISS type serves the coarse stage best at which size: ``folioscope bench coarse``.

Synthetic clustered unit vectors, 16 a page; questions of 20 tokens drawn near the vectors of
one page. One thread. Recall is against the exact ranking by the same pooled vectors: the share
of its ten best, and of its hundred best, among the 100 candidates. "Filtered" allows a tenth
of the pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.coarse import CoarseIndex

DIM, EACH, TOKENS, CANDIDATES = 128, 16, 20, 100
# Building a graph over a million vectors takes most of an hour on one thread.
GRAPH_UP_TO = 100_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    vectors: int
    kind: str
    build_s: float
    megabytes: float
    p50_ms: float
    p99_ms: float
    filtered_ms: float
    recall_10: float
    recall_100: float


def collection(pages: int, seed: int = 0) -> tuple[Any, Any]:
    """Page ids and vectors: a page draws 5 of many topics, its vectors scatter around them."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(max(256, pages // 8), DIM)).astype(np.float32)
    ids = np.repeat(np.arange(pages, dtype=np.int64), EACH)
    vectors = np.empty((pages * EACH, DIM), np.float32)
    for start in range(0, pages, 4096):
        count = min(4096, pages - start)
        of_page = rng.integers(0, len(topics), (count, 5))
        drawn = np.take_along_axis(of_page, rng.integers(0, 5, (count, EACH)), axis=1)
        block = topics[drawn.ravel()] + rng.normal(size=(count * EACH, DIM)).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        vectors[start * EACH : (start + count) * EACH] = block
    return ids, vectors


def questions(vectors: Any, count: int, seed: int = 1) -> Iterator[Any]:
    """``[TOKENS, DIM]`` queries: half of the tokens near a page's vectors, half near anything."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        page = int(rng.integers(0, len(vectors) // EACH))
        own = page * EACH + rng.integers(0, EACH, TOKENS)
        other = rng.integers(0, len(vectors), TOKENS)
        near = np.where(np.arange(TOKENS) % 2 == 0, own, other)
        query = vectors[near] + rng.normal(size=(TOKENS, DIM)).astype(np.float32) * 0.09
        yield query / np.linalg.norm(query, axis=1, keepdims=True)


def measure(ids: Any, vectors: Any, kind: str, reference: list[Any], queries: list[Any]) -> Row:
    """Build one index and ask it every question."""
    weights = np.ones(TOKENS, np.float32)
    batches = [(ids[i : i + 65536], vectors[i : i + 65536]) for i in range(0, len(ids), 65536)]
    began = time.perf_counter()
    index = CoarseIndex.build(batches, DIM, kind, n_vectors=len(ids))
    build_s = time.perf_counter() - began
    index.candidates(queries[0], weights, CANDIDATES)
    tenth = np.unique(ids)[::10]
    took, filtered, ten, hundred = [], [], 0.0, 0.0
    for query, exact in zip(queries, reference, strict=True):
        began = time.perf_counter()
        got, _ = index.candidates(query, weights, CANDIDATES)
        took.append((time.perf_counter() - began) * 1e3)
        ten += np.isin(exact[:10], got).mean()
        hundred += np.isin(exact, got).mean()
    for query in queries[:10]:
        began = time.perf_counter()
        index.candidates(query, weights, CANDIDATES, tenth)
        filtered.append((time.perf_counter() - began) * 1e3)
    return Row(
        vectors=len(ids),
        kind=kind,
        build_s=build_s,
        megabytes=index.memory_bytes / 1e6,
        p50_ms=float(np.median(took)),
        p99_ms=float(np.quantile(took, 0.99)),
        filtered_ms=float(np.median(filtered)),
        recall_10=ten / len(queries),
        recall_100=hundred / len(queries),
    )


def measure_coarse(
    sizes: Sequence[int], kinds: Sequence[str], n_questions: int = 40
) -> Iterator[Row]:
    """One row a size and type, as they are measured."""
    for size in sizes:
        ids, vectors = collection(size // EACH)
        queries = list(questions(vectors, n_questions))
        flat = CoarseIndex.build([(ids, vectors)], DIM, "flat")
        weights = np.ones(TOKENS, np.float32)
        reference = [flat.candidates(query, weights, CANDIDATES)[0] for query in queries]
        del flat
        for kind in kinds:
            if kind != "hnsw" or size <= GRAPH_UP_TO:
                yield measure(ids, vectors, kind, reference, queries)

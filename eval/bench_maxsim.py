"""How fast pages are scored exactly: ``folioscope bench maxsim``.

100 pages of 1,030 patches of 128 dimensions against 20 query tokens, one thread: the shape of
one reranking. Times are given as median / minimum in milliseconds; compare them within a run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from retrieval.compression import quantise
from retrieval.maxsim import levels, maxsim


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and minimum milliseconds of ``work``."""
    work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e3)
    return float(np.median(took)), min(took)


def padded(query: Any, pages: list[Any], scales: Any) -> Any:
    """What batched libraries do: pad all pages to the longest, mask, one large product."""
    longest = max(len(page) for page in pages)
    block = np.zeros((len(pages), longest, query.shape[1]), np.float32)
    for i, page in enumerate(pages):
        block[i, : len(page)] = page
    products = block @ query.T
    for i, page in enumerate(pages):
        products[i, len(page) :] = -np.inf
    return products.max(axis=1).sum(axis=1) * scales


def measure_maxsim(
    pages: int = 100, patches: int = 1030, tokens: int = 20, dim: int = 128, repeats: int = 25
) -> Benchmark:
    """One row a kernel: the largest score error is relative, against float32 vectors."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(patches // 2, patches * 3 // 2, pages)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    vectors = rng.normal(size=(int(starts[-1]), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[:: len(vectors) // tokens][:tokens].copy()
    weights = np.ones(len(query), np.float32)
    quantised = [quantise(vectors[a:b]) for a, b in itertools.pairwise(starts)]
    codes = np.concatenate([page for page, _ in quantised])
    scales = np.array([scale for _, scale in quantised], np.float32)
    parts = [page for page, _ in quantised]

    exact = maxsim(query, weights, vectors, starts, 1.0, level="numpy")
    runs: list[tuple[str, Callable[[], Any]]] = [
        ("padded numpy, int8", lambda: padded(query, parts, scales))
    ]
    stored: dict[str, tuple[Any, Any]] = {
        "float32": (vectors, 1.0),
        "float16": (vectors.astype(np.float16), 1.0),
        "int8": (codes, scales),
    }
    for level in reversed(levels()):
        for name, (held, scale) in stored.items():
            runs.append(
                (
                    f"{level}, {name}",
                    partial(maxsim, query, weights, held, starts, scale, level=level),
                )
            )
    rows = []
    for name, work in runs:
        error = float(np.abs(work() / exact - 1).max())
        median, least = timed(work, repeats)
        rows.append(
            {"kernel": name, "median_ms": median, "minimum_ms": least, "largest_error": error}
        )
    facts = {"pages": pages, "patches": patches, "tokens": tokens, "dim": dim, "threads": 1}
    return Benchmark("maxsim", rows, facts)

"""How fast pages are scored exactly: ``python -m eval.bench_maxsim``.

100 pages of 1,030 patches of 128 dimensions against 20 query tokens, one thread: the shape of
one reranking. Times are given as median / minimum in milliseconds; compare them within a run.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from eval.one_thread import restart_on_one_thread
from retrieval import maxsim as kernels
from retrieval.compression import quantise
from retrieval.maxsim import has_kernel, maxsim


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


def main() -> None:
    """Print one line a kernel."""
    restart_on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--patches", type=int, default=1030)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    lengths = rng.integers(options.patches // 2, options.patches * 3 // 2, options.pages)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    vectors = rng.normal(size=(int(starts[-1]), options.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[:: len(vectors) // options.tokens][: options.tokens].copy()
    weights = np.ones(len(query), np.float32)
    quantised = [quantise(vectors[a:b]) for a, b in itertools.pairwise(starts)]
    codes = np.concatenate([page for page, _ in quantised])
    scales = np.array([scale for _, scale in quantised], np.float32)
    pages = [page for page, _ in quantised]

    exact = maxsim(query, weights, vectors, starts, 1.0)
    compiled = kernels._maxsim
    runs: list[tuple[str, Callable[[], Any], Any]] = [
        ("padded numpy, int8", lambda: padded(query, pages, scales), None),
        ("ragged numpy, float32", lambda: maxsim(query, weights, vectors, starts, 1.0), None),
        ("ragged numpy, int8", lambda: maxsim(query, weights, codes, starts, scales), None),
    ]
    if has_kernel():
        runs.append(
            ("compiled, int8", lambda: maxsim(query, weights, codes, starts, scales), compiled)
        )
    print(
        f"{options.pages} pages of {options.patches} patches, {options.tokens} tokens, "
        f"{options.dim} dimensions, one thread"
    )
    print("| kernel | median ms | minimum ms | largest score error |")
    print("|---|---|---|---|")
    for name, work, kernel in runs:
        kernels._maxsim = kernel
        error = float(np.abs(work() / exact - 1).max())
        median, least = timed(work, options.repeats)
        print(f"| {name} | {median:.1f} | {least:.1f} | {error:.1e} |")
    kernels._maxsim = compiled


if __name__ == "__main__":
    main()

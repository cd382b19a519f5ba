"""How fast pages are scored exactly: ``folioscope bench maxsim``.

100 pages of 1,030 patches of 128 dimensions against 20 query tokens, one thread: the shape of
one reranking. Times are the processor's, of one thread: on a quiet machine they are what a clock
shows, on a busy one they leave out the waiting. Everything takes turns, run after run, so that
what else the machine does falls on all alike. ``--peers`` adds other libraries, in their own
environment.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from retrieval.compression import KINDS, Compression
from retrieval.errors import InputError
from retrieval.maxsim import levels, maxsim

_TOP = 10
Run = Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Kernel:
    """``run`` takes one turn and says its milliseconds; ``scores`` are the pages'."""

    name: str
    run: Run
    scores: Any
    bytes: int


def measure_maxsim(
    pages: int = 100,
    patches: int = 1030,
    tokens: int = 20,
    dim: int = 128,
    repeats: int = 25,
    peers: Path | None = None,
) -> Benchmark:
    """One row a kernel; errors are relative, against float32 vectors."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(patches // 2, patches * 3 // 2, pages)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    vectors = rng.normal(size=(int(starts[-1]), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[:: max(1, len(vectors) // tokens)][:tokens].copy()
    exact = maxsim(query, np.ones(len(query), np.float32), vectors, starts, level="numpy")
    with _peers(peers, query, vectors, starts) as others:
        kernels = [*_ours(query, vectors, starts), *others]
        took: list[list[float]] = [[] for _ in kernels]
        for _ in range(repeats):
            for kernel, times in zip(kernels, took, strict=True):
                times.append(kernel.run())
    medians = [float(np.median(times)) for times in took]
    best = next(m for k, m in zip(kernels, medians, strict=True) if k.name.endswith(", int8"))
    floats = 2 * int(starts[-1]) * len(query) * dim
    rows = [
        {
            "kernel": kernel.name,
            "median_ms": median,
            "minimum_ms": min(times),
            "times_as_long": median / best,
            "gb_s": kernel.bytes / median / 1e6,
            "gflop_s": floats / median / 1e6,
            "largest_error": float(np.abs(kernel.scores / exact - 1).max()),
            "top_10_as_float32": _agreement(exact, kernel.scores),
        }
        for kernel, median, times in zip(kernels, medians, took, strict=True)
    ]
    facts = {
        "pages": pages,
        "patches": patches,
        "tokens": tokens,
        "dim": dim,
        "threads": 1,
        **_peaks(),
        **_together(query, vectors, starts, repeats),
    }
    return Benchmark("maxsim", rows, facts)


def _ours(query: Any, vectors: Any, starts: Any) -> Iterator[_Kernel]:
    weights = np.ones(len(query), np.float32)
    stored = {kind: _stored(kind, vectors, starts) for kind in KINDS}
    for level in levels():
        for kind in ("int8", "fp16", "fp32", "binary"):
            codes, scales = stored[kind]
            work = partial(maxsim, query, weights, codes, starts, scales, level=level)
            yield _Kernel(f"{level}, {kind}", partial(_timed, work), work(), codes.nbytes)


def _stored(kind: str, vectors: Any, starts: Any) -> tuple[Any, Any]:
    kept = [Compression(kind).compress(vectors[a:b]) for a, b in itertools.pairwise(starts)]
    scales = np.array([page.scale for page in kept], np.float32)
    return np.concatenate([page.codes for page in kept]), scales


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def _agreement(exact: Any, scores: Any) -> float:
    """Share of the ten first places that hold the page they hold by float32."""
    return float(np.mean(np.argsort(-exact)[:_TOP] == np.argsort(-scores)[:_TOP]))


@contextmanager
def _peers(python: Path | None, query: Any, vectors: Any, starts: Any) -> Iterator[list[_Kernel]]:
    """The kernels of another environment, while its process runs ``eval/maxsim_peers.py``."""
    if python is None:
        yield []
        return
    script = Path(__file__).with_name("maxsim_peers.py")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        np.savez(arrays, query=query, vectors=vectors, starts=starts)
        one = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            child = subprocess.Popen(
                [python, "-I", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **one},
            )
        except OSError as error:
            raise InputError(f"--peers {python}: {error.strerror}; name a Python") from error
        with child:
            assert child.stdin is not None and child.stdout is not None
            ask, answers = child.stdin, child.stdout

            def run(name: str) -> float:
                ask.write(name + "\n")
                ask.flush()
                return float(answers.readline())

            ask.write(json.dumps({"arrays": str(arrays)}) + "\n")
            ask.flush()
            said = answers.readline()
            if not said.strip() or said.strip() == "{}":
                ask.close()
                raise InputError(
                    f"--peers {python} has neither maxsim-cpu nor colpali-engine; "
                    "install them there (docs/BENCHMARKS.md says how)"
                )
            yield [
                _Kernel(name, partial(run, name), np.array(scores, np.float32), vectors.nbytes)
                for name, scores in json.loads(said).items()
            ]
            ask.close()


def _peaks() -> dict[str, float]:
    """What one core reads from memory and multiplies at most, as numpy reaches it."""
    large = np.zeros(64 << 20, np.int32)
    read = min(_timed(partial(np.add.reduce, large)) for _ in range(5))
    square = np.ones((768, 768), np.float32)
    multiplied = min(_timed(partial(np.matmul, square, square)) for _ in range(5))
    return {
        "peak_read_gb_s": large.nbytes / read / 1e6,
        "peak_float32_gflop_s": 2 * 768**3 / multiplied / 1e6,
    }


def _together(query: Any, vectors: Any, starts: Any, repeats: int) -> dict[str, float]:
    """Reranks a second of int8 by one thread, and by two at once."""
    codes, scales = _stored("int8", vectors, starts)
    weights = np.ones(len(query), np.float32)

    def work(_: int) -> None:
        maxsim(query, weights, codes, starts, scales)

    found = {}
    with ThreadPoolExecutor(2) as pool:
        for threads, spread in ((1, map), (2, pool.map)):
            rates = []
            for _ in range(max(3, repeats // 5)):
                began = time.perf_counter()
                list(spread(work, range(10)))
                rates.append(10 / (time.perf_counter() - began))
            found[f"int8_a_second_{threads}_at_once"] = float(np.median(rates))
    return found

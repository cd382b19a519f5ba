"""Late interaction on a GPU: ``folioscope bench gpu``, everything that needs one in one command.

100 pages of 1,030 patches of 128 against 1 and 32 questions of 20 tokens: streamed from host
memory, and kept on the device; next to colpali-engine, late-interaction-kernels and flash-maxsim
where they are installed, over halves that already lie on the device. Bandwidth is compared with
the largest that a copy on the device reaches.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from retrieval.compression import Compression
from retrieval.errors import InputError
from retrieval.maxsim import windowed
from retrieval.store import RaggedPatches, Store
from retrieval.types import QueryEmbedding

_DIM, _TOKENS, _PATCHES = 128, 20, 1030
_COPIED = 256 << 20


def measure_gpu(
    pages: int = 100,
    index: Path | None = None,
    *,
    repeats: int = 20,
    device: str = "cuda",
    patches: int = _PATCHES,
) -> Benchmark:
    """One row a kernel and number of questions; with ``index``, pages read from disk as well.

    ``device`` other than cuda is for tests. Raises ``InputError`` where there is no GPU.
    """
    if find_spec("torch") is None:
        raise InputError("bench gpu needs torch; run `pip install 'folioscope[gpu]'`")
    torch: Any = import_module("torch")
    from retrieval.maxsim_torch import TorchScorer, cuda_is_there

    if device == "cuda" and not cuda_is_there():
        raise InputError("bench gpu: torch sees no GPU here; run it on a machine that has one")
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    peak = _copy_gb_s(torch, device, wait)
    rng = np.random.default_rng(0)
    lengths = rng.integers(patches // 2, patches * 3 // 2, pages)
    vectors = [_unit(rng, int(n)) for n in lengths]
    ids = np.arange(pages, dtype=np.int64)
    rows: list[dict[str, Any]] = []
    for asked in (1, 32):
        queries = [
            QueryEmbedding(_unit(rng, _TOKENS), ("",) * _TOKENS, np.ones(_TOKENS, np.float32))
            for _ in range(asked)
        ]
        exact = _exact(queries, vectors)
        for kind in ("int8", "fp16", "binary"):
            stored = _stored(kind, vectors)
            for where, keys in (("streamed", None), ("kept on the device", ids)):
                scorer = TorchScorer(device)
                work: Callable[[], Any] = partial(scorer.score_many, queries, stored, keys)
                rows.append(
                    _row(f"{kind}, {where}", asked, work, wait, repeats, exact, stored.codes.nbytes)
                )
        for name, work in _peers(torch, device, queries, vectors):
            size = sum(v.nbytes // 2 for v in vectors)
            with contextlib.suppress(RuntimeError, NotImplementedError):
                rows.append(_row(name, asked, work, wait, repeats, exact, size))
    for row in rows:
        row["share_of_peak"] = row["gb_s"] / peak
    facts = {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "pages": pages,
        "patches": patches,
        "dim": _DIM,
        "tokens": _TOKENS,
        "device_copy_gb_s": peak,
        **(_from_disk(index, pages, device) if index is not None else {}),
    }
    return Benchmark("gpu", rows, facts)


def _unit(rng: np.random.Generator, n: int) -> Any:
    vectors = rng.normal(size=(n, _DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _stored(kind: str, vectors: list[Any]) -> RaggedPatches:
    kept = [Compression(kind).compress(page) for page in vectors]
    return RaggedPatches(
        np.concatenate([page.codes for page in kept]),
        np.cumsum([0, *map(len, vectors)]).astype(np.int64),
        np.array([page.scale for page in kept], np.float32),
    )


def _exact(queries: list[QueryEmbedding], vectors: list[Any]) -> Any:
    rows, starts = np.concatenate(vectors), np.cumsum([0, *map(len, vectors)])
    return np.stack([windowed(q.vectors, q.weights, rows, starts, 1.0, 0, 1) for q in queries])


def _row(
    name: str,
    asked: int,
    work: Callable[[], Any],
    wait: Callable[[], None],
    repeats: int,
    exact: Any,
    size: int,
) -> dict[str, Any]:
    scores = np.asarray(work(), np.float32).reshape(exact.shape)
    took = []
    for _ in range(repeats):
        wait()
        began = time.perf_counter()
        work()
        wait()
        took.append((time.perf_counter() - began) * 1e3)
    best = np.argsort(-exact, axis=1)[:, :10]
    return {
        "kernel": name,
        "questions": asked,
        "median_ms": float(np.median(took)),
        "minimum_ms": min(took),
        "gb_s": size / float(np.median(took)) / 1e6,
        "top_10_as_float32": float(np.mean(np.argsort(-scores, axis=1)[:, :10] == best)),
    }


def _peers(
    torch: Any, device: str, queries: list[QueryEmbedding], vectors: list[Any]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Other libraries' kernels, over halves on the device, answering on the host."""
    half = torch.float16 if device == "cuda" else torch.float32
    pages = [torch.from_numpy(page).to(device, half) for page in vectors]
    asked = [torch.from_numpy(query.vectors).to(device, half) for query in queries]

    def offsets(parts: list[Any]) -> Any:
        ends = np.cumsum([0, *map(len, parts)]).astype(np.int32)
        return torch.from_numpy(ends).to(device)

    with contextlib.suppress(ImportError, RuntimeError):
        utils = import_module("colpali_engine.utils.processing_utils")
        score = utils.BaseVisualRetrieverProcessor.score_multi_vector
        yield "colpali-engine score_multi_vector", partial(score, asked, pages, device=device)
    with contextlib.suppress(ImportError, RuntimeError):
        varlen = import_module("late_interaction_kernels").maxsim_varlen
        packed = (torch.cat(asked), torch.cat(pages), offsets(asked), offsets(pages))
        longest = max(map(len, pages))
        yield (
            "late-interaction-kernels maxsim_varlen",
            lambda: varlen(*packed, max_seqlen_q=_TOKENS, max_seqlen_d=longest).cpu(),
        )
    with contextlib.suppress(ImportError, RuntimeError):
        flash = import_module("flash_maxsim")
        documents, ends, most = flash.pack_docs(pages)
        yield (
            "flash-maxsim flash_maxsim_packed",
            lambda: torch.stack(
                [flash.flash_maxsim_packed(q, documents, ends, most) for q in asked]
            ).cpu(),
        )


def _copy_gb_s(torch: Any, device: str, wait: Callable[[], None]) -> float:
    """Bytes read and written a second by copying within the device's memory."""
    source = torch.zeros(_COPIED if device == "cuda" else _COPIED >> 4, dtype=torch.uint8)
    source = source.to(device)
    copy = torch.empty_like(source)
    took = []
    for _ in range(10):
        wait()
        began = time.perf_counter()
        copy.copy_(source)
        wait()
        took.append(time.perf_counter() - began)
    return float(2 * source.nbytes / min(took) / 1e9)


def _from_disk(index: Path, pages: int, device: str) -> dict[str, float]:
    """Reading random pages of an index and scoring them, as a search does; medians of 20."""
    from retrieval.maxsim_torch import TorchScorer

    scorer = TorchScorer(device, cache_bytes=0)
    rng = np.random.default_rng(0)
    fetched, scored = [], []
    with Store.open(index) as store:
        query = QueryEmbedding(
            rng.normal(size=(_TOKENS, store.manifest.dim)).astype(np.float32),
            ("",) * _TOKENS,
            np.ones(_TOKENS, np.float32),
        )
        for _ in range(20):
            chosen = rng.choice(len(store.pages), min(pages, len(store.pages)), replace=False)
            began = time.perf_counter()
            patches = store.fetch_patches(np.sort(chosen))
            read = time.perf_counter()
            scorer.score_many([query], patches)
            fetched.append((read - began) * 1e3)
            scored.append((time.perf_counter() - read) * 1e3)
    return {
        "from_disk_fetch_ms": float(np.median(fetched)),
        "from_disk_rerank_ms": float(np.median(scored)),
    }

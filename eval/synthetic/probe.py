"""What searching an index costs, and what its first stage misses.

Each function is run in a process of its own, so that the memory it reports is the searcher's
and not that of the benchmark around it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.machine import resident_mb
from eval.synthetic.questions import MadeQuestion, PreparedEncoder
from retrieval.candidates import LexicalEvidence, find_candidates
from retrieval.coarse import CoarseIndex
from retrieval.errors import StorageError
from retrieval.maxsim import maxsim
from retrieval.passages import best_passage
from retrieval.ranking import LATE, order
from retrieval.search import Searcher, SearchSettings
from retrieval.store import Store
from retrieval.types import FloatArray

STAGES = ("coarse", "fetch", "rerank", "total")
_COLD, _SCAN_PAGES = 40, 512


def _open(root: Path, questions: Sequence[MadeQuestion]) -> Searcher:
    store = Store.open(root)
    if store.coarse_path is None:
        raise StorageError(f"{root} has no coarse index; build it to its end")
    manifest = store.manifest
    encoder = PreparedEncoder(
        manifest.encoder_id, manifest.encoder_fingerprint, manifest.dim, questions
    )
    # Questions to a large collection seldom lead to the same pages; here each is asked again.
    settings = SearchSettings(cache_mb=0)
    return Searcher(store, CoarseIndex.read(store.coarse_path), encoder, settings)


def measure_latency(root: Path, questions: Sequence[MadeQuestion]) -> dict[str, Any]:
    """Milliseconds of every stage, cold and warm; seconds to open; resident megabytes.

    Cold: before each question the kernel is told to forget the index's files, while the
    searcher keeps what it holds in its own memory. Warm: every question a second time.
    """
    before = resident_mb()
    began = time.perf_counter()
    searcher = _open(root, questions)
    opened = time.perf_counter() - began
    found: dict[str, Any] = {"open_s": opened, "open_mb": resident_mb() - before}
    searcher.search(questions[0].text)
    # Those that will not be asked warm, so that "warm" is the second time for all.
    cold = [_asked(searcher, q, forget=root) for q in questions[:_COLD]]
    for question in questions:
        searcher.search(question.text)
    warm = [_asked(searcher, q) for q in questions]
    for name, times in (("warm", warm), ("cold", cold)):
        for stage in STAGES:
            values = [each[stage] for each in times]
            for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                found[f"{name}_{stage}_{label}_ms"] = float(np.quantile(values, share))
    found |= _parts(searcher, questions[: 2 * _COLD])
    found["rss_mb"] = resident_mb() - before
    found["coarse_mb"] = searcher.coarse.memory_bytes / 1e6
    found["coarse_kind"] = searcher.coarse.kind
    found["page_vectors"] = searcher.coarse.n_vectors
    return found


def _asked(searcher: Searcher, question: MadeQuestion, forget: Path | None = None) -> Any:
    if forget is not None:
        forget_files(forget)
    return searcher.search(question.text).timing_ms


def _parts(searcher: Searcher, questions: Sequence[MadeQuestion]) -> dict[str, float]:
    """What stage one consists of, each part alone, warm."""
    limits = searcher.settings.candidates
    parts: dict[str, Callable[[MadeQuestion], Any]] = {
        "vectors": lambda q: searcher.coarse.candidates(
            q.embedding.vectors, q.embedding.weights, limits.coarse_pool
        ),
        "bm25_pages": lambda q: searcher.store.bm25_pages(q.text, limits.bm25_pool),
        "bm25_documents": lambda q: searcher.store.bm25_documents(q.text, limits.documents),
    }
    found = {}
    for name, ask in parts.items():
        took = []
        for question in questions:
            began = time.perf_counter()
            ask(question)
            took.append((time.perf_counter() - began) * 1e3)
        found[f"{name}_p50_ms"] = float(np.median(took))
        found[f"{name}_p99_ms"] = float(np.quantile(took, 0.99))
    return found


def forget_files(root: Path) -> None:
    """Tell the kernel to drop the page cache of every file below ``root``."""
    for base, _, names in os.walk(root):
        for name in names:
            handle = os.open(Path(base) / name, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def measure_recall(
    root: Path, questions: Sequence[MadeQuestion], depth: int = 10
) -> dict[str, float]:
    """Of the ``depth`` best pages by exhaustive scoring, the share that stage one proposes.

    ``found`` compares the product's ranking (all lanes) over every page with its candidates;
    ``found_vectors`` plain MaxSim over whole pages with the page vectors alone. One scan over
    all pages serves every question.
    """
    searcher = _open(root, questions)
    store, settings = searcher.store, searcher.settings
    n = len(store.pages)
    late = np.full((len(questions), n), -np.inf, np.float32)
    plain = np.full((len(questions), n), -np.inf, np.float32)
    for offsets, patches in store.scan_patches(_SCAN_PAGES):
        for i, q in enumerate(questions):
            pages = (q.embedding.vectors, q.embedding.weights, patches.codes)
            late[i, offsets] = best_passage(*pages, patches.starts, patches.scales)
            plain[i, offsets] = maxsim(*pages, patches.starts, patches.scales)
    totals = {"found": 0.0, "found_vectors": 0.0, "target_exhaustive": 0.0, "target_found": 0.0}
    limits = settings.candidates
    every = np.flatnonzero(store.pages.n_patches > 0)
    for i, question in enumerate(questions):
        lexical = LexicalEvidence.find(store, question.text, None, limits)
        fused = lexical.lanes(store, every, {LATE: late[i, every]}).fused(settings.weights)
        best = every[order(fused, store.pages.page_ids[every], depth)]
        asked = searcher.asked(question.text, question.embedding)
        found = find_candidates(store, asked, _given(lexical), None, settings.weights, limits)
        proposed = found.offsets
        totals["found"] += float(np.isin(best, proposed).mean())
        totals["found_vectors"] += _found_by_vectors(searcher, question, plain[i], depth)
        target = _offset(store, question)
        totals["target_exhaustive"] += float(target in best)
        totals["target_found"] += float(target in proposed)
    return {name: value / max(1, len(questions)) for name, value in totals.items()}


def _given(evidence: LexicalEvidence) -> Callable[[], LexicalEvidence]:
    return lambda: evidence


def _found_by_vectors(
    searcher: Searcher, question: MadeQuestion, scores: FloatArray, depth: int
) -> float:
    pages = searcher.store.pages
    best = pages.page_ids[order(scores, pages.page_ids, depth)]
    proposed, _ = searcher.coarse.candidates(
        question.embedding.vectors,
        question.embedding.weights,
        searcher.settings.candidates.candidates,
    )
    return float(np.isin(best, proposed).mean())


def _offset(store: Store, question: MadeQuestion) -> int:
    """Where the page is that the question was made from."""
    of_document = store.pages.offsets_of_documents(np.array([question.document], np.int64))
    here = of_document[store.pages.numbers[of_document] == question.number]
    return int(here[0]) if len(here) else -1

"""Build an index of the made-up collection, through the product's own writer and store.

What intake and encoder would cost is left out, everything behind them is as in any build. A
build that was stopped goes on behind the last commit; asked for more pages, it adds them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from eval.synthetic.pages import Collection, page_counts
from eval.synthetic.statistics import Statistics
from indexing.build import coarse_builder
from indexing.pipeline import PoolSettings
from retrieval.compression import Compression
from retrieval.context import document_context
from retrieval.errors import InputError
from retrieval.manifest import MANIFEST_NAME, read_manifest
from retrieval.pooling import pool_page
from retrieval.store import CreateSpec, PageRow, StoreWriter, VectorBatches
from retrieval.types import DocumentInfo

INDEX, STATE = "index", "scale.json"
ENCODER = "synthetic"
# As a build commits: rarely enough that committing stays a small part of it.
_CHECKPOINT_PAGES, _CHECKPOINT_SHARE = 20_000, 0.25
_AHEAD = 4

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What fixes a collection: ``patches`` a page on average, pooled ``vectors`` a page."""

    patches: float = 128.0
    vectors: int = 16
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """Stands for the encoder in the manifest: no other vectors may be mixed in."""
        said = json.dumps([self.patches, self.seed, Statistics.read().about], sort_keys=True)
        return sha256(said.encode()).hexdigest()


@dataclass(slots=True)
class BuildState:
    """What building cost so far, kept beside the index so that a resumed build knows.

    ``steps`` holds one entry a finished size: pages, and the running totals at that point.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def spend(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


def build_collection(
    folder: Path, pages: int, spec: CollectionSpec, progress: Progress | None = None
) -> BuildState:
    """Bring the index at ``folder / "index"`` to ``pages`` pages.

    Raises ``InputError`` if it has more already, ``StorageError`` if it is of another spec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _read_state(folder)
    if _is_complete(folder / INDEX, pages, spec):
        return state
    create = CreateSpec(
        encoder_id=ENCODER,
        encoder_fingerprint=spec.fingerprint,
        dim=Statistics.read().dim,
        settings={"pooling": asdict(PoolSettings(vectors=spec.vectors)), "coarse": "auto"},
    )
    with StoreWriter.open(folder / INDEX, create=create) as writer:
        held = sum(row.pages for row in writer.documents.values())
        if held > pages:
            raise InputError(f"{folder} has {held:,} pages already; name another folder")
        if held < pages:
            _add(writer, folder, pages - held, spec, state, progress)
        _finish(writer, folder, pages, state, progress)
    return state


def _is_complete(index: Path, pages: int, spec: CollectionSpec) -> bool:
    """Whether nothing is to be added: such an index is measured however it keeps its vectors."""
    if not (index / MANIFEST_NAME).exists():
        return False
    held = read_manifest(index)
    mine = (held.encoder_id, held.encoder_fingerprint) == (ENCODER, spec.fingerprint)
    return mine and held.counts["pages"] == pages and held.coarse_file is not None


def _add(
    writer: StoreWriter,
    folder: Path,
    missing: int,
    spec: CollectionSpec,
    state: BuildState,
    progress: Progress | None,
) -> None:
    first = len(writer.documents)
    done = sum(row.pages for row in writer.documents.values())
    sizes = _sizes(first, missing, spec.seed)
    uncommitted = 0
    began = time.perf_counter()
    for number, rows in _made(first, sizes, spec):
        text = rows[0].bm25_text.split() if rows else []
        name = f"report-{number:07d}.pdf"
        info = DocumentInfo(
            source=f"/synthetic/{name}",
            sha256=sha256(name.encode()).hexdigest(),
            media_type="application/pdf",
            title=" ".join(text[:6]),
            pages=len(rows),
            bytes=1000 * len(rows),
            metadata={"year": 1990 + number % 35},
        )
        context = document_context(info.source, info.title, info.metadata, text)
        writer.add_document(info, context, rows)
        done += len(rows)
        uncommitted += len(rows)
        if progress is not None:
            progress("building", done)
        if uncommitted >= max(_CHECKPOINT_PAGES, int(done * _CHECKPOINT_SHARE)):
            state.spend("adding", time.perf_counter() - began)
            began = time.perf_counter()
            if progress is not None:
                progress("committing", done)
            writer.commit()
            state.spend("committing", time.perf_counter() - began)
            _write_state(folder, state)
            uncommitted, began = 0, time.perf_counter()
    state.spend("adding", time.perf_counter() - began)


def _finish(
    writer: StoreWriter,
    folder: Path,
    pages: int,
    state: BuildState,
    progress: Progress | None,
) -> None:
    build = coarse_builder("auto")
    coarse_seconds = 0.0

    def timed(vectors: VectorBatches, path: Path) -> None:
        nonlocal coarse_seconds
        if progress is not None:
            progress("clustering page vectors", pages)
        began = time.perf_counter()
        build(vectors, path)
        coarse_seconds = time.perf_counter() - began

    if progress is not None:
        progress("committing", pages)
    began = time.perf_counter()
    writer.commit(timed)
    state.spend("committing", time.perf_counter() - began - coarse_seconds)
    state.spend("coarse", coarse_seconds)
    state.steps.append({"pages": pages, "coarse_s": coarse_seconds, **state.seconds})
    _write_state(folder, state)


def _sizes(first: int, missing: int, seed: int) -> list[tuple[int, int]]:
    """Documents from ``first`` on: how many pages each has, and how many of them are taken, so
    that these are ``missing`` in all."""
    sizes = np.zeros(0, np.int64)
    count = 1024
    statistics = Statistics.read()
    while sizes.sum() < missing:
        sizes = page_counts(statistics, first + count, seed)[first:]
        count *= 2
    ends = np.cumsum(sizes)
    last = int(np.searchsorted(ends, missing))
    taken = sizes[: last + 1].copy()
    taken[last] -= ends[last] - missing
    return list(zip(sizes.tolist(), taken.tolist(), strict=False))


_collection: Collection | None = None


def _prepare(spec: CollectionSpec) -> None:
    """Runs once in each process that makes pages."""
    global _collection
    _collection = Collection(Statistics.read(), spec.patches, spec.seed)


def _rows(number: int, pages: int, taken: int, vectors: int) -> list[PageRow]:
    assert _collection is not None
    rows = []
    for page in _collection.document(number, pages)[:taken]:
        content = _collection.content(page)
        kept = Compression().compress(page.vectors)
        rows.append(
            PageRow(
                content=content,
                codes=kept.codes,
                scale=kept.scale,
                patch_boxes=content.words.boxes,
                page_vectors=pool_page(page.vectors, content.words.boxes, vectors),
                bm25_text=content.words.text(),
            )
        )
    return rows


def _made(
    first: int, sizes: Sequence[tuple[int, int]], spec: CollectionSpec
) -> Iterator[tuple[int, list[PageRow]]]:
    """Documents in order, made by as many processes as there are cores."""
    cores = os.cpu_count() or 1
    pending: deque[tuple[int, Future[list[PageRow]]]] = deque()
    with ProcessPoolExecutor(
        cores, multiprocessing.get_context("spawn"), _prepare, (spec,)
    ) as pool:
        try:
            for number, (pages, taken) in enumerate(sizes, first):
                pending.append((number, pool.submit(_rows, number, pages, taken, spec.vectors)))
                if len(pending) > _AHEAD * cores:
                    done, made = pending.popleft()
                    yield done, made.result()
            while pending:
                done, made = pending.popleft()
                yield done, made.result()
        finally:
            for _, made in pending:
                made.cancel()


def _read_state(folder: Path) -> BuildState:
    path = folder / STATE
    if not path.exists():
        return BuildState()
    try:
        return BuildState(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); name another folder") from error


def _write_state(folder: Path, state: BuildState) -> None:
    temporary = folder / (STATE + ".tmp")
    temporary.write_text(json.dumps(asdict(state), indent=1) + "\n", "utf-8")
    temporary.replace(folder / STATE)

"""From sources to a committed index: what is new is read, encoded and written; the rest stays.

Documents become visible whole, at checkpoints that grow with the index, so that a build that
is killed loses little and a long build does not spend its time committing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from indexing.intake import IntakeWorkers
from indexing.pipeline import (
    EncodedEvent,
    Ended,
    PoolSettings,
    Started,
    encode,
    read_ahead,
    rows_of,
)
from indexing.settings import IntakeSettings, cores
from retrieval.coarse import CoarseIndex
from retrieval.encoders import PageEncoder
from retrieval.errors import FolioscopeError, StorageError
from retrieval.store import CoarseBuilder, StoreWriter, VectorBatches
from retrieval.types import DocumentInfo, MetadataValue, PageContent

_CHECKPOINT_PAGES = 512
_CHECKPOINT_SHARE = 0.25
_CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How an index is built. ``coarse`` is a FAISS type or ``auto``: by size."""

    intake: IntakeSettings = field(default_factory=IntakeSettings)
    pooling: PoolSettings = field(default_factory=PoolSettings)
    coarse: str = "auto"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Where a build stands. ``stage`` is ``inspect``, ``read`` or ``commit``."""

    stage: str
    documents_done: int
    documents_total: int
    pages_done: int
    pages_total: int
    source: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SkippedSource:
    """A source that is not in the index, and why, in words for its owner."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. ``unchanged`` sources were in the index already, by content."""

    generation: int
    documents_added: int
    pages_added: int
    skipped: tuple[SkippedSource, ...]
    unchanged: int
    seconds: float
    pages_per_second: float


Progress = Callable[[BuildProgress], None]
MetadataOf = Callable[[Path], Mapping[str, MetadataValue]]


@dataclass(slots=True)
class _Count:
    """The running totals of a build."""

    progress: Progress | None
    started: float = field(default_factory=time.monotonic)
    documents: int = 0
    documents_total: int = 0
    pages: int = 0
    pages_total: int = 0
    added: int = 0
    uncommitted_pages: int = 0
    last_commit: float = field(default_factory=time.monotonic)

    def tell(self, stage: str, source: str) -> None:
        if self.progress is not None:
            self.progress(
                BuildProgress(
                    stage,
                    self.documents,
                    self.documents_total,
                    self.pages,
                    self.pages_total,
                    source,
                    time.monotonic() - self.started,
                )
            )


def add_sources(
    writer: StoreWriter,
    paths: Sequence[Path],
    encoder: PageEncoder,
    settings: BuildSettings,
    *,
    metadata_of: MetadataOf,
    progress: Progress | None = None,
) -> BuildReport:
    """Read, encode and commit every source that the index does not hold yet.

    A source that cannot be used is recorded with its reason and costs only itself; the next
    build tries it again. A source whose content changed replaces what it held before.
    """
    count = _Count(progress)
    skipped: dict[str, str] = {}
    with IntakeWorkers(settings.intake) as workers:
        fresh, unchanged = _inspect(writer, workers, paths, metadata_of, skipped, count)
        count.documents_total = len(fresh)
        count.pages_total = sum(document.pages for document in fresh)
        threads = cores()

        def read(document: DocumentInfo) -> Iterator[PageContent]:
            return workers.read_pages(
                Path(document.source),
                want_image="image" in encoder.reads,
                pages=range(document.pages),
            )

        with (
            closing(read_ahead(fresh, read, threads)) as events,
            closing(encode(events, encoder, settings.pooling, threads)) as encoded,
        ):
            _write(writer, encoded, skipped, count, settings)
    count.tell("commit", "")
    manifest = writer.commit(coarse_builder(settings.coarse))
    seconds = time.monotonic() - count.started
    return BuildReport(
        generation=manifest.generation,
        documents_added=count.added,
        pages_added=count.pages,
        skipped=tuple(SkippedSource(source, reason) for source, reason in skipped.items()),
        unchanged=unchanged,
        seconds=seconds,
        pages_per_second=count.pages / max(seconds, 1e-6),
    )


def coarse_builder(kind: str) -> CoarseBuilder:
    """What ``StoreWriter.commit`` calls to write the coarse index."""

    def build(vectors: VectorBatches, path: Path) -> None:
        first = next(vectors, None)
        batches = vectors if first is None else chain([first], vectors)
        dim = 1 if first is None else first[1].shape[1]
        CoarseIndex.build(batches, dim, kind).write(path)

    return build


def _inspect(
    writer: StoreWriter,
    workers: IntakeWorkers,
    paths: Sequence[Path],
    metadata_of: MetadataOf,
    skipped: dict[str, str],
    count: _Count,
) -> tuple[list[DocumentInfo], int]:
    """Documents to add, in the order of ``paths``, and how many were there already."""
    known = writer.known_sources()
    count.documents_total = len(paths)

    def look(path: Path) -> DocumentInfo | FolioscopeError:
        try:
            return workers.describe(path, metadata_of(path))
        except FolioscopeError as error:
            return error

    fresh: dict[str, DocumentInfo] = {}
    unchanged = 0
    with ThreadPoolExecutor(cores(), "inspector") as pool:
        for path, found in zip(paths, pool.map(look, paths), strict=True):
            count.documents += 1
            count.tell("inspect", str(path))
            if isinstance(found, FolioscopeError):
                _skip(writer, skipped, str(path), "", found)
            elif found.sha256 in known or found.sha256 in fresh:
                unchanged += 1
            else:
                fresh[found.sha256] = found
    count.documents = 0
    return list(fresh.values()), unchanged


def _skip(
    writer: StoreWriter, skipped: dict[str, str], source: str, sha256: str, error: FolioscopeError
) -> None:
    skipped[source] = str(error)
    writer.record_skip(source, sha256, str(error))


def _write(
    writer: StoreWriter,
    events: Iterator[EncodedEvent],
    skipped: dict[str, str],
    count: _Count,
    settings: BuildSettings,
) -> None:
    for event in events:
        if isinstance(event, Ended):
            # Only a document that failed before its first page gets here.
            if event.error is not None:
                document = event.document
                _skip(writer, skipped, document.source, document.sha256, event.error)
            count.documents += 1
        elif isinstance(event, Started):
            _write_document(writer, event, events, skipped, count)
            count.documents += 1
            _checkpoint(writer, count)


def _write_document(
    writer: StoreWriter,
    started: Started,
    events: Iterator[EncodedEvent],
    skipped: dict[str, str],
    count: _Count,
) -> None:
    document = started.document
    before = count.pages

    def on_page() -> None:
        count.pages += 1
        count.tell("read", document.source)

    try:
        doc_id = writer.add_document(document, started.context, rows_of(events, on_page))
    except StorageError:
        raise
    except FolioscopeError as error:
        count.pages = before
        count.pages_total -= document.pages
        _skip(writer, skipped, document.source, document.sha256, error)
        return
    count.added += 1
    count.uncommitted_pages += count.pages - before
    for old, row in list(writer.documents.items()):
        if row.source == document.source and old != doc_id:
            writer.remove_document(old)


def _checkpoint(writer: StoreWriter, count: _Count) -> None:
    """Commit when there is enough to lose. The coarse file waits for the end: until then
    readers make it from the page vectors."""
    total = writer.manifest.counts.get("pages", 0)
    enough = max(_CHECKPOINT_PAGES, int(total * _CHECKPOINT_SHARE))
    late = time.monotonic() - count.last_commit > _CHECKPOINT_SECONDS
    if count.uncommitted_pages >= enough or (late and count.uncommitted_pages):
        count.tell("commit", "")
        writer.commit()
        count.uncommitted_pages = 0
        count.last_commit = time.monotonic()

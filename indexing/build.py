"""From sources to a committed index: what is new is read, encoded and written; the rest stays.

Documents become visible whole, at checkpoints that grow with the index, so that a build that
is killed loses little and a long build does not spend its time committing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from indexing.flags import verdict_of
from indexing.intake import IntakeWorkers
from indexing.known import KnownDocuments
from indexing.no_worse import no_worse
from indexing.pipeline import (
    EncodedEvent,
    Encoding,
    Ended,
    PoolSettings,
    Started,
    encode,
    read_ahead,
    rows_of,
)
from indexing.settings import IntakeSettings, cores
from indexing.source_files import plain_path
from retrieval.coarse import CoarseIndex
from retrieval.compression import Compression
from retrieval.encoders import PageEncoder
from retrieval.errors import EncoderError, FolioscopeError, StorageError
from retrieval.manifest import LaneRecord, Manifest
from retrieval.store import CoarseBuilder, StoreWriter, VectorBatches
from retrieval.store_rows import PageRow
from retrieval.store_schema import clean_text
from retrieval.types import DocumentInfo, MetadataValue, PageContent

_CHECKPOINT_PAGES = 512
_CHECKPOINT_SHARE = 0.25
_CHECKPOINT_SECONDS = 120.0
# 4-bit product codes learn 16 centroids, from no fewer examples.
_FEWEST_TRAINED = 16


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How an index is built. ``coarse`` is a FAISS type or ``auto``: by size.

    ``pooling`` and ``coarse`` left None are what the index was built with so far; a new index
    gets k-means with 16 vectors, and ``auto``. ``compression`` names a
    ``retrieval.compression.Compression``; it is fixed when an index is begun, and None is the
    index's own, or int8.
    """

    intake: IntakeSettings = field(default_factory=IntakeSettings)
    pooling: PoolSettings | None = None
    coarse: str | None = None
    compression: str | None = None

    def pooling_of(self, manifest: Manifest) -> PoolSettings:
        """``pooling``, or the index's own."""
        return self.pooling or PoolSettings(**manifest.settings.get("pooling", {}))

    def coarse_of(self, manifest: Manifest) -> str:
        """``coarse``, or the index's own."""
        return self.coarse or str(manifest.settings.get("coarse", "auto"))


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Where a build stands. ``stage`` is ``inspect``, ``read`` or ``commit``; ``pages_held`` are of
    sources that were there already, and not among the others."""

    stage: str
    documents_done: int
    documents_total: int
    pages_done: int
    pages_total: int
    source: str
    seconds: float
    pages_held: int = 0


@dataclass(frozen=True, slots=True)
class SkippedSource:
    """A source that is not in the index, and why, in words for its owner."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class FlaggedSource:
    """A document that was added without all that it shows, and which flags say so."""

    source: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. ``unchanged`` sources were in the index already, by content; ``notes``
    say of recordings what all of their frames would have cost, and how many were kept.

    Of the documents added, ``flagged`` lack something, and ``wordless`` have no word on any
    page: only an encoder that sees pictures finds them. ``passed_over`` are files of kinds that
    are not read, below folders that were named.
    """

    generation: int
    documents_added: int
    pages_added: int
    skipped: tuple[SkippedSource, ...]
    unchanged: int
    seconds: float
    pages_per_second: float
    notes: tuple[str, ...] = ()
    flagged: tuple[FlaggedSource, ...] = ()
    wordless: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


Progress = Callable[[BuildProgress], None]
MetadataOf = Callable[[Path], Mapping[str, MetadataValue]]


@dataclass(slots=True)
class _Count:
    """The running totals of a build, which documents each source ``held`` before it, and which of
    them are read ``again`` although they have not changed."""

    progress: Progress | None
    held: Mapping[str, Sequence[int]]
    again: frozenset[int]
    started: float = field(default_factory=time.monotonic)
    documents: int = 0
    documents_total: int = 0
    pages: int = 0
    pages_total: int = 0
    pages_held: int = 0
    added: int = 0
    uncommitted_pages: int = 0
    last_commit: float = field(default_factory=time.monotonic)
    flagged: list[FlaggedSource] = field(default_factory=list)
    wordless: list[str] = field(default_factory=list)

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
                    self.pages_held,
                )
            )


def add_sources(
    writer: StoreWriter,
    paths: Sequence[Path],
    encoder: PageEncoder,
    settings: BuildSettings,
    *,
    metadata_of: MetadataOf,
    others: Mapping[str, PageEncoder] | None = None,
    copies: bool = False,
    again: Collection[int] = (),
    progress: Progress | None = None,
) -> BuildReport:
    """Read, encode and commit every source that the index does not hold yet.

    A source that cannot be used is recorded with its reason and costs only itself; the next
    build tries it again. A source whose content changed replaces what it held before. One
    that moved, or has new metadata, is not read again: what is known of it is changed. With
    ``copies`` a file that is elsewhere too becomes a document of its own. ``others`` are the
    encoders of the index's further lanes.

    The documents ``again`` are read even though their sources have not changed. Each stays as it
    is if reading fails, or loses more than it did before; so does one whose source has changed to
    a damaged one with fewer words.
    """
    held: dict[str, list[int]] = {}
    for doc_id, row in writer.documents.items():
        # An index may know a file by a path with "..", which sources have no longer.
        for source in dict.fromkeys((row.source, _plain(row.source))):
            held.setdefault(source, []).append(doc_id)
    count = _Count(progress, held, frozenset(again))
    skipped: dict[str, str] = {}
    for source in list(writer.skipped):
        plain = _plain(source)
        if _opened_up(Path(source)) or (plain != source and Path(plain) in paths):
            writer.clear_skip(source)
    before = frozenset(writer.documents)
    pooling = settings.pooling_of(writer.manifest)
    kept = Compression.of_manifest(writer.manifest.compression)
    lanes = {
        name: encoding_of(other, writer.manifest.lanes[name])
        for name, other in (others or {}).items()
    }
    encoders = [encoder, *(lane.encoder for lane in lanes.values())]
    with IntakeWorkers(settings.intake) as workers:
        fresh, unchanged = _inspect(writer, workers, paths, metadata_of, copies, skipped, count)
        count.documents_total = len(fresh)
        count.pages_total = sum(document.pages for document in fresh)
        threads = cores()

        def read(document: DocumentInfo) -> Iterator[PageContent]:
            return workers.read_pages(
                Path(document.source),
                want_image=any("image" in one.reads for one in encoders),
                pages=range(document.pages),
            )

        with (
            # With more readers than workers, a later document could hold the last worker, and
            # wait for room in its queue, while the one whose turn it is waits for a worker.
            closing(read_ahead(fresh, read, min(threads, settings.intake.workers))) as events,
            closing(encode(events, encoder, pooling, threads, kept, lanes)) as encoded,
        ):
            _write(writer, encoded, skipped, count)
    count.tell("commit", "")
    manifest = _commit(writer, before, pooling, settings.coarse_of(writer.manifest))
    seconds = time.monotonic() - count.started
    return BuildReport(
        generation=manifest.generation,
        documents_added=count.added,
        pages_added=count.pages,
        skipped=tuple(SkippedSource(source, reason) for source, reason in skipped.items()),
        unchanged=unchanged,
        seconds=seconds,
        pages_per_second=count.pages / max(seconds, 1e-6),
        notes=tuple(f"{Path(found.source).name}: {found.note}" for found in fresh if found.note),
        flagged=tuple(count.flagged),
        wordless=tuple(count.wordless),
    )


def encoding_of(encoder: PageEncoder, record: LaneRecord) -> Encoding:
    """How a lane is written: as it was begun."""
    pooling = PoolSettings(**record.settings.get("pooling", {}))
    return Encoding(encoder, pooling, Compression.of_manifest(record.compression))


def _commit(
    writer: StoreWriter, before: frozenset[int], pooling: PoolSettings, coarse: str
) -> Manifest:
    """The commit that ends a build, on top of the documents ``before`` it.

    A coarse file that covers just these documents is kept: to cluster a million pages anew
    because a build found nothing new would take minutes.
    """
    last = writer.manifest
    settings = {**last.settings, "pooling": asdict(pooling), "coarse": coarse}
    changed = None if settings == last.settings else settings
    covered = last.coarse_file is not None and before == writer.documents.keys()
    if covered and last.settings.get("coarse") == coarse:
        return writer.commit(settings=changed)
    return writer.commit(coarse_builder(coarse), settings=changed)


def coarse_builder(kind: str) -> CoarseBuilder:
    """What ``StoreWriter.commit`` calls to write the coarse index."""

    def build(vectors: VectorBatches, path: Path) -> None:
        dim, n_vectors = 1, 0
        for _, batch in vectors():
            dim, n_vectors = batch.shape[1], n_vectors + len(batch)
        found = trainable(kind, n_vectors)
        CoarseIndex.build(vectors, dim, found, n_vectors=n_vectors).write(path)

    return build


def trainable(kind: str, n_vectors: int) -> str:
    """``kind``, or ``flat`` where there are too few vectors to train any other type."""
    return kind if n_vectors >= _FEWEST_TRAINED else "flat"


def _inspect(
    writer: StoreWriter,
    workers: IntakeWorkers,
    paths: Sequence[Path],
    metadata_of: MetadataOf,
    copies: bool,
    skipped: dict[str, str],
    count: _Count,
) -> tuple[list[DocumentInfo], int]:
    """Documents to add, in the order of ``paths``, and how many were there already."""
    known = KnownDocuments(writer, copies)
    count.documents_total = len(paths)

    def look(path: Path) -> DocumentInfo | FolioscopeError:
        try:
            return workers.describe(path, metadata_of(path))
        except FolioscopeError as error:
            return error

    fresh: list[DocumentInfo] = []
    unchanged = 0
    with ThreadPoolExecutor(cores(), "inspector") as pool:
        for path, found in zip(paths, pool.map(look, paths), strict=True):
            count.documents += 1
            count.tell("inspect", str(path))
            if isinstance(found, FolioscopeError):
                _skip(writer, skipped, count, str(path), "", found)
            elif not _outdated(writer, found, count) and known.holds(found):
                unchanged += 1
                count.pages_held += found.pages
                _clear_skip(writer, found)
            else:
                known.expect(found)
                fresh.append(_described_as_before(writer, found, count))
    count.documents = 0
    return fresh, unchanged


def _described_as_before(
    writer: StoreWriter, document: DocumentInfo, count: _Count
) -> DocumentInfo:
    """A source whose content changed keeps the metadata that are not said again, as one does that
    moved. One that is read again has what was asked for, and no more."""
    before = [writer.documents[i] for i in _outdated(writer, document, count)]
    kept: dict[str, MetadataValue] = {}
    for row in before:
        if row.doc_id not in count.again:
            kept |= row.metadata
    return replace(document, metadata={**kept, **document.metadata}) if kept else document


def _skip(
    writer: StoreWriter,
    skipped: dict[str, str],
    count: _Count,
    source: str,
    sha256: str,
    error: FolioscopeError,
) -> None:
    skipped[source] = str(error)
    # A document that could not be read again is in the index, not left out of it.
    if count.again.isdisjoint(count.held.get(clean_text(source), ())):
        writer.record_skip(source, sha256, str(error))


def _write(
    writer: StoreWriter,
    events: Iterator[EncodedEvent],
    skipped: dict[str, str],
    count: _Count,
) -> None:
    for event in events:
        if isinstance(event, Ended):
            # Only a document that failed before its first page gets here.
            if event.error is not None:
                document = event.document
                _skip(writer, skipped, count, document.source, document.sha256, event.error)
            count.documents += 1
        elif isinstance(event, Started):
            _write_document(writer, event, events, skipped, count)
            count.documents += 1
            _checkpoint(writer, count)


def _plain(source: str) -> str:
    return str(plain_path(Path(source))) if ".." in Path(source).parts else source


def _write_document(
    writer: StoreWriter,
    started: Started,
    events: Iterator[EncodedEvent],
    skipped: dict[str, str],
    count: _Count,
) -> None:
    document = started.document
    before = count.pages
    words = 0

    def on_page(row: PageRow) -> None:
        nonlocal words
        count.pages += 1
        words += len(row.content.words)
        count.tell("read", document.source)

    outdated = [writer.documents[i] for i in _outdated(writer, document, count)]
    rows = no_worse(rows_of(events, on_page), document, outdated, count.again, writer)
    try:
        doc_id = writer.add_document(document, started.context, rows)
    except (StorageError, EncoderError):
        raise  # not the document's fault: every other one would be lost as well
    except FolioscopeError as error:
        count.pages = before
        count.pages_total -= document.pages
        _skip(writer, skipped, count, document.source, document.sha256, error)
        return
    count.added += 1
    row = writer.documents[doc_id]
    names = {*row.own_flags, *row.page_flags}
    degraded = tuple(sorted(name for name in names if verdict_of((name,)) == "degraded"))
    if degraded:
        count.flagged.append(FlaggedSource(document.source, degraded))
    if not words:
        count.wordless.append(document.source)
    count.uncommitted_pages += count.pages - before
    _clear_skip(writer, document)
    for doc_id in _outdated(writer, document, count):
        writer.remove_document(doc_id)


def _opened_up(skipped: Path) -> bool:
    """Whether what was skipped is gone, or a folder that can be looked into by now. What a link
    leads to is still not read."""
    if skipped.is_symlink() or not skipped.is_dir():
        return not os.path.exists(skipped)  # noqa: PTH110 - which never raises
    return os.access(skipped, os.R_OK | os.X_OK)


def _clear_skip(writer: StoreWriter, document: DocumentInfo) -> None:
    """Forget that the source could not be read before. Nothing is written if it could."""
    if clean_text(document.source) in writer.skipped:
        writer.clear_skip(document.source)


def _outdated(writer: StoreWriter, document: DocumentInfo, count: _Count) -> list[int]:
    """The documents that this source was when it held something else, and those read again.

    While there are any it is read, even if another source has the same content: two files
    may have changed places.
    """
    before = count.held.get(clean_text(document.source), ())
    rows = {i: writer.documents[i] for i in before if i in writer.documents}
    return [i for i, row in rows.items() if row.sha256 != document.sha256 or i in count.again]


def _checkpoint(writer: StoreWriter, count: _Count) -> None:
    """Commit when there is enough to lose. The coarse file waits for the end: until then
    readers make it from the page vectors. What is read again is replaced by the last commit."""
    if count.again:
        return
    total = writer.manifest.counts.get("pages", 0)
    enough = max(_CHECKPOINT_PAGES, int(total * _CHECKPOINT_SHARE))
    late = time.monotonic() - count.last_commit > _CHECKPOINT_SECONDS
    if count.uncommitted_pages >= enough or (late and count.uncommitted_pages):
        count.tell("commit", "")
        writer.commit()
        count.uncommitted_pages = 0
        count.last_commit = time.monotonic()

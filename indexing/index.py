"""``Index``: everything one does with an index folder, in one object."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image as Pillow

from indexing.build import (
    BuildProgress,
    BuildReport,
    BuildSettings,
    MetadataOf,
    Progress,
    SkippedSource,
    add_sources,
    coarse_builder,
    trainable,
)
from indexing.intake import IntakeWorkers
from indexing.pipeline import PoolSettings
from indexing.relane import encoded_anew
from indexing.renderers.base import Image
from indexing.source_files import find_sources, plain_path
from retrieval.asking import SearchMode
from retrieval.coarse import CoarseIndex
from retrieval.compression import DEFAULT, Compression
from retrieval.encoders import PageEncoder, load_encoder
from retrieval.errors import InputError, StorageError
from retrieval.heatmap import draw_hit, heatmap
from retrieval.integrity import Problem, repair, verify
from retrieval.manifest import MANIFEST_NAME, Manifest, read_manifest
from retrieval.ranking import RankingWeights, weights_as_dict
from retrieval.regions import on_words
from retrieval.search import Searcher, SearchSettings
from retrieval.store import (
    CoarseBuilder,
    CreateSpec,
    LaneStore,
    PageRecord,
    Store,
    StoreWriter,
    VectorBatches,
)
from retrieval.store_lanes import check_lane_name
from retrieval.store_rows import DocumentRow
from retrieval.store_schema import stored_compression
from retrieval.types import FloatArray, Hit, MetadataValue, SearchResult

__all__ = [
    "BuildProgress",
    "BuildReport",
    "BuildSettings",
    "Index",
    "IndexStatus",
    "SkippedSource",
]


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index holds and what it takes.

    ``coarse_memory_bytes`` is what the coarse vectors take in memory while searching,
    ``disk_bytes`` everything under the folder. ``flags`` counts documents by flag,
    ``page_flags`` pages. ``lanes`` are the encoders beside the first, by name.
    """

    path: str
    generation: int
    documents: int
    pages: int
    patches: int
    page_vectors: int
    encoder: str
    lanes: Mapping[str, str]
    compression: str
    coarse_kind: str
    coarse_memory_bytes: int
    disk_bytes: int
    flags: Mapping[str, int]
    page_flags: Mapping[str, int]
    skipped: tuple[SkippedSource, ...]


def _quiet(done: int, total: int) -> None:
    """Progress that nobody looks at."""


class Index:
    """An index folder. Searching is safe from several threads; one process writes at a time.

    >>> index = Index.open("my-index")                              # doctest: +SKIP
    >>> index.search("What was revenue in 2023?").hits[0].page      # doctest: +SKIP
    """

    def __init__(
        self,
        path: Path,
        encoder: PageEncoder,
        settings: BuildSettings,
        search: SearchSettings,
        others: Mapping[str, PageEncoder] | None = None,
    ) -> None:
        """Use ``open`` or ``create``."""
        self.path = path
        self.encoder = encoder
        self.others = dict(others or {})
        self._settings = settings
        self.search_settings = search
        self._searcher: Searcher | None = None
        self._workers: IntakeWorkers | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        settings: BuildSettings | None = None,
        search: SearchSettings | None = None,
        encoder: PageEncoder | None = None,
        others: Mapping[str, PageEncoder] | None = None,
    ) -> Index:
        """Open an existing index. Raises ``StorageError`` if there is none or it is damaged,
        ``EncoderError`` if an encoder of it cannot be loaded. ``encoder`` and ``others`` (by
        lane) are used instead of those that the index names."""
        path = Path(path)
        manifest = read_manifest(path)
        if others is None:
            others = {k: load_encoder(lane.encoder_id) for k, lane in manifest.lanes.items()}
        return cls(
            path,
            encoder or load_encoder(manifest.encoder_id),
            settings or BuildSettings(),
            search or SearchSettings(),
            others,
        )

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: str | PageEncoder = "text",
        others: Mapping[str, str | PageEncoder] | None = None,
        settings: BuildSettings | None = None,
        search: SearchSettings | None = None,
    ) -> Index:
        """Begin an index at ``path``, or open the one that is there if it is of these encoders.

        ``others`` are encoders beside the first, by the name of their lane.
        """
        path = Path(path)
        if settings is not None and settings.compression is not None:
            Compression.parse(settings.compression)
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make a folder for the index {path}: {error.strerror}; name another place"
            ) from error
        if not path.exists() and not os.access(path.parent, os.W_OK):
            raise StorageError(f"cannot write into {path.parent}; name another place for the index")
        if others is None and (path / MANIFEST_NAME).exists():
            others = {k: lane.encoder_id for k, lane in read_manifest(path).lanes.items()}
        beside = {
            check_lane_name(name): load_encoder(other) if isinstance(other, str) else other
            for name, other in (others or {}).items()
        }
        settings, search = settings or BuildSettings(), search or SearchSettings()
        index = cls(path, loaded, settings, search, beside)
        with index._writer() as writer:
            if not writer.manifest.generation:
                writer.commit()
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the generation being read, and end the process that draws pictures."""
        with self._lock:
            if self._searcher is not None:
                self._searcher.store.close()
                self._searcher = None
            if self._workers is not None:
                self._workers.close()
                self._workers = None

    def refresh(self) -> int:
        """Read the newest generation from now on; returns it. Searches under way end in theirs."""
        self._let_go()
        return self._open_searcher().store.manifest.generation

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc: str | int | None = None,
        where: Mapping[str, MetadataValue] | None = None,
        mode: SearchMode = "two-stage",
        explain: bool = False,
    ) -> SearchResult:
        """The k best pages; see ``retrieval.search.Searcher.search``.

        The generation that was current at the first search is used until ``refresh``.
        """
        return self._open_searcher().search(
            question, k, filter=filter, doc=doc, where=where, mode=mode, explain=explain
        )

    def add(
        self,
        sources: Sequence[str | Path],
        *,
        metadata: Mapping[str, MetadataValue] | None = None,
        metadata_of: MetadataOf | None = None,
        copies: bool = False,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Add files, folders and patterns; what is there by content already stays, with its
        new path and metadata. With ``copies``, a file that lies elsewhere too is added again.

        ``metadata`` goes to every source, ``metadata_of(path)`` to its own on top. Sources
        that cannot be used are in the report with the reason. Raises ``StorageError`` if
        another process is writing.
        """
        shared = dict(metadata or {})

        def both(path: Path) -> Mapping[str, MetadataValue]:
            return {**shared, **(metadata_of(path) if metadata_of else {})}

        found = find_sources(sources)
        with self._writer() as writer:
            report = add_sources(
                writer,
                found.files,
                self.encoder,
                self._settings,
                metadata_of=both,
                others=self.others,
                copies=copies,
                progress=progress,
            )
        self._let_go()
        return replace(report, passed_over=tuple(map(str, found.passed_over)))

    def reread(
        self,
        doc: str | int,
        *,
        metadata: Mapping[str, MetadataValue] | None = None,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Read the file of a document (id, path or file name) again, though it has not changed:
        with other limits, a newer version, or with ``metadata`` instead of its own.

        One commit replaces the document, which has another id from then on. Whatever happens
        before, it stays searchable as it is; if the file cannot be read now, or less of it than
        before (see ``indexing.no_worse``), the report's ``skipped`` says why. Raises as ``add``,
        and ``InputError`` if the index has no such document.
        """
        doc_id = self.find(doc)
        with self._writer() as writer:
            row = writer.documents.get(doc_id)
            if row is None:
                raise InputError(f"document {doc_id} was removed from {self.path} meanwhile")
            own = dict(row.metadata) if metadata is None else dict(metadata)
            report = add_sources(
                writer,
                [plain_path(Path(row.source))],
                self.encoder,
                self._settings,
                metadata_of=lambda _: own,
                others=self.others,
                copies=True,
                again=[doc_id],
                progress=progress,
            )
        self._let_go()
        return report

    def add_encoder(
        self,
        name: str,
        encoder: str | PageEncoder,
        *,
        progress: Callable[[int, int], None] = _quiet,
    ) -> int:
        """Have one more encoder read every page; returns how many. See ``indexing.relane``.

        All of it becomes visible at once, or nothing.
        """
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        check_lane_name(name)
        with self._writer() as writer:
            spec = self._lane_spec(name, loaded)
            rows = encoded_anew(writer, loaded, spec.lane(), self._settings.intake, progress)
            writer.add_lane(name, spec, rows)
            manifest = writer.commit(self._coarse_builder(writer.manifest), only={name})
        self.others[name] = loaded
        self._let_go()
        return manifest.counts["pages"]

    def remove_encoder(self, name: str) -> None:
        """Take a lane out. Raises ``InputError`` if there is none of this name."""
        with self._writer() as writer:
            writer.drop_lane(name)
            writer.commit()
        self.others.pop(name, None)
        self._let_go()

    def with_weights(self, weights: RankingWeights) -> Index:
        """The same index, searched with other ranking weights."""
        search = replace(self.search_settings, weights=weights)
        return Index(self.path, self.encoder, self._settings, search, self.others)

    def weights(self) -> RankingWeights:
        """The ranking weights that searches use."""
        return self._open_searcher().settings.weights

    def set_weights(self, weights: RankingWeights) -> None:
        """Keep ranking weights in the index: searches use them unless they bring their own."""
        with self._writer() as writer:
            settings = {**writer.manifest.settings, "ranking": weights_as_dict(weights)}
            writer.commit(settings=settings)
        self._let_go()

    def remove(self, doc: str | int) -> int:
        """Take a document (id, path or file name) out; returns how many pages went with it."""
        doc_id = self.find(doc)
        with self._writer() as writer:
            pages = writer.documents[doc_id].pages if doc_id in writer.documents else 0
            writer.remove_document(doc_id)
            writer.commit(self._coarse_builder(writer.manifest))
        self._let_go()
        return pages

    def find(self, doc: str | int) -> int:
        """The id of the document that ``doc`` (id, path or file name) names."""
        return self._open_searcher().find_document(doc)

    def documents(self) -> list[Mapping[str, Any]]:
        """Every document: id, source, title, pages, metadata, flags."""
        rows = self._open_searcher().store.documents.values()
        return [
            {
                "doc_id": row.doc_id,
                "source": row.source,
                "title": row.title,
                "pages": row.pages,
                "metadata": dict(row.metadata),
                "flags": list(row.flags),
            }
            for row in rows
        ]

    def status(self) -> IndexStatus:
        """Counts, sizes, the coarse index and its memory, and what was skipped."""
        searcher = self._open_searcher()
        manifest = searcher.store.manifest
        documents = searcher.store.documents.values()
        flags = Counter(flag for row in documents for flag in row.own_flags)
        page_flags: Counter[str] = Counter()
        for row in documents:
            page_flags.update(row.page_flags)
        return IndexStatus(
            path=str(self.path),
            generation=manifest.generation,
            documents=len(searcher.store.documents),
            pages=len(searcher.store.pages),
            patches=int(searcher.store.pages.n_patches.sum()),
            page_vectors=searcher.coarse.n_vectors,
            encoder=manifest.encoder_id,
            lanes={name: lane.encoder_id for name, lane in manifest.lanes.items()},
            compression=searcher.store.compression.name,
            coarse_kind=searcher.coarse.kind,
            coarse_memory_bytes=searcher.coarse_memory_bytes,
            disk_bytes=self._disk_bytes(),
            flags=dict(flags),
            page_flags=dict(page_flags),
            skipped=tuple(SkippedSource(source, why) for source, _, why in manifest.skipped),
        )

    def verify(self) -> list[Problem]:
        """Every problem found by reading and hashing everything; empty if the index is whole."""
        return verify(self.path)

    def repair(self) -> list[str]:
        """Mend what can be mended; returns what was done, one sentence each."""
        self._let_go()
        return repair_index(self.path)

    def compact(self) -> Mapping[str, int]:
        """Rewrite the tables without deleted rows; returns bytes before and after."""
        before = self._disk_bytes()
        self._let_go()
        with self._writer() as writer:
            writer.compact()
            manifest = writer.commit(self._coarse_builder(writer.manifest))
            # The generation before is always kept: with one more it is the compacted one.
            manifest = writer.commit(settings=manifest.settings)
        return {
            "generation": manifest.generation,
            "bytes_before": before,
            "bytes_after": self._disk_bytes(),
        }

    def page(self, page_id: int) -> PageRecord:
        """A page's words, boxes, label and flags. Raises ``InputError`` if it is not here."""
        searcher = self._open_searcher()
        offsets = searcher.store.pages.offsets_of(np.array([page_id], np.int64))
        if offsets[0] < 0:
            raise InputError(f"page {page_id} is not in the index {self.path}")
        return searcher.records.fetch(offsets)[0]

    def page_id(self, doc_id: int, number: int) -> int | None:
        """The id of a document's page ``number`` (from 0), or None."""
        pages = self._open_searcher().store.pages
        found = np.flatnonzero((pages.doc_ids == doc_id) & (pages.numbers == number))
        return int(pages.page_ids[found[0]]) if len(found) else None

    def document_of(self, page_id: int) -> int | None:
        """The id of the document that a page belongs to, or None."""
        pages = self._open_searcher().store.pages
        offset = int(pages.offsets_of(np.array([page_id], np.int64))[0])
        return None if offset < 0 else int(pages.doc_ids[offset])

    def served(self) -> tuple[int, int]:
        """The generation being read, and how many pages it has."""
        store = self._open_searcher().store
        return store.manifest.generation, len(store.pages)

    def document(self, doc_id: int) -> DocumentRow:
        """What the index knows of a document. Raises ``InputError`` if it is not here."""
        row = self._open_searcher().store.documents.get(doc_id)
        if row is None:
            raise InputError(f"there is no document {doc_id} in the index {self.path}")
        return row

    def documents_where(self, where: Mapping[str, MetadataValue]) -> Mapping[int, DocumentRow]:
        """The documents whose metadata have all of these keys and values, by id."""
        return self._open_searcher().documents_where(where)

    def word_evidence(self, question: str, page_id: int) -> tuple[PageRecord, FloatArray]:
        """A page, and what each of its words says for each token of ``question``.

        The second is ``[q, words] float32``: weighted similarity above what the token finds all
        over the page, so scaled that a page which says every token exactly has 1 in all.
        """
        ((record, (found,)),) = self.word_evidence_on_pages([question], [page_id])
        return record, found

    def word_evidence_on_pages(
        self, questions: Sequence[str], page_ids: Sequence[int]
    ) -> list[tuple[PageRecord, list[FloatArray]]]:
        """``word_evidence`` of several questions on several pages, each page read once."""
        pages = self._open_searcher().evidence_on_pages(questions, page_ids)
        return [
            (
                record,
                [on_words(f.similarities, f.weights, f.boxes, record.words.boxes) for f in found],
            )
            for record, found in pages
        ]

    def heat(self, question: str, page_id: int, size: tuple[int, int]) -> FloatArray | None:
        """What on a page speaks for ``question``, ``[height, width]`` of ``size`` in [0, 1].

        None where nothing does: a page without patches.
        """
        evidence = self._open_searcher().evidence(question, page_id)
        if not len(evidence.boxes) or not len(evidence.weights):
            return None
        return heatmap(evidence.similarities, evidence.weights, evidence.boxes, size)

    def page_image(self, hit: Hit, *, dpi: int = 110) -> Image:
        """The page of a hit, ``[h, w, 3] uint8``, from its source file.

        Raises ``InputError`` if the file has moved or changed since it was indexed.
        """
        source = Path(hit.source)
        if not source.exists():
            raise InputError(
                f"{source} is gone since it was indexed: its pages are found but cannot be "
                "pictured; put it back, or remove it from the index"
            )
        if not self._as_indexed(hit, source):
            raise InputError(
                f"{source} changed since it was indexed: what was found may be elsewhere in it; "
                "build the index again"
            )
        return self._renderer().render_page(
            source, hit.page, dpi=dpi, times=hit.times, part=hit.part
        )

    def draw(self, question: str, hit: Hit, *, dpi: int = 110, heat: bool = True) -> Pillow.Image:
        """The page of a hit with its regions framed and, with ``heat``, the heatmap over it."""
        image = self.page_image(hit, dpi=dpi)
        size = (image.shape[0], image.shape[1])
        warmth = self.heat(question, hit.page_id, size) if heat else None
        return draw_hit(image, hit.regions, warmth)

    def picture(self, page_id: int, question: str | None = None, *, dpi: int = 110) -> Pillow.Image:
        """A page's picture; with a ``question``, the places that speak for it are marked.

        Raises ``InputError`` as ``page_image`` does.
        """
        hit = self._open_searcher().hit(page_id, question)
        if question is None:
            return Pillow.fromarray(self.page_image(hit, dpi=dpi))
        return self.draw(question, hit, dpi=dpi)

    def _as_indexed(self, hit: Hit, source: Path) -> bool:
        row = self._open_searcher().store.documents.get(hit.doc_id)
        if row is None or source.stat().st_size != row.bytes:
            return False
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == row.sha256

    def _renderer(self) -> IntakeWorkers:
        """One reader process for pictures, kept: to start one takes longer than a picture."""
        with self._lock:
            if self._workers is None:
                one = self._settings.intake.model_copy(update={"workers": 1})
                self._workers = IntakeWorkers(one)
            return self._workers

    def _let_go(self) -> None:
        """Open anew at the next use. A search under way keeps its store, which gives its
        generation up when the last of them ends; to close it here would fail them."""
        with self._lock:
            self._searcher = None

    @contextmanager
    def _writer(self) -> Iterator[StoreWriter]:
        encoder = self.encoder
        create = CreateSpec(
            encoder.id,
            encoder.fingerprint,
            encoder.dim,
            self._compression(),
            lanes={name: self._lane_spec(name, other) for name, other in self.others.items()},
        )
        with StoreWriter.open(self.path, create=create) as writer:
            yield writer

    def _lane_spec(self, name: str, encoder: PageEncoder) -> CreateSpec:
        """How a lane was begun, or is to be."""
        manifest = read_manifest(self.path) if (self.path / MANIFEST_NAME).exists() else None
        if manifest is not None and name in manifest.lanes:
            compression = manifest.lanes[name].compression
        else:
            compression = self._compression()
        pooling = asdict(self._settings.pooling or PoolSettings())
        return CreateSpec(
            encoder.id, encoder.fingerprint, encoder.dim, compression, {"pooling": pooling}
        )

    def _compression(self) -> str:
        """What the manifest is to call it: the index's own unless another is asked for."""
        asked = self._settings.compression
        if (self.path / MANIFEST_NAME).exists():
            own = read_manifest(self.path).compression
            if asked is None or stored_compression(own).is_called(asked):
                return own
        return Compression.parse(asked or DEFAULT).in_manifest

    def _coarse_builder(self, manifest: Manifest) -> CoarseBuilder:
        return coarse_builder(self._settings.coarse_of(manifest))

    def _disk_bytes(self) -> int:
        found = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                # A commit beside takes files of generations that nobody reads any more.
                with suppress(FileNotFoundError):
                    found += Path(folder, name).stat().st_size
        return found

    def _open_searcher(self) -> Searcher:
        with self._lock:
            if self._searcher is None:
                store = Store.open(self.path)
                try:
                    # Another process may have added an encoder, or taken one out.
                    self.others = {
                        name: self.others.get(name) or load_encoder(lane.record.encoder_id)
                        for name, lane in store.lanes.items()
                    }
                    self._searcher = Searcher(
                        store,
                        self._coarse_of(store, store.coarse_path, store),
                        self.encoder,
                        self._ranked_by(store.manifest),
                        others={
                            name: (
                                self.others[name],
                                self._coarse_of(store, lane.coarse_path, lane),
                            )
                            for name, lane in store.lanes.items()
                        },
                    )
                except BaseException:
                    store.close()
                    raise
            return self._searcher

    def _ranked_by(self, manifest: Manifest) -> SearchSettings:
        """The search settings, with the weights fitted for this index unless others were given."""
        fitted = manifest.settings.get("ranking")
        if fitted is None or self.search_settings.weights != RankingWeights():
            return self.search_settings
        return replace(self.search_settings, weights=RankingWeights.read(fitted))

    def _coarse_of(
        self, store: Store, path: Path | None, vectors: Store | LaneStore
    ) -> CoarseIndex:
        """The committed coarse file, or one made from the page vectors where there is none."""
        record = vectors.record if isinstance(vectors, LaneStore) else store.manifest
        dim = record.dim
        if path is not None:
            return CoarseIndex.read(path)
        if not len(store.pages):
            empty = (np.zeros(0, np.int64), np.zeros((0, dim), np.float32))
            return CoarseIndex.build([empty], dim, "flat")
        try:
            wanted = self._settings.coarse_of(store.manifest)
            kind = trainable(wanted, record.counts["page_vectors"])
            return CoarseIndex.build(vectors.page_vectors, dim, kind)
        except ValueError as error:
            raise StorageError(f"the page vectors of {self.path} cannot be indexed") from error


def repair_index(path: str | Path) -> list[str]:
    """``Index.repair`` for an index too damaged to open."""
    root = Path(path)

    def rebuild(vectors: VectorBatches, file: Path) -> None:
        # Which type it was is known only when the manifest is mended.
        coarse_builder(BuildSettings().coarse_of(read_manifest(root)))(vectors, file)

    return repair(root, rebuild)

"""The one writer of an index: add, remove, commit.

Nothing a writer does is visible before ``commit`` replaces the manifest. Until then its rows
are newer Lance versions that no manifest names, and its files are garbage that the next
writer sweeps away, whether this one ended by an exception or by a power cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval import lexical
from retrieval.errors import InputError, StorageError
from retrieval.faults import fault_point
from retrieval.lock import WriterLock
from retrieval.manifest import (
    MANIFEST_NAME,
    FileRecord,
    LaneRecord,
    Manifest,
    read_manifest,
)
from retrieval.store_commit import (
    FIRST,
    CoarseBuilder,
    publish,
    sweep_unused,
    write_coarse,
)
from retrieval.store_create import (
    CreateSpec,
    adopt_orphan,
    check_same_encoder,
    refuse_foreign_folder,
    unborn,
)
from retrieval.store_files import check_files
from retrieval.store_lance import (
    LANCE,
    REMEDY,
    connect,
    lance_errors,
)
from retrieval.store_lanes import check_lane_name, encode_lane
from retrieval.store_multivectors import Multivectors, read_directory
from retrieval.store_reader import read_documents
from retrieval.store_rows import DocumentRow, LaneRow, PageDirectory, PageRecord, PageRow
from retrieval.store_schema import (
    LANE_PREFIX,
    clean_metadata,
    clean_text,
    decode_content,
    document_to_row,
    encode_document,
    encode_page,
    encode_text,
    schema_of,
    schemas_of,
    stored_compression,
)
from retrieval.store_signs import update_signs
from retrieval.types import DocumentInfo, FloatArray, MetadataValue

# A flush makes one Lance fragment: large enough to keep fragments few, small enough that a
# build's memory does not depend on the size of a document.
FLUSH_BYTES = 64 << 20
FLUSH_PAGES = 4096
_NEVER = timedelta(days=36500)


class StoreWriter:
    """Open with ``StoreWriter.open``; a context manager that releases the lock.

    Leaving the block without ``commit`` discards what was added since the last one.
    """

    def __init__(self, root: Path, lock: WriterLock, manifest: Manifest) -> None:
        self._root = root
        self._lock = lock
        self._manifest = manifest
        for name in (manifest.compression, *(lane.compression for lane in manifest.lanes.values())):
            stored_compression(name)  # that of a later version is named at once
        self._open = True
        self._failed = False
        self._documents: dict[int, DocumentRow] = {}
        self._skipped = {s: (h, r) for s, h, r in manifest.skipped}
        self._next_page_id = manifest.next_page_id
        self._next_doc_id = manifest.next_doc_id
        # Not yet in Lance:
        self._new_documents: dict[int, DocumentRow] = {}
        self._updated: dict[int, DocumentRow] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._buffered = 0
        self._removed: set[int] = set()
        # Since the last commit:
        self._flushed: set[int] = set()
        self._dirty = self._grown = self._shrunk = self._compacted = False
        self._text_changed = self._context_changed = not manifest.generation
        self._tables: dict[str, Any] = {}
        self._begin()

    @classmethod
    def open(cls, root: Path, *, create: CreateSpec | None = None) -> StoreWriter:
        """Take the lock and roll back whatever a dead writer left.

        With ``create``, an index is begun where there is none (it exists from the first
        commit on), and an existing one must match it. Raises ``StorageError`` if another
        writer is at work, if there is no index to open, or if it is of another encoder.
        """
        if create is not None:
            refuse_foreign_folder(root)
            root.mkdir(parents=True, exist_ok=True)
        elif not (root / MANIFEST_NAME).exists():
            read_manifest(root)
        lock = WriterLock(root).acquire()
        try:
            if create is not None and not adopt_orphan(root):
                manifest = unborn(create)
            else:
                manifest = read_manifest(root)
                if create is not None:
                    check_same_encoder(root, manifest, create)
            return cls(root, lock, manifest)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the last commit; generation 0 before the first."""
        return self._manifest

    @property
    def documents(self) -> Mapping[int, DocumentRow]:
        """Every document that the next commit would contain, by id."""
        return self._documents

    @property
    def skipped(self) -> Mapping[str, tuple[str, str]]:
        """Sources recorded as unusable: source -> (sha256, reason)."""
        return self._skipped

    def known_sources(self) -> dict[str, int]:
        """sha256 of every indexed source -> its doc id: what a resumed build leaves out."""
        return {document.sha256: doc_id for doc_id, document in self._documents.items()}

    def add_document(self, info: DocumentInfo, context: str, pages: Iterable[PageRow]) -> int:
        """Store a document, taking ``pages`` one by one; returns its id.

        ``context`` is what the document says about itself (title, file name, first page): the
        document-level BM25 searches it. If ``pages`` raises, the document leaves no trace.
        """
        self._must_be_open()
        doc_id = self._next_doc_id
        self._next_doc_id += 1
        count = 0
        flags: Counter[str] = Counter()
        try:
            for row in pages:
                self._add_page(doc_id, row)
                flags.update(row.content.flags)
                count += 1
        except BaseException:
            self._discard_pages(doc_id)
            raise
        document = encode_document(doc_id, info, count, context, flags)
        self._documents[doc_id] = document
        self._new_documents[doc_id] = document
        self._skipped.pop(info.source, None)
        self._dirty = self._grown = True
        return doc_id

    def _add_page(self, doc_id: int, row: PageRow) -> None:
        manifest = self._manifest
        if row.lanes.keys() != manifest.lanes.keys():
            raise ValueError(
                f"lanes are {sorted(row.lanes)}, the index has {sorted(manifest.lanes)}"
            )
        page_id, number = self._next_page_id, row.content.number
        # What is encoded before the first row is kept cannot leave half a page behind.
        rows = {"pages": encode_page(page_id, doc_id, row, _dtype_of(row, manifest))}
        for name, lane in row.lanes.items():
            rows[LANE_PREFIX + name] = self._lane_row(name, page_id, doc_id, number, lane)
        rows["texts"] = encode_text(page_id, doc_id, row.bm25_text)
        self._next_page_id += 1
        for table, encoded in rows.items():
            self._buffer(table, encoded)
        if self._is_full():
            self._flush()

    def _lane_row(
        self, lane: str, page_id: int, doc_id: int, number: int, row: LaneRow
    ) -> dict[str, Any]:
        dtype = _dtype_of(row, self._manifest.lanes[lane])
        return encode_lane(page_id, doc_id, number, row, dtype)

    def _buffer(self, table: str, row: dict[str, Any]) -> None:
        self._rows.setdefault(table, []).append(row)
        self._buffered += sum(len(value) for value in row.values() if isinstance(value, bytes))

    def _is_full(self) -> bool:
        longest = max(map(len, self._rows.values()), default=0)
        return self._buffered >= FLUSH_BYTES or longest >= FLUSH_PAGES

    def _discard_pages(self, doc_id: int) -> None:
        for table, rows in self._rows.items():
            self._rows[table] = [row for row in rows if row["doc_id"] != doc_id]
        if doc_id in self._flushed:
            self._removed.add(doc_id)

    def remove_document(self, doc_id: int) -> None:
        """Take a document and its pages out. Raises ``StorageError`` for an unknown id."""
        self._must_be_open()
        if self._documents.pop(doc_id, None) is None:
            raise StorageError(
                f"document {doc_id} is not in the index {self._root}; "
                "`folioscope index status` lists the documents"
            )
        if self._new_documents.pop(doc_id, None) is not None:
            self._discard_pages(doc_id)
        else:
            self._removed.add(doc_id)
        self._dirty = self._shrunk = True

    def update_document(
        self,
        doc_id: int,
        *,
        source: str,
        metadata: Mapping[str, MetadataValue],
        context: str,
    ) -> None:
        """Change what is known of a document whose content stays. Its pages are not touched."""
        self._must_be_open()
        changed = replace(
            self._documents[doc_id],
            source=clean_text(source),
            metadata=clean_metadata(metadata),
            context=clean_text(context),
        )
        self._documents[doc_id] = changed
        pending = self._new_documents if doc_id in self._new_documents else self._updated
        pending[doc_id] = changed
        self._skipped.pop(changed.source, None)
        self._dirty = True

    def add_lane(self, name: str, spec: CreateSpec, rows: Iterable[tuple[int, LaneRow]]) -> None:
        """Give every page a further encoder's vectors; ``rows`` are (page id, row), each once.

        The lane exists from the next commit on, or not at all. Raises ``InputError`` for a name
        that is taken or cannot be one, ``StorageError`` if a page is left out.
        """
        self._must_be_open()
        if check_lane_name(name) in self._manifest.lanes:
            raise InputError(
                f"the index {self._root} has a lane '{name}' already; give the new one another name"
            )
        pages = self.pages()
        table = LANE_PREFIX + name
        with self._lance():
            # The generation before may hold a lane of this name that was taken out since.
            self._tables[table] = connect(self._root).create_table(
                table, schema=schema_of(table), mode="overwrite"
            )
        lanes = {**self._manifest.lanes, name: spec.lane()}
        self._manifest = replace(self._manifest, lanes=lanes)
        count = 0
        for page_id, row in rows:
            (at,) = pages.offsets_of(np.array([page_id], np.int64)).tolist()
            number, doc_id = int(pages.numbers[at]), int(pages.doc_ids[at])
            self._buffer(table, self._lane_row(name, page_id, doc_id, number, row))
            count += 1
            if self._is_full():
                self._flush()
        self._flush()
        if count != len(pages):
            raise StorageError(
                f"{count} of the {len(pages)} pages of {self._root} came with vectors for the lane "
                f"'{name}'; nothing was committed"
            )
        self._dirty = True

    def drop_lane(self, name: str) -> None:
        """Take a lane out, at the next commit. Raises ``InputError`` if there is none."""
        self._must_be_open()
        lanes = dict(self._manifest.lanes)
        if lanes.pop(name, None) is None:
            raise InputError(
                f"the index {self._root} has no lane '{name}', only {sorted(lanes) or 'its first'}"
            )
        self._flush()
        del self._tables[LANE_PREFIX + name]
        self._manifest = replace(self._manifest, lanes=lanes)
        self._dirty = True

    def pages(self) -> PageDirectory:
        """Every page that the next commit would contain."""
        self._flush()
        self._apply_deletes()
        with self._lance():
            return read_directory(self._tables["pages"])

    def first_pages(self, doc_id: int, count: int) -> list[PageRecord]:
        """The first pages of a document, in order."""
        # Rows of other tables stay buffered: asked once a document, a flush would make each of
        # them a fragment of its own.
        if self._rows.get("pages"):
            self._flush()
        with self._lance():
            found = (
                self._tables["pages"]
                .search()
                .where(f"doc_id = {doc_id} AND number < {count}")
                .select(["page_id", "doc_id", "number", "content"])
                .to_arrow()
            )
        records = [
            decode_content(row["page_id"], row["doc_id"], row["number"], row["content"])
            for row in found.to_pylist()
        ]
        return sorted(records, key=lambda record: record.number)

    def record_skip(self, source: str, sha256: str, reason: str) -> None:
        """Remember that a source could not be indexed, and why."""
        self._must_be_open()
        said = (sha256, clean_text(reason))
        # A build that fails on the same files again has changed nothing.
        if self._skipped.get(clean_text(source)) != said:
            self._skipped[clean_text(source)] = said
            self._dirty = True

    def clear_skip(self, source: str | None = None) -> None:
        """Forget one skipped source, or all of them."""
        self._must_be_open()
        before = len(self._skipped)
        if source is None:
            self._skipped.clear()
        else:
            self._skipped.pop(clean_text(source), None)
        self._dirty |= len(self._skipped) < before

    def compact(self) -> None:
        """Rewrite the tables without their deleted rows, at the next commit."""
        self._must_be_open()
        self._flush()
        self._apply_deletes()
        with self._whole(), self._lance():
            for table in self._tables.values():
                table.optimize(cleanup_older_than=_NEVER)
                # The version that a rewrite makes still names the files that it replaced, so
                # they would be kept with it; the one after it does not.
                table.delete("doc_id = -1")
        fault_point("compacted")
        self._dirty = self._compacted = True

    def page_vectors(self, lane: str = FIRST) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """The pooled vectors that the next commit would contain, in batches of pages."""
        self._flush()
        self._apply_deletes()
        return self._multivectors(lane).page_vectors()

    def _multivectors(self, lane: str) -> Multivectors:
        record = self._manifest.lanes[lane] if lane else self._manifest
        table = LANE_PREFIX + lane if lane else "pages"
        return Multivectors.open(self._root, table, self._tables[table], record)

    def commit(
        self,
        coarse: CoarseBuilder | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        keep_coarse: bool = False,
        only: Collection[str] | None = None,
    ) -> Manifest:
        """Make everything since the last commit visible, atomically, as the next generation.

        ``coarse(vectors, path)`` writes the coarse index over all live page vectors of one
        encoder to ``path``; it is called for each, or for the lanes in ``only``, when the files
        of the others still hold. Without it the new generation has no coarse file, unless nothing
        was added or removed, or ``keep_coarse`` says that the old file will do (only removals
        since; its searcher must then ignore dead pages). ``settings`` replaces the manifest's.
        With nothing to commit the current manifest is returned.
        """
        self._must_be_open()
        if keep_coarse and self._grown:
            raise ValueError("pages were added: the old coarse file does not cover them")
        unchanged = not self._dirty and coarse is None and settings is None
        if unchanged and self._manifest.generation:
            return self._manifest
        with self._whole():
            return self._commit(coarse, settings, keep_coarse, only)

    def _commit(
        self,
        coarse: CoarseBuilder | None,
        settings: Mapping[str, Any] | None,
        keep_coarse: bool,
        only: Collection[str] | None,
    ) -> Manifest:
        self._flush()
        self._write_documents()
        self._apply_deletes()
        self._index_text()
        generation = self._manifest.generation + 1
        files = self._write_coarse(coarse, generation, keep_coarse, only)
        signs = self._write_signs(generation, coarse is not None)
        self._manifest = publish(
            self._root,
            replace(
                self._manifest,
                generation=generation,
                settings=dict(settings) if settings is not None else self._manifest.settings,
                next_page_id=self._next_page_id,
                next_doc_id=self._next_doc_id,
                skipped=tuple((s, h, r) for s, (h, r) in sorted(self._skipped.items())),
            ),
            self._tables,
            self._documents,
            files,
            signs,
        )
        fault_point("sweeping")
        sweep_unused(self._root)
        fault_point("swept")
        self._dirty = self._grown = self._shrunk = self._compacted = False
        self._flushed.clear()
        return self._manifest

    def abort(self) -> None:
        """Discard what was not committed and release the lock. Harmless when closed."""
        if self._open:
            self._open = False
            try:
                self._tables = {}
                sweep_unused(self._root)
            finally:
                self._lock.release()

    def _begin(self) -> None:
        born = self._manifest.generation > 0
        check_files(self._root, self._manifest)
        sweep_unused(self._root)
        fault_point("writer-opened")
        with self._lance():
            db = connect(self._root)
            for name, schema in schemas_of(self._manifest.lanes).items():
                self._tables[name] = (
                    db.open_table(name) if born else db.create_table(name, schema=schema)
                )
            if born:
                self._check_versions()
                self._documents = read_documents(self._tables["documents"])

    def _check_versions(self) -> None:
        for name, table in self._tables.items():
            wanted = self._manifest.lance_versions[name]
            if int(table.version) != wanted:
                raise StorageError(
                    f"{self._root / LANCE / name}.lance is at version {table.version}, the "
                    f"manifest says {wanted}; run `folioscope index repair`"
                )

    def _flush(self) -> None:
        self._must_be_open()
        rows, self._rows = {name: rows for name, rows in self._rows.items() if rows}, {}
        self._buffered = 0
        if not rows:
            return
        with self._whole():
            fault_point("pages-flushing")
            self._flushed.update(row["doc_id"] for row in rows.get("pages", ()))
            for name, buffered in rows.items():
                with self._lance():
                    self._tables[name].add(pa.Table.from_pylist(buffered, schema=schema_of(name)))
                fault_point("pages-flushed" if name == "pages" else "table-flushed")
            self._text_changed |= "texts" in rows

    def _write_documents(self) -> None:
        updated = {i: row for i, row in self._updated.items() if i in self._documents}
        written = [*self._new_documents.values(), *updated.values()]
        if written:
            rows = [document_to_row(document) for document in written]
            with self._lance():
                self._delete_rows(("documents",), sorted(updated))
                self._tables["documents"].add(
                    pa.Table.from_pylist(rows, schema=schema_of("documents"))
                )
            self._new_documents, self._updated = {}, {}
            self._context_changed = True
        fault_point("documents-flushed")

    def _apply_deletes(self) -> None:
        doc_ids = sorted(self._removed)
        self._removed = set()
        with self._whole(), self._lance():
            self._delete_rows(tuple(self._tables), doc_ids)
        fault_point("deletes-applied")

    def _delete_rows(self, tables: Sequence[str], doc_ids: Sequence[int]) -> None:
        for start in range(0, len(doc_ids), 1000):
            listed = ", ".join(str(doc_id) for doc_id in doc_ids[start : start + 1000])
            for name in tables:
                self._tables[name].delete(f"doc_id IN ({listed})")

    def _index_text(self) -> None:
        anew = self._compacted
        with self._lance():
            if self._text_changed or anew:
                lexical.index_text(self._tables["texts"], "text", anew=anew)
            if self._context_changed or anew:
                lexical.index_text(self._tables["documents"], "context", anew=anew)
        self._text_changed = self._context_changed = False
        fault_point("text-indexed")

    def _write_coarse(
        self,
        coarse: CoarseBuilder | None,
        generation: int,
        keep: bool,
        only: Collection[str] | None,
    ) -> dict[str, tuple[str, FileRecord]]:
        """The coarse files of the next generation by lane: new ones, and old ones that hold."""
        held = {FIRST: self._manifest.coarse_file}
        held |= {name: lane.coarse_file for name, lane in self._manifest.lanes.items()}
        files = {}
        for lane, old in held.items():
            holds = old is not None and (keep or not (self._grown or self._shrunk))
            if coarse is not None and not (holds and only is not None and lane not in only):
                vectors = partial(self.page_vectors, lane)
                files[lane] = write_coarse(self._root, generation, lane, coarse, vectors)
            elif holds and old is not None:
                files[lane] = (old, self._manifest.files[old])
        return files

    def _write_signs(self, generation: int, complete: bool) -> dict[str, dict[str, FileRecord]]:
        """The sign files of the next generation by lane; ``complete`` adds what they lack.

        A commit without a coarse file is one of many of a build: the last of them adds all.
        """
        held: dict[str, tuple[str, ...]] = {FIRST: self._manifest.signs_files}
        held |= {name: lane.signs_files for name, lane in self._manifest.lanes.items()}
        files: dict[str, dict[str, FileRecord]] = {}
        for lane, names in held.items():
            files[lane] = {name: self._manifest.files[name] for name in names}
            if complete:
                vectors, anew = self._multivectors(lane), self._compacted
                files[lane] = update_signs(self._root, generation, lane, vectors, files[lane], anew)
        return files

    def _lance(self) -> Any:
        return lance_errors(self._root / LANCE, REMEDY)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """A step that leaves the writer between two states when it fails.

        Documents may have lost their pages then, or the next generation may be on disk already:
        a second attempt could commit the loss, or write into files of a committed generation.
        So nothing but ``abort`` is possible after it, and a new writer starts from what is there.
        """
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def _must_be_open(self) -> None:
        if not self._open:
            raise StorageError(f"this writer of {self._root} is closed; open a new one")
        if self._failed:
            raise StorageError(
                f"writing to {self._root} failed; what was committed before is safe, and a new "
                "writer goes on from there"
            )


def _dtype_of(row: PageRow | LaneRow, record: Manifest | LaneRecord) -> np.dtype[Any]:
    """The dtype of stored codes. Raises ``ValueError`` if the row's are of another width."""
    compression = stored_compression(record.compression)
    width = compression.width(record.dim)
    if row.codes.shape[1:] != (width,):
        raise ValueError(f"codes are {row.codes.shape}, the index has {width} a vector")
    return compression.dtype

"""The one writer of an index: add, remove, commit.

Nothing a writer does is visible before ``commit`` replaces the manifest. Until then its rows
are newer Lance versions that no manifest names, and its files are garbage that the next
writer sweeps away, whether this one ended by an exception or by a power cut.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval import lexical
from retrieval.errors import StorageError
from retrieval.faults import fault_point
from retrieval.lock import LOCK_NAME, WriterLock
from retrieval.manifest import (
    GENERATIONS,
    MANIFEST_NAME,
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    fsync_folder,
    read_manifest,
    read_manifest_file,
    retire_generations,
    write_manifest,
)
from retrieval.store_lance import (
    COARSE,
    FILE_VERSION,
    LANCE,
    connect,
    lance_errors,
    sweep,
    version_files,
)
from retrieval.store_reader import check_files, iter_page_vectors, read_directory, read_documents
from retrieval.store_schema import (
    TABLES,
    DocumentRow,
    PageRow,
    clean_text,
    code_dtype,
    document_to_row,
    documents_crc,
    encode_document,
    encode_page,
)
from retrieval.types import DocumentInfo, FloatArray

VectorBatches = Iterator[tuple[NDArray[np.int64], FloatArray]]
CoarseBuilder = Callable[[VectorBatches, Path], None]

# A flush makes one Lance fragment: large enough to keep fragments few, small enough that a
# build's memory does not depend on the size of a document.
FLUSH_BYTES = 64 << 20
FLUSH_PAGES = 4096
_REMEDY = "run `folioscope index verify`"
_NEVER = timedelta(days=36500)


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """What is fixed for the life of an index. ``compression`` is "int8" or "float16"."""

    encoder_id: str
    encoder_fingerprint: str
    dim: int
    compression: str = "int8"
    settings: Mapping[str, Any] = field(default_factory=dict)


class StoreWriter:
    """Open with ``StoreWriter.open``; a context manager that releases the lock.

    Leaving the block without ``commit`` discards what was added since the last one.
    """

    def __init__(self, root: Path, lock: WriterLock, manifest: Manifest) -> None:
        self._root = root
        self._lock = lock
        self._manifest = manifest
        self._dtype = code_dtype(manifest.compression)
        self._open = True
        self._begin()

    @classmethod
    def open(cls, root: Path, *, create: CreateSpec | None = None) -> StoreWriter:
        """Take the lock and roll back whatever a dead writer left.

        With ``create``, an index is begun where there is none (it exists from the first
        commit on), and an existing one must match it. Raises ``StorageError`` if another
        writer is at work, if there is no index to open, or if it is of another encoder.
        """
        if create is not None:
            _refuse_foreign_folder(root)
            root.mkdir(parents=True, exist_ok=True)
        elif not (root / MANIFEST_NAME).exists():
            read_manifest(root)
        lock = WriterLock(root).acquire()
        try:
            if create is not None and not _adopt_orphan(root):
                manifest = _unborn(create)
            else:
                manifest = read_manifest(root)
                if create is not None:
                    _check_same_encoder(root, manifest, create)
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
        try:
            for row in pages:
                self._add_page(doc_id, row)
                count += 1
        except BaseException:
            self._discard_pages(doc_id)
            raise
        document = encode_document(doc_id, info, count, context)
        self._documents[doc_id] = document
        self._new_documents[doc_id] = document
        self._skipped.pop(info.source, None)
        self._dirty = self._grown = True
        return doc_id

    def _add_page(self, doc_id: int, row: PageRow) -> None:
        if row.codes.shape[1:] != (self._manifest.dim,):
            raise ValueError(f"codes are {row.codes.shape}, the index has {self._manifest.dim}")
        page_id = self._next_page_id
        self._next_page_id += 1
        encoded = encode_page(page_id, doc_id, row, self._dtype)
        self._pages.append(encoded)
        text = clean_text(row.bm25_text)
        self._texts.append({"page_id": page_id, "doc_id": doc_id, "text": text})
        self._buffered += len(encoded["patches"]) + len(encoded["content"]) + len(text)
        if self._buffered >= FLUSH_BYTES or len(self._pages) >= FLUSH_PAGES:
            self._flush()

    def _discard_pages(self, doc_id: int) -> None:
        self._pages = [row for row in self._pages if row["doc_id"] != doc_id]
        self._texts = [row for row in self._texts if row["doc_id"] != doc_id]
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

    def record_skip(self, source: str, sha256: str, reason: str) -> None:
        """Remember that a source could not be indexed, and why."""
        self._must_be_open()
        self._skipped[clean_text(source)] = (sha256, clean_text(reason))
        self._dirty = True

    def clear_skip(self, source: str | None = None) -> None:
        """Forget one skipped source, or all of them."""
        self._must_be_open()
        if source is None:
            self._skipped.clear()
        else:
            self._skipped.pop(clean_text(source), None)
        self._dirty = True

    def compact(self) -> None:
        """Rewrite the tables without their deleted rows, at the next commit."""
        self._must_be_open()
        self._flush()
        self._apply_deletes()
        with self._lance():
            self._tables["pages"].optimize(cleanup_older_than=_NEVER)
        fault_point("compacted")
        self._dirty = self._text_changed = self._context_changed = True

    def page_vectors(self) -> VectorBatches:
        """The pooled vectors that the next commit would contain, in batches of pages."""
        self._flush()
        self._apply_deletes()
        return iter_page_vectors(self._root, self._tables["pages"], self._manifest.dim)

    def commit(
        self,
        coarse: CoarseBuilder | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        keep_coarse: bool = False,
    ) -> Manifest:
        """Make everything since the last commit visible, atomically, as the next generation.

        ``coarse(vectors, path)`` writes the coarse index over all live page vectors to
        ``path``. Without it the new generation has no coarse file, unless nothing was added
        or removed, or ``keep_coarse`` says that the old file will do (only removals since; its
        searcher must then ignore dead pages). ``settings`` replaces the manifest's. With
        nothing to commit the current manifest is returned.
        """
        self._must_be_open()
        if keep_coarse and self._grown:
            raise ValueError("pages were added: the old coarse file does not cover them")
        unchanged = not self._dirty and coarse is None and settings is None
        if unchanged and self._manifest.generation:
            return self._manifest
        self._flush()
        self._write_documents()
        self._apply_deletes()
        self._index_text()
        generation = self._manifest.generation + 1
        coarse_name, coarse_record = self._write_coarse(coarse, generation, keep_coarse)
        with self._lance():
            versions = {name: int(table.version) for name, table in self._tables.items()}
            directory = read_directory(self._tables["pages"])
        files = self._hash_files(versions)
        if coarse_name is not None and coarse_record is not None:
            files[coarse_name] = coarse_record
        fault_point("files-hashed")
        self._manifest = write_manifest(
            self._root,
            replace(
                self._manifest,
                generation=generation,
                lance_versions=versions,
                coarse_file=coarse_name,
                coarse_sha256=coarse_record.sha256 if coarse_record else None,
                counts={
                    "documents": len(self._documents),
                    "pages": len(directory),
                    "patches": int(directory.n_patches.sum(dtype=np.int64)),
                    "page_vectors": int(directory.n_vectors.sum(dtype=np.int64)),
                    "skipped": len(self._skipped),
                },
                settings=dict(settings) if settings is not None else self._manifest.settings,
                next_page_id=self._next_page_id,
                next_doc_id=self._next_doc_id,
                directory_crc=directory.crc(),
                documents_crc=documents_crc(self._documents),
                files=dict(sorted(files.items())),
                skipped=tuple((s, h, r) for s, (h, r) in sorted(self._skipped.items())),
            ),
        )
        fault_point("sweeping")
        self._sweep()
        fault_point("swept")
        self._dirty = self._grown = self._shrunk = False
        self._flushed.clear()
        return self._manifest

    def abort(self) -> None:
        """Discard what was not committed and release the lock. Harmless when closed."""
        if self._open:
            self._open = False
            try:
                self._tables = {}
                self._sweep()
            finally:
                self._lock.release()

    def _begin(self) -> None:
        check_files(self._root, self._manifest)
        self._sweep()
        fault_point("writer-opened")
        self._tables: dict[str, Any] = {}
        with self._lance():
            db = connect(self._root)
            for name, schema in TABLES.items():
                if self._manifest.generation:
                    self._tables[name] = db.open_table(name)
                else:
                    self._tables[name] = db.create_table(
                        name, schema=schema, data_storage_version=FILE_VERSION
                    )
            self._documents: dict[int, DocumentRow] = {}
            if self._manifest.generation:
                self._check_versions()
                self._documents = read_documents(self._tables["documents"])
        self._new_documents: dict[int, DocumentRow] = {}
        self._skipped = {s: (h, r) for s, h, r in self._manifest.skipped}
        self._next_page_id = self._manifest.next_page_id
        self._next_doc_id = self._manifest.next_doc_id
        self._pages: list[dict[str, Any]] = []
        self._texts: list[dict[str, Any]] = []
        self._buffered = 0
        self._flushed: set[int] = set()
        self._removed: set[int] = set()
        self._dirty = self._grown = self._shrunk = False
        self._text_changed = self._context_changed = not self._manifest.generation

    def _check_versions(self) -> None:
        for name, table in self._tables.items():
            wanted = self._manifest.lance_versions[name]
            if int(table.version) != wanted:
                raise StorageError(
                    f"{self._root / LANCE / name}.lance is at version {table.version}, the "
                    f"manifest says {wanted}; run `folioscope index repair`"
                )

    def _sweep(self) -> None:
        keep = set(self._manifest.files)
        generation = self._manifest.generation
        for manifest in retire_generations(self._root, frozenset({generation, generation - 1})):
            if manifest.generation <= generation:
                keep.update(manifest.files)
        sweep(self._root, keep)

    def _flush(self) -> None:
        if not self._pages:
            return
        fault_point("pages-flushing")
        self._flushed.update(row["doc_id"] for row in self._pages)
        pages, self._pages = self._pages, []
        texts, self._texts = self._texts, []
        self._buffered = 0
        with self._lance():
            self._tables["pages"].add(pa.Table.from_pylist(pages, schema=TABLES["pages"]))
            fault_point("pages-flushed")
            self._tables["texts"].add(pa.Table.from_pylist(texts, schema=TABLES["texts"]))
        fault_point("texts-flushed")
        self._text_changed = True

    def _write_documents(self) -> None:
        if self._new_documents:
            rows = [document_to_row(document) for document in self._new_documents.values()]
            with self._lance():
                self._tables["documents"].add(
                    pa.Table.from_pylist(rows, schema=TABLES["documents"])
                )
            self._new_documents = {}
            self._context_changed = True
        fault_point("documents-flushed")

    def _apply_deletes(self) -> None:
        doc_ids = sorted(self._removed)
        self._removed = set()
        with self._lance():
            for start in range(0, len(doc_ids), 1000):
                listed = ", ".join(str(doc_id) for doc_id in doc_ids[start : start + 1000])
                for table in self._tables.values():
                    table.delete(f"doc_id IN ({listed})")
        fault_point("deletes-applied")

    def _index_text(self) -> None:
        with self._lance():
            if self._text_changed:
                lexical.index_text(self._tables["texts"], "text")
            if self._context_changed:
                lexical.index_text(self._tables["documents"], "context")
        self._text_changed = self._context_changed = False
        fault_point("text-indexed")

    def _write_coarse(
        self, coarse: CoarseBuilder | None, generation: int, keep: bool
    ) -> tuple[str | None, FileRecord | None]:
        old = self._manifest.coarse_file
        if coarse is None:
            if old is not None and (keep or not (self._grown or self._shrunk)):
                return old, self._manifest.files[old]
            return None, None
        folder = self._root / COARSE
        folder.mkdir(exist_ok=True)
        final = folder / f"{generation}.faiss"
        temporary = folder / f"{generation}.faiss.tmp"
        coarse(self.page_vectors(), temporary)
        fault_point("coarse-unfinished")
        record = _hash_durably(temporary)
        fault_point("coarse-written")
        temporary.replace(final)
        fsync_folder(folder)
        fault_point("coarse-renamed")
        return final.relative_to(self._root).as_posix(), record

    def _hash_files(self, versions: Mapping[str, int]) -> dict[str, FileRecord]:
        """Records of every file of these versions; the new ones are forced to disk."""
        records: dict[str, FileRecord] = {}
        folders: set[Path] = set()
        for name, version in versions.items():
            files = version_files(self._root, name, version)
            self._check_recognised(name, version, files)
            for path in files:
                relative = path.relative_to(self._root).as_posix()
                known = self._manifest.files.get(relative)
                records[relative] = known or _hash_durably(path)
                if known is None:
                    folders.update(p for p in path.parents if p.is_relative_to(self._root))
        for folder in sorted(folders):
            fsync_folder(folder)
        return records

    def _check_recognised(self, table: str, version: int, files: list[Path]) -> None:
        # Were a file overlooked, the sweep would delete live data; Lance's own counts tell.
        with self._lance():
            entries = self._tables[table].list_versions()
        said = next(e["metadata"] for e in entries if e["version"] == version)
        kinds = [path.relative_to(self._root).parts[2] for path in files]
        for kind, key in (("data", "total_data_files"), ("_deletions", "total_deletion_files")):
            if kinds.count(kind) < int(said[key]):
                raise StorageError(
                    f"table '{table}' has {said[key]} files under {kind}, only "
                    f"{kinds.count(kind)} were recognised: this LanceDB writes another format "
                    "than Folioscope knows; install the version its requirements name"
                )

    def _lance(self) -> Any:
        return lance_errors(self._root / LANCE, _REMEDY)

    def _must_be_open(self) -> None:
        if not self._open:
            raise StorageError(f"this writer of {self._root} is closed; open a new one")


def _hash_durably(path: Path) -> FileRecord:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(file.tell(), digest)


def _unborn(create: CreateSpec) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        generation=0,
        lance_versions={},
        coarse_file=None,
        coarse_sha256=None,
        encoder_id=create.encoder_id,
        encoder_fingerprint=create.encoder_fingerprint,
        dim=create.dim,
        compression=create.compression,
        counts={"documents": 0, "pages": 0, "patches": 0, "page_vectors": 0, "skipped": 0},
        settings=dict(create.settings),
    )


def _check_same_encoder(root: Path, manifest: Manifest, create: CreateSpec) -> None:
    for what in ("encoder_id", "encoder_fingerprint", "dim", "compression"):
        has, wanted = getattr(manifest, what), getattr(create, what)
        if has != wanted:
            raise StorageError(
                f"the index {root} was built with {what} {has}, not {wanted}; use the encoder "
                "and settings it was built with, or build a new index in another folder"
            )


def _adopt_orphan(root: Path) -> bool:
    """Whether ``root`` has a manifest, after making the newest generation's copy the manifest
    where none is: a first commit died between the two, or somebody deleted it. To begin
    anew instead would sweep away a whole index."""
    if (root / MANIFEST_NAME).exists():
        return True
    copies = sorted((root / GENERATIONS).glob("*.json"), key=lambda path: path.stem.zfill(20))
    for path in reversed(copies):
        write_manifest(root, read_manifest_file(path))
        return True
    return False


def _refuse_foreign_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise StorageError(f"{root} is a file; name a folder for the index")
    if not root.exists() or (root / MANIFEST_NAME).exists():
        return
    ours = {LOCK_NAME, LANCE, COARSE, GENERATIONS, MANIFEST_NAME + ".tmp"}
    foreign = sorted({path.name for path in root.iterdir()} - ours)
    if foreign:
        raise StorageError(
            f"{root} is not empty and is not an index (it holds {foreign[0]}); "
            "name an empty or new folder"
        )

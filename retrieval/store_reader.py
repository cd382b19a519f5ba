"""The reader of an index: one generation, for as long as it is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval import lexical
from retrieval.errors import StorageError
from retrieval.manifest import (
    MANIFEST_NAME,
    GenerationLease,
    Manifest,
    generation_path,
    read_manifest,
)
from retrieval.store_files import check_files
from retrieval.store_filter import select
from retrieval.store_lance import LANCE, REMEDY, connect, lance_errors
from retrieval.store_schema import (
    DIRECTORY_COLUMNS,
    TABLES,
    DocumentRow,
    PageDirectory,
    PageRecord,
    RaggedPatches,
    content_crc,
    crc,
    decode_content,
    documents_crc,
    documents_from_arrow,
    stored_compression,
)
from retrieval.types import FloatArray

_VECTOR_BATCH = 4096


class Store:
    """Open with ``Store.open``; a context manager. Safe to share between threads that read.

    A reader holds a lease on its generation: however many commits and compactions follow, its
    files stay until it closes. Every row that is fetched is checked against its CRC.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        lease: GenerationLease,
        tables: Mapping[str, Any],
        pages: PageDirectory,
        documents: Mapping[int, DocumentRow],
    ) -> None:
        self._root = root
        self._manifest = manifest
        self._lease = lease
        self._tables = tables
        self._pages = pages
        self._documents = documents
        self.compression = stored_compression(manifest.compression)

    @classmethod
    def open(cls, root: Path) -> Store:
        """The current generation. Raises ``StorageError`` naming a missing or altered file."""
        manifest, lease = _pin(root)
        try:
            check_files(root, manifest)
            with lance_errors(root / LANCE, REMEDY):
                db = connect(root)
                tables = {
                    name: db.open_table(name, version=manifest.lance_versions[name])
                    for name in TABLES
                }
                pages = read_directory(tables["pages"])
                documents = read_documents(tables["documents"])
            _check_columns(root, manifest, pages, documents)
        except BaseException:
            lease.close()
            raise
        return cls(root, manifest, lease, tables, pages, documents)

    def close(self) -> None:
        """Give up the generation; its files may go once the next commit supersedes them."""
        self._tables = {}
        self._lease.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """The index folder."""
        return self._root

    @property
    def manifest(self) -> Manifest:
        """The generation this reader is pinned to."""
        return self._manifest

    @property
    def pages(self) -> PageDirectory:
        """Every live page by row offset."""
        return self._pages

    @property
    def documents(self) -> Mapping[int, DocumentRow]:
        """Every live document by id."""
        return self._documents

    @property
    def coarse_path(self) -> Path | None:
        """The coarse index file of this generation, or None: rebuild it from ``page_vectors``.

        Its bytes were checked against the manifest when the store was opened.
        """
        name = self._manifest.coarse_file
        return None if name is None else self._root / name

    def fetch_patches(self, offsets: NDArray[np.int64]) -> RaggedPatches:
        """The multivectors of the pages at ``offsets`` ``[k]``, in the order asked."""
        columns = ["page_id", "scale", "patches", "patches_crc"]
        rows, back = self._take(offsets, columns)
        width, dtype = self.compression.width(self._manifest.dim), self.compression.dtype
        blobs: list[memoryview] = []
        scales = rows["scale"].to_numpy().astype(np.float32)
        for i, blob in enumerate(_blobs(rows["patches"])):
            page_id = rows["page_id"][i].as_py()
            if crc(page_id, blob, scales[i].tobytes()) != rows["patches_crc"][i].as_py():
                raise _damaged_page(self._root, page_id)
            blobs.append(blob)
        counts = self._pages.n_patches[offsets].astype(np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        codes = np.empty((int(starts[-1]), width), dtype)
        for i, row in enumerate(back):
            codes[starts[i] : starts[i + 1]] = np.frombuffer(blobs[row], dtype).reshape(-1, width)
        return RaggedPatches(codes, starts, scales[back])

    def fetch_boxes_and_words(self, offsets: NDArray[np.int64]) -> list[PageRecord]:
        """What is shown of the pages at ``offsets`` ``[k]``, in the order asked."""
        plain = ["page_id", "doc_id", "number", "content_crc", "n_patches", "n_vectors"]
        rows, back = self._take(offsets, [*plain, "content"])
        records: list[PageRecord] = []
        for i, blob in enumerate(_blobs(rows["content"])):
            page_id, doc_id, number, said, n_patches, n_vectors = (
                rows[name][i].as_py() for name in plain
            )
            if said != content_crc(page_id, doc_id, number, n_patches, n_vectors, blob):
                raise _damaged_page(self._root, page_id)
            records.append(decode_content(page_id, doc_id, number, bytes(blob)))
        return [records[row] for row in back]

    def scan_patches(
        self, batch_pages: int = 256
    ) -> Iterator[tuple[NDArray[np.int64], RaggedPatches]]:
        """Every page's multivectors, ``batch_pages`` pages at a time, in row order."""
        for start in range(0, len(self._pages), batch_pages):
            offsets = np.arange(start, min(start + batch_pages, len(self._pages)), dtype=np.int64)
            yield offsets, self.fetch_patches(offsets)

    def page_vectors(self) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Pooled vectors: (page id of each vector ``[m] int64``, ``[m, d] float32``)."""
        return iter_page_vectors(self._root, self._tables["pages"], self._manifest.dim)

    def bm25_pages(
        self, text: str, k: int, doc_ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """The ``k`` best pages for ``text``: row offsets ``[<=k] int64`` and BM25 scores.

        ``doc_ids`` restricts the pages before the cut.
        """
        with self._lance():
            page_ids, scores = lexical.search_text(
                self._tables["texts"], "text", "page_id", text, k, doc_ids
            )
        offsets = self._pages.offsets_of(page_ids)
        if np.any(offsets < 0):
            raise StorageError(
                f"the text index of {self._root} names pages that do not exist; {REMEDY}"
            )
        return offsets, scores

    def bm25_documents(
        self, text: str, k: int, doc_ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """The ``k`` documents whose context matches ``text`` best: ids and BM25 scores."""
        with self._lance():
            return lexical.search_text(
                self._tables["documents"], "context", "doc_id", text, k, doc_ids
            )

    def select_documents(self, filter: str) -> NDArray[np.int64]:
        """Ids, ascending, of the documents that the SQL condition ``filter`` holds for.

        Raises ``InputError`` that names the known columns if it cannot be understood.
        """
        return select(self._documents, filter)

    def _take(
        self, offsets: NDArray[np.int64], columns: list[str]
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """Rows at the distinct offsets, ascending, and for each offset asked its row there."""
        wanted, back = np.unique(np.asarray(offsets, np.int64), return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self._pages):
            raise IndexError(f"row offsets must lie in [0, {len(self._pages)})")
        if len(wanted) == 0:
            empty = pa.schema([TABLES["pages"].field(name) for name in columns]).empty_table()
            return empty, back
        with self._lance():
            rows = take(self._tables["pages"], self._pages.row_ids[wanted], columns)
        if not np.array_equal(rows["page_id"].to_numpy(), self._pages.page_ids[wanted]):
            raise StorageError(
                f"{self._root / LANCE / 'pages.lance'} returned other pages than asked; {REMEDY}"
            )
        return rows, back

    def _lance(self) -> Any:
        if not self._tables:
            raise StorageError(f"this reader of {self._root} is closed; open a new one")
        return lance_errors(self._root / LANCE, REMEDY)


def _damaged_page(root: Path, page_id: int) -> StorageError:
    return StorageError(
        f"page {page_id} in {root / LANCE / 'pages.lance'} does not match its checksum; {REMEDY}"
    )


def _pin(root: Path) -> tuple[Manifest, GenerationLease]:
    """The current manifest and a lease on it; a commit in between means trying again."""
    for _ in range(20):
        manifest = read_manifest(root)
        lease = GenerationLease.take(root, manifest.generation)
        if lease is not None:
            return manifest, lease
    raise StorageError(
        f"{generation_path(root, manifest.generation)} is missing or unreadable although "
        f"{root / MANIFEST_NAME} names it; run `folioscope index repair`"
    )


def _check_columns(
    root: Path, manifest: Manifest, pages: PageDirectory, documents: Mapping[int, DocumentRow]
) -> None:
    for table, found, expected in (
        ("pages", pages.crc(), manifest.directory_crc),
        ("documents", documents_crc(documents), manifest.documents_crc),
    ):
        if found != expected:
            raise StorageError(
                f"{root / LANCE / table}.lance does not hold what was committed; {REMEDY}"
            )


def take(table: Any, row_ids: NDArray[np.uint64], columns: list[str]) -> pa.Table:
    """The rows of ``row_ids`` ``[k]`` (distinct), in the order asked.

    By row id, not by offset: Lance finds the n-th live row by counting deleted ones, which
    made a take of 100 rows 12 times slower once a table had deletions. Sorted ids are read
    2-4 times faster than unsorted.
    """
    order = np.argsort(row_ids)
    rows = table.take_row_ids(row_ids[order].tolist()).select(columns).to_arrow()
    if len(rows) != len(row_ids):
        raise StorageError(f"{len(row_ids)} rows were asked for, {len(rows)} came; {REMEDY}")
    if np.array_equal(order, np.arange(len(order))):
        return rows
    return rows.take(np.argsort(order))


def read_directory(table: Any) -> PageDirectory:
    """Which page lies where in this version of the ``pages`` table."""
    columns = list(DIRECTORY_COLUMNS)
    return PageDirectory.from_arrow(table.search().select(columns).with_row_id(True).to_arrow())


def read_documents(table: Any) -> dict[int, DocumentRow]:
    """Every document in this version of the ``documents`` table."""
    columns = [name for name in TABLES["documents"].names if name != "row_crc"]
    return documents_from_arrow(table.search().select(columns).to_arrow())


def iter_page_vectors(
    root: Path, table: Any, dim: int
) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    """Pooled vectors of every page in this version of the ``pages`` table, in batches."""
    with lance_errors(root / LANCE, REMEDY):
        row_ids = read_directory(table).row_ids
    for start in range(0, len(row_ids), _VECTOR_BATCH):
        wanted = row_ids[start : start + _VECTOR_BATCH]
        with lance_errors(root / LANCE, REMEDY):
            rows = take(table, wanted, ["page_id", "vectors", "vectors_crc"])
        page_ids = rows["page_id"].to_numpy()
        parts: list[NDArray[np.float16]] = []
        for i, blob in enumerate(_blobs(rows["vectors"])):
            if crc(int(page_ids[i]), blob) != rows["vectors_crc"][i].as_py():
                raise _damaged_page(root, int(page_ids[i]))
            parts.append(np.frombuffer(blob, np.float16).reshape(-1, dim))
        counts = [len(part) for part in parts]
        yield np.repeat(page_ids, counts), np.concatenate(parts).astype(np.float32)


def _blobs(column: pa.ChunkedArray) -> Iterator[memoryview]:
    """The values of a LargeBinary column, without a copy each."""
    for chunk in column.chunks:
        for value in chunk:
            yield memoryview(value.as_buffer())

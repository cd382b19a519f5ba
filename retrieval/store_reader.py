"""The reader of an index: one generation, for as long as it is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import lexical
from retrieval.errors import StorageError
from retrieval.manifest import (
    MANIFEST_NAME,
    GenerationLease,
    Manifest,
    generation_path,
    pin_current,
)
from retrieval.signs import Signs
from retrieval.store_files import check_files
from retrieval.store_filter import select
from retrieval.store_lance import LANCE, REMEDY, connect, lance_errors
from retrieval.store_lanes import LaneStore, open_lanes
from retrieval.store_multivectors import Multivectors, blobs
from retrieval.store_rows import DocumentRow, PageDirectory, PageRecord, RaggedPatches
from retrieval.store_schema import (
    TABLES,
    content_crc,
    decode_content,
    documents_crc,
    documents_from_arrow,
    schemas_of,
    stored_compression,
)
from retrieval.types import FloatArray


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
        multivectors: Multivectors,
        lanes: Mapping[str, LaneStore],
        documents: Mapping[int, DocumentRow],
    ) -> None:
        self._root = root
        self._manifest = manifest
        self._lease = lease
        self._tables = tables
        self._multivectors = multivectors
        self._lanes = lanes
        self._documents = documents
        self.compression = stored_compression(manifest.compression)
        self.signs = Signs.open([root / file for file in manifest.signs_files], manifest.dim)

    @classmethod
    def open(cls, root: Path) -> Store:
        """The current generation. Raises ``StorageError`` naming a missing or altered file."""
        manifest, lease = pin_current(root)
        if lease is None:
            raise StorageError(
                f"{generation_path(root, manifest.generation)} is missing or unreadable although "
                f"{root / MANIFEST_NAME} names it; run `folioscope index repair`"
            )
        try:
            check_files(root, manifest)
            with lance_errors(root / LANCE, REMEDY):
                db = connect(root)
                tables = {
                    name: db.open_table(name, version=manifest.lance_versions[name])
                    for name in schemas_of(manifest.lanes)
                }
                documents = read_documents(tables["documents"])
            multivectors = Multivectors.open(root, "pages", tables["pages"], manifest)
            _check_columns(root, manifest, multivectors.pages, documents)
            lanes = open_lanes(root, manifest, tables, multivectors.pages)
        except BaseException:
            lease.close()
            raise
        return cls(root, manifest, lease, tables, multivectors, lanes, documents)

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
        return self._multivectors.pages

    @property
    def n_patches(self) -> NDArray[np.int32]:
        """Patches of every page for the first encoder, by offset."""
        return self.pages.n_patches

    @property
    def lanes(self) -> Mapping[str, LaneStore]:
        """The encoders beside the first, by name."""
        return self._lanes

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
        return self._open_multivectors().fetch(offsets)

    def fetch_boxes_and_words(self, offsets: NDArray[np.int64]) -> list[PageRecord]:
        """What is shown of the pages at ``offsets`` ``[k]``, in the order asked."""
        plain = ["page_id", "doc_id", "number", "content_crc", "n_patches", "n_vectors"]
        rows, back = self._open_multivectors().take(offsets, [*plain, "content"])
        records: list[PageRecord] = []
        for i, blob in enumerate(blobs(rows["content"])):
            page_id, doc_id, number, said, n_patches, n_vectors = (
                rows[name][i].as_py() for name in plain
            )
            if said != content_crc(page_id, doc_id, number, n_patches, n_vectors, blob):
                raise self._multivectors.damaged_page(page_id)
            records.append(decode_content(page_id, doc_id, number, bytes(blob)))
        return [records[row] for row in back]

    def scan_patches(
        self, batch_pages: int = 256
    ) -> Iterator[tuple[NDArray[np.int64], RaggedPatches]]:
        """Every page's multivectors, ``batch_pages`` pages at a time, in row order."""
        for start in range(0, len(self.pages), batch_pages):
            offsets = np.arange(start, min(start + batch_pages, len(self.pages)), dtype=np.int64)
            yield offsets, self.fetch_patches(offsets)

    def page_vectors(self) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Pooled vectors: (page id of each vector ``[m] int64``, ``[m, d] float32``)."""
        return self._open_multivectors().page_vectors()

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
        offsets = self.pages.offsets_of(page_ids)
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

    def _open_multivectors(self) -> Multivectors:
        self._lance()
        return self._multivectors

    def _lance(self) -> Any:
        if not self._tables:
            raise StorageError(f"this reader of {self._root} is closed; open a new one")
        return lance_errors(self._root / LANCE, REMEDY)


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


def read_documents(table: Any) -> dict[int, DocumentRow]:
    """Every document in this version of the ``documents`` table."""
    columns = [name for name in TABLES["documents"].names if name != "row_crc"]
    return documents_from_arrow(table.search().select(columns).to_arrow())

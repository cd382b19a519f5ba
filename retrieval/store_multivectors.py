"""Reading multivectors and page vectors out of one table: an encoder's view of every page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.compression import Compression
from retrieval.errors import StorageError
from retrieval.manifest import LaneRecord, Manifest
from retrieval.store_lance import LANCE, REMEDY, lance_errors
from retrieval.store_rows import DIRECTORY_COLUMNS, PageDirectory, RaggedPatches
from retrieval.store_schema import crc, schema_of, stored_compression
from retrieval.types import FloatArray

_VECTOR_BATCH = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Multivectors:
    """One table of an open index. Every row that is fetched is checked against its CRC."""

    root: Path
    name: str
    table: Any
    pages: PageDirectory
    dim: int
    compression: Compression

    @staticmethod
    def open(root: Path, name: str, table: Any, record: Manifest | LaneRecord) -> Multivectors:
        """The table ``name`` as it stands; ``record`` says how its codes are laid out."""
        with lance_errors(root / LANCE, REMEDY):
            pages = read_directory(table)
        compression = stored_compression(record.compression)
        return Multivectors(root, name, table, pages, record.dim, compression)

    def fetch(self, offsets: NDArray[np.int64]) -> RaggedPatches:
        """The multivectors of the pages at ``offsets`` ``[k]``, in the order asked."""
        rows, back = self.take(offsets, ["page_id", "scale", "patches", "patches_crc"])
        width, dtype = self.compression.width(self.dim), self.compression.dtype
        found: list[memoryview] = []
        scales = rows["scale"].to_numpy().astype(np.float32)
        for i, blob in enumerate(blobs(rows["patches"])):
            page_id = rows["page_id"][i].as_py()
            if crc(page_id, blob, scales[i].tobytes()) != rows["patches_crc"][i].as_py():
                raise self.damaged_page(page_id)
            found.append(blob)
        counts = self.pages.n_patches[offsets].astype(np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        codes = np.empty((int(starts[-1]), width), dtype)
        for i, row in enumerate(back):
            codes[starts[i] : starts[i + 1]] = np.frombuffer(found[row], dtype).reshape(-1, width)
        return RaggedPatches(codes, starts, scales[back])

    def page_vectors(self) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Pooled vectors: (page id of each vector ``[m] int64``, ``[m, d] float32``)."""
        row_ids = self.pages.row_ids
        for start in range(0, len(row_ids), _VECTOR_BATCH):
            wanted = row_ids[start : start + _VECTOR_BATCH]
            with lance_errors(self.root / LANCE, REMEDY):
                rows = take(self.table, wanted, ["page_id", "vectors", "vectors_crc"])
            page_ids = rows["page_id"].to_numpy()
            parts: list[NDArray[np.float16]] = []
            for i, blob in enumerate(blobs(rows["vectors"])):
                if crc(int(page_ids[i]), blob) != rows["vectors_crc"][i].as_py():
                    raise self.damaged_page(int(page_ids[i]))
                parts.append(np.frombuffer(blob, np.float16).reshape(-1, self.dim))
            counts = [len(part) for part in parts]
            yield np.repeat(page_ids, counts), np.concatenate(parts).astype(np.float32)

    def take(
        self, offsets: NDArray[np.int64], columns: list[str]
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """Rows at the distinct offsets, ascending, and for each offset asked its row there."""
        wanted, back = np.unique(np.asarray(offsets, np.int64), return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self.pages):
            raise IndexError(f"row offsets must lie in [0, {len(self.pages)})")
        if len(wanted) == 0:
            schema = schema_of(self.name)
            return pa.schema([schema.field(name) for name in columns]).empty_table(), back
        with lance_errors(self.root / LANCE, REMEDY):
            rows = take(self.table, self.pages.row_ids[wanted], columns)
        if not np.array_equal(rows["page_id"].to_numpy(), self.pages.page_ids[wanted]):
            raise StorageError(
                f"{self.root / LANCE / self.name}.lance returned other pages than asked; {REMEDY}"
            )
        return rows, back

    def damaged_page(self, page_id: int) -> StorageError:
        """What to raise where a page's bytes are not those that were written."""
        return StorageError(
            f"page {page_id} in {self.root / LANCE / self.name}.lance does not match its "
            f"checksum; {REMEDY}"
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
    """Which page lies where in this version of ``pages`` or of a lane."""
    columns = list(DIRECTORY_COLUMNS)
    return PageDirectory.from_arrow(table.search().select(columns).with_row_id(True).to_arrow())


def blobs(column: pa.ChunkedArray) -> Iterator[memoryview]:
    """The values of a LargeBinary column, without a copy each."""
    for chunk in column.chunks:
        for value in chunk:
            yield memoryview(value.as_buffer())

"""Pages and documents as the store takes them, and as it gives them back.

What of them lies in which column of Lance is ``retrieval.store_schema``'s matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.errors import StorageError
from retrieval.maxsim import as_floats
from retrieval.types import FloatArray, MetadataValue, PageContent, PageWords, SourcePart, TimeRange

DIRECTORY_COLUMNS = ("page_id", "doc_id", "number", "n_patches", "n_vectors")


@dataclass(frozen=True, slots=True, eq=False)
class LaneRow:
    """One more encoder's view of a page; the arrays are as in ``PageRow``."""

    codes: NDArray[Any]
    scale: float
    patch_boxes: FloatArray
    page_vectors: FloatArray
    member_of: NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PageRow:
    """What a build hands the store for one page.

    ``codes``, ``scale`` and ``member_of`` are as in ``CompressedPage``, of the index's
    compression; ``patch_boxes`` is ``[n, 4] float32`` page fractions, one a patch that the
    encoder made; ``page_vectors`` is ``[k, d] float32``, the pooled vectors of the coarse stage.
    The content's image is not stored. ``lanes`` holds what each further encoder of the index
    makes of the page.
    """

    content: PageContent
    codes: NDArray[Any]
    scale: float
    patch_boxes: FloatArray
    page_vectors: FloatArray
    bm25_text: str
    member_of: NDArray[np.int32] | None = None
    lanes: Mapping[str, LaneRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One source as the index knows it. ``pages`` counts the pages that were stored.

    ``flags`` are the document's own words ("repaired") and those of its pages with their
    number ("cut-off:2").
    """

    doc_id: int
    source: str
    sha256: str
    media_type: str
    title: str
    pages: int
    bytes: int
    metadata: Mapping[str, MetadataValue]
    flags: tuple[str, ...]
    context: str

    @property
    def own_flags(self) -> tuple[str, ...]:
        """The flags that are about the document as a whole."""
        return tuple(flag for flag in self.flags if ":" not in flag)

    @property
    def page_flags(self) -> dict[str, int]:
        """On how many of its pages each flag stands."""
        counted = (flag.rpartition(":") for flag in self.flags if ":" in flag)
        return {name: int(count) for name, _, count in counted}


@dataclass(frozen=True, slots=True, eq=False)
class PageRecord:
    """What is shown of a hit: the page without its multivectors.

    ``patch_boxes[i]`` (``[n, 4] float32``) is the place of patch i. Boxes were rounded to
    1/65535 of the page. Where patches were pooled, ``member_of [n]`` is the stored vector that
    each became: a pooled vector may speak for several places.
    """

    page_id: int
    doc_id: int
    number: int
    label: str
    width: float
    height: float
    words: PageWords
    patch_boxes: FloatArray
    text_source: str
    outline: str
    flags: tuple[str, ...]
    times: TimeRange | None = None
    part: SourcePart | None = None
    member_of: NDArray[np.int32] | None = None

    def spread(self, similarities: FloatArray) -> FloatArray:
        """Similarities ``[q, m]`` to the stored vectors, as ``[q, n]`` to the patches."""
        if self.member_of is None:
            return similarities
        spread: FloatArray = similarities[:, self.member_of]
        return spread


@dataclass(frozen=True, slots=True, eq=False)
class RaggedPatches:
    """Multivectors of k pages: page i owns ``codes[starts[i]:starts[i + 1]]``.

    ``codes`` are as ``retrieval.maxsim`` takes them, ``starts`` ``[k + 1] int64``, ``scales``
    ``[k] float32``; the values are ``codes * scales`` of their page.
    """

    codes: NDArray[Any]
    starts: NDArray[np.int64]
    scales: FloatArray

    def vectors(self, i: int, dim: int) -> FloatArray:
        """What the codes of page i stand for, ``[n, dim] float32``."""
        codes = self.codes[self.starts[i] : self.starts[i + 1]]
        return as_floats(codes, dim) * np.float32(self.scales[i])

    def pick(self, i: int) -> RaggedPatches:
        """Page i alone."""
        codes = self.codes[self.starts[i] : self.starts[i + 1]]
        return RaggedPatches(codes, np.array([0, len(codes)]), self.scales[i : i + 1])

    @property
    def scale(self) -> float:
        """The one scale that all these pages share (1 if there are none).

        Raises ``StorageError`` if they differ: then use ``scales``.
        """
        if len(self.scales) == 0:
            return 1.0
        first = float(self.scales[0])
        if not np.all(self.scales == self.scales[0]):
            raise StorageError("these pages were quantised with different scales; use .scales")
        return first


@dataclass(frozen=True, slots=True, eq=False)
class PageDirectory:
    """Every live page of one generation; a page's position here is its *offset*.

    Pages are ordered by id, so offsets do not depend on how Lance has arranged its rows;
    ``row_ids`` ``[N] uint64`` is where Lance keeps each of them.
    ``page_ids`` and ``doc_ids`` are ``[N] int64``; ``numbers`` (0-based within the document),
    ``n_patches`` and ``n_vectors`` (pooled) ``[N] int32``; ``page_ids`` ascends.
    """

    page_ids: NDArray[np.int64]
    doc_ids: NDArray[np.int64]
    numbers: NDArray[np.int32]
    n_patches: NDArray[np.int32]
    n_vectors: NDArray[np.int32]
    row_ids: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.page_ids)

    def offsets_of(self, page_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row offset of each page id ``[k] int64``; -1 for pages that are not live."""
        if len(self) == 0:
            return np.full(len(page_ids), -1, np.int64)
        at = np.searchsorted(self.page_ids, page_ids)
        at = np.minimum(at, len(self) - 1)
        return np.where(self.page_ids[at] == page_ids, at, -1).astype(np.int64)

    def offsets_of_documents(self, doc_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row offsets, ascending, of every page of these documents."""
        if (self.doc_ids[1:] < self.doc_ids[:-1]).any():
            return np.flatnonzero(np.isin(self.doc_ids, doc_ids)).astype(np.int64)
        # Pages of a document follow each other, as in every index that one writer made.
        wanted = np.unique(doc_ids)
        first = np.searchsorted(self.doc_ids, wanted, side="left")
        counts = np.searchsorted(self.doc_ids, wanted, side="right") - first
        runs = np.repeat(first - (np.cumsum(counts) - counts), counts)
        return (runs + np.arange(len(runs))).astype(np.int64)

    def crc(self) -> int:
        """CRC-32 over everything but where Lance keeps the rows: a fetch checks that."""
        value = 0
        for column in (self.page_ids, self.doc_ids, self.numbers, self.n_patches, self.n_vectors):
            value = zlib.crc32(np.ascontiguousarray(column).tobytes(), value)
        return value

    @staticmethod
    def from_arrow(table: pa.Table) -> PageDirectory:
        """From the directory columns and row ids of the ``pages`` table."""
        order = np.argsort(table["page_id"].to_numpy(), kind="stable")
        columns = {
            name: table[name].to_numpy()[order].astype(np.int64 if "_id" in name else np.int32)
            for name in DIRECTORY_COLUMNS
        }
        return PageDirectory(
            page_ids=columns["page_id"],
            doc_ids=columns["doc_id"],
            numbers=columns["number"],
            n_patches=columns["n_patches"],
            n_vectors=columns["n_vectors"],
            row_ids=table["_rowid"].to_numpy()[order].astype(np.uint64),
        )

"""Lanes: what further encoders make of every page, each in a table of its own.

A table a lane, rather than more columns in ``pages``: an encoder can be added to a finished
index, or taken out, without a byte of the others being rewritten. Every lane has a row for every
page, so that one offset names a page in all of them; one manifest commits all tables together.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compression import Compression
from retrieval.errors import InputError, StorageError
from retrieval.manifest import LaneRecord, Manifest
from retrieval.signs import Signs
from retrieval.store_lance import LANCE, REMEDY
from retrieval.store_multivectors import Multivectors
from retrieval.store_rows import LaneRow, PageDirectory, RaggedPatches
from retrieval.store_schema import FRACTION, LANE_PREFIX, crc, multivector_columns, quantise_boxes
from retrieval.types import FloatArray

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_lane_name(name: str) -> str:
    """``name`` if it may name a lane. Raises ``InputError``: it becomes part of file names."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' cannot name a lane; use up to 32 lower-case letters, digits and '_', "
            "a letter first"
        )
    return name


def encode_lane(
    page_id: int, doc_id: int, number: int, row: LaneRow, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """A lane's row of one page. Raises ``ValueError`` on arrays of the wrong shape."""
    columns = multivector_columns(page_id, row, dtype, "")
    members = b"" if row.member_of is None else np.asarray(row.member_of, "<i4").tobytes()
    places = quantise_boxes(row.patch_boxes).tobytes()
    boxes = zlib.compress(struct.pack("<I", len(row.patch_boxes)) + places + members, 1)
    n, k = columns["n_patches"], columns["n_vectors"]
    return {
        "page_id": page_id,
        "doc_id": doc_id,
        "number": number,
        **columns,
        "boxes": boxes,
        "boxes_crc": boxes_crc(page_id, doc_id, number, n, k, boxes),
    }


def boxes_crc(
    page_id: int,
    doc_id: int,
    number: int,
    n_patches: int,
    n_vectors: int,
    boxes: bytes | memoryview,
) -> int:
    """CRC-32 of a lane's boxes of a page and of the plain columns beside them."""
    return crc(page_id, struct.pack("<qiii", doc_id, number, n_patches, n_vectors), boxes)


@dataclass(frozen=True, slots=True, eq=False)
class LanePlaces:
    """Where a lane's patches stand: ``boxes`` and ``member_of`` are as in ``PageRecord``."""

    boxes: FloatArray
    member_of: NDArray[np.int32] | None

    def spread(self, similarities: FloatArray) -> FloatArray:
        """Similarities ``[q, vectors]`` as they are for each box ``[q, n]``."""
        if self.member_of is None:
            return similarities
        found: FloatArray = similarities[:, self.member_of]
        return found


def decode_boxes(page_id: int, data: bytes) -> LanePlaces:
    """What ``encode_lane`` packed; raises ``StorageError`` if it cannot be read."""
    try:
        raw = zlib.decompress(data)
        (n,) = struct.unpack_from("<I", raw)
        steps = np.frombuffer(raw, np.uint16, n * 4, 4).reshape(n, 4)
        members = raw[4 + steps.nbytes :]
        member_of = np.frombuffer(members, "<i4").astype(np.int32) if members else None
    except (zlib.error, struct.error, ValueError) as error:
        raise StorageError(
            f"the patch boxes of page {page_id} cannot be read back ({error}); "
            "run `folioscope index verify`"
        ) from error
    return LanePlaces(steps * np.float32(1 / FRACTION), member_of)


@dataclass(frozen=True, slots=True, eq=False)
class LaneStore:
    """One lane of an open store; offsets are those of the store's pages."""

    name: str
    record: LaneRecord
    coarse_path: Path | None
    multivectors: Multivectors
    signs: Signs

    @property
    def n_patches(self) -> NDArray[np.int32]:
        """Patches of every page in this lane, by offset."""
        return self.multivectors.pages.n_patches

    @property
    def compression(self) -> Compression:
        """How this lane's vectors are kept."""
        return self.multivectors.compression

    def fetch_patches(self, offsets: NDArray[np.int64]) -> RaggedPatches:
        """The multivectors of the pages at ``offsets`` ``[k]``, in the order asked."""
        return self.multivectors.fetch(offsets)

    @property
    def pages(self) -> PageDirectory:
        """Every live page by row offset, with its patches in this lane."""
        return self.multivectors.pages

    def scan_patches(
        self, batch_pages: int = 256
    ) -> Iterator[tuple[NDArray[np.int64], RaggedPatches]]:
        """Every page's multivectors, ``batch_pages`` pages at a time, in row order."""
        for start in range(0, len(self.pages), batch_pages):
            offsets = np.arange(start, min(start + batch_pages, len(self.pages)), dtype=np.int64)
            yield offsets, self.fetch_patches(offsets)

    def fetch_places(self, offsets: NDArray[np.int64]) -> list[LanePlaces]:
        """Where the patches of the pages at ``offsets`` ``[k]`` stand, in the order asked."""
        plain = ["page_id", "doc_id", "number", "n_patches", "n_vectors"]
        rows, back = self.multivectors.take(offsets, [*plain, "boxes", "boxes_crc"])
        found = []
        for row in rows.to_pylist():
            page_id, doc_id, number, n, k = (row[name] for name in plain)
            if row["boxes_crc"] != boxes_crc(page_id, doc_id, number, n, k, row["boxes"]):
                raise self.multivectors.damaged_page(row["page_id"])
            found.append(decode_boxes(row["page_id"], row["boxes"]))
        return [found[row] for row in back]

    def page_vectors(self) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Pooled vectors: (page id of each vector ``[m] int64``, ``[m, d] float32``)."""
        return self.multivectors.page_vectors()


def open_lanes(
    root: Path, manifest: Manifest, tables: Mapping[str, Any], pages: PageDirectory
) -> dict[str, LaneStore]:
    """The lanes that the manifest names, by name.

    Raises ``StorageError`` if one does not hold what was committed, page for page.
    """
    lanes = {}
    for name, record in sorted(manifest.lanes.items()):
        found = Multivectors.open(root, LANE_PREFIX + name, tables[LANE_PREFIX + name], record)
        mine = found.pages
        if mine.crc() != record.directory_crc or not np.array_equal(mine.page_ids, pages.page_ids):
            raise StorageError(
                f"{root / LANCE / (LANE_PREFIX + name)}.lance does not hold what was committed; "
                f"{REMEDY}"
            )
        coarse = None if record.coarse_file is None else root / record.coarse_file
        signs = Signs.open([root / file for file in record.signs_files], record.dim)
        lanes[name] = LaneStore(name, record, coarse, found, signs)
    return lanes

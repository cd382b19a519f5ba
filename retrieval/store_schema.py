"""How pages and documents are laid out in Lance rows, and how they are read back.

Three tables, so that work on one does not rewrite another: ``pages`` holds the heavy
multivectors and is only appended to, ``texts`` holds what BM25 searches and is small enough
to be rewritten when its index is merged, ``documents`` holds one row a source.

Each binary column carries a CRC-32 seeded with the page id: a flipped byte, or a row that
was swapped for another, is found when the row is used rather than shown as an answer.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.compression import Compression
from retrieval.errors import InputError, StorageError
from retrieval.store_rows import DocumentRow, LaneRow, PageRecord, PageRow
from retrieval.types import (
    DocumentInfo,
    FloatArray,
    MetadataValue,
    PageContent,
    PageWords,
    SourcePart,
    TimeRange,
)

PAGES = pa.schema(
    [
        ("page_id", pa.int64()),
        ("doc_id", pa.int64()),
        ("number", pa.int32()),
        ("n_patches", pa.int32()),
        ("n_vectors", pa.int32()),
        ("scale", pa.float32()),
        ("patches", pa.large_binary()),
        ("patches_crc", pa.uint32()),
        ("content", pa.large_binary()),
        ("content_crc", pa.uint32()),
        ("vectors", pa.large_binary()),
        ("vectors_crc", pa.uint32()),
    ]
)
# What one more encoder makes of every page: a row a page, blank pages included.
LANE = pa.schema(
    [
        ("page_id", pa.int64()),
        ("doc_id", pa.int64()),
        ("number", pa.int32()),
        ("n_patches", pa.int32()),
        ("n_vectors", pa.int32()),
        ("scale", pa.float32()),
        ("patches", pa.large_binary()),
        ("patches_crc", pa.uint32()),
        ("boxes", pa.large_binary()),
        ("boxes_crc", pa.uint32()),
        ("vectors", pa.large_binary()),
        ("vectors_crc", pa.uint32()),
    ]
)
TEXTS = pa.schema(
    [
        ("page_id", pa.int64()),
        ("doc_id", pa.int64()),
        ("text", pa.string()),
        ("text_crc", pa.uint32()),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.int64()),
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("media_type", pa.string()),
        ("title", pa.string()),
        ("pages", pa.int32()),
        ("bytes", pa.int64()),
        ("metadata", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("context", pa.string()),
        ("row_crc", pa.uint32()),
    ]
)
TABLES: Mapping[str, pa.Schema] = {"pages": PAGES, "texts": TEXTS, "documents": DOCUMENTS}
LANE_PREFIX = "lane-"
# Steps of a quantised page fraction.
FRACTION = 65535.0


def schemas_of(lanes: Iterable[str]) -> dict[str, pa.Schema]:
    """Every table of an index that has these lanes beside its first encoder."""
    return {**TABLES, **{LANE_PREFIX + name: LANE for name in sorted(lanes)}}


def schema_of(table: str) -> pa.Schema:
    """The schema of a table by its name."""
    return LANE if table.startswith(LANE_PREFIX) else TABLES[table]


def stored_compression(name: str) -> Compression:
    """The setting that a manifest names. Raises ``StorageError`` if this version lacks it."""
    try:
        return Compression.of_manifest(name)
    except InputError as error:
        raise StorageError(
            f"the index was written with compression '{name}', which this Folioscope does not "
            "know; use the version that wrote it, or build the index anew"
        ) from error


def crc(page_id: int, *parts: bytes | memoryview) -> int:
    """CRC-32 over ``parts``, seeded with the page they belong to."""
    value = zlib.crc32(struct.pack("<q", page_id))
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def content_crc(
    page_id: int,
    doc_id: int,
    number: int,
    n_patches: int,
    n_vectors: int,
    content: bytes | memoryview,
) -> int:
    """CRC-32 of a page's content and of the plain columns beside it."""
    return crc(page_id, struct.pack("<qiii", doc_id, number, n_patches, n_vectors), content)


def text_crc(page_id: int, doc_id: int, text: str) -> int:
    """CRC-32 of a row of ``texts``."""
    return crc(page_id, struct.pack("<q", doc_id), text.encode())


def encode_page(page_id: int, doc_id: int, row: PageRow, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The ``pages`` row of one page. Raises ``ValueError`` on arrays of the wrong shape."""
    columns = multivector_columns(page_id, row, dtype, f" (page {row.content.number})")
    content = _pack_content(row.content, row.patch_boxes, row.member_of)
    number, n, k = row.content.number, columns["n_patches"], columns["n_vectors"]
    return {
        "page_id": page_id,
        "doc_id": doc_id,
        "number": number,
        **columns,
        "content": content,
        "content_crc": content_crc(page_id, doc_id, number, n, k, content),
    }


def multivector_columns(
    page_id: int, row: PageRow | LaneRow, dtype: np.dtype[Any], where: str
) -> dict[str, Any]:
    """The columns that the ``pages`` table and every lane have in common."""
    n = len(row.codes)
    if row.codes.ndim != 2 or row.codes.dtype != dtype:
        raise ValueError(
            f"codes must be [n, d] {dtype}, not {row.codes.shape} {row.codes.dtype}{where}"
        )
    read = n if row.member_of is None else len(row.member_of)
    if row.patch_boxes.shape != (read, 4):
        raise ValueError(f"patch_boxes must be [{read}, 4], not {row.patch_boxes.shape}")
    patches = np.ascontiguousarray(row.codes).tobytes()
    vectors = np.ascontiguousarray(row.page_vectors, dtype=np.float16).tobytes()
    return {
        "n_patches": n,
        "n_vectors": len(row.page_vectors),
        "scale": row.scale,
        "patches": patches,
        "patches_crc": crc(page_id, patches, np.float32(row.scale).tobytes()),
        "vectors": vectors,
        "vectors_crc": crc(page_id, vectors),
    }


def quantise_boxes(boxes: FloatArray) -> NDArray[np.uint16]:
    """Page fractions ``[n, 4]`` as 16-bit steps; values outside the page are clipped to it."""
    clean = np.nan_to_num(np.asarray(boxes, np.float32))
    steps: NDArray[np.uint16] = np.rint(np.clip(clean, 0.0, 1.0) * FRACTION).astype(np.uint16)
    return steps


def _pack_content(
    content: PageContent, patch_boxes: FloatArray, member_of: NDArray[np.int32] | None
) -> bytes:
    words = content.words
    # Only pages that have them have these keys: indexes from before them read back as they are.
    times = {"times": astuple(content.times)} if content.times else {}
    part = {"part": [content.part.frame, *content.part.box]} if content.part else {}
    head = json.dumps(
        {
            **times,
            **part,
            **({} if member_of is None else {"pooled": True}),
            "label": content.label,
            "size": [content.width, content.height],
            "source": content.text_source,
            "outline": content.outline,
            "flags": list(content.flags),
            "words": list(words.texts),
        },
        ensure_ascii=True,
        separators=(",", ":"),
    ).encode("ascii")
    body = (
        struct.pack("<III", len(head), len(words), len(patch_boxes)),
        head,
        quantise_boxes(words.boxes).tobytes(),
        np.asarray(words.lines, np.int32).tobytes(),
        # Often the same boxes again: deflate's window makes the repetition cheap.
        quantise_boxes(patch_boxes).tobytes(),
        b"" if member_of is None else np.asarray(member_of, np.int32).tobytes(),
    )
    return zlib.compress(b"".join(body), 1)


def decode_content(page_id: int, doc_id: int, number: int, data: bytes) -> PageRecord:
    """The record that ``encode_page`` packed. Raises ``StorageError`` if it cannot be read."""
    try:
        raw = zlib.decompress(data)
        n_head, n_words, n_patches = struct.unpack_from("<III", raw)
        at = 12 + n_head
        head = json.loads(raw[12:at])
        boxes = np.frombuffer(raw, np.uint16, n_words * 4, at).reshape(n_words, 4)
        at += boxes.nbytes
        lines = np.frombuffer(raw, np.int32, n_words, at).copy()
        at += lines.nbytes
        patches = np.frombuffer(raw, np.uint16, n_patches * 4, at).reshape(n_patches, 4)
        at += patches.nbytes
        pooled = "pooled" in head
        scale = np.float32(1 / FRACTION)
        return PageRecord(
            page_id=page_id,
            doc_id=doc_id,
            number=number,
            label=head["label"],
            width=head["size"][0],
            height=head["size"][1],
            words=PageWords(tuple(head["words"]), boxes * scale, lines),
            patch_boxes=patches * scale,
            text_source=head["source"],
            outline=head["outline"],
            flags=tuple(head["flags"]),
            times=TimeRange(*head["times"]) if "times" in head else None,
            part=_part(head["part"]) if "part" in head else None,
            member_of=np.frombuffer(raw, np.int32, n_patches, at).copy() if pooled else None,
        )
    except (zlib.error, struct.error, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"page {number} of document {doc_id} cannot be read back ({error}); "
            "run `folioscope index verify`"
        ) from error


def _part(head: list[float]) -> SourcePart:
    frame, x0, y0, x1, y1 = head
    return SourcePart(int(frame), (x0, y0, x1, y1))


def clean_text(text: str) -> str:
    """``text`` as Arrow can store it: lone surrogates, which UTF-8 cannot hold, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_metadata(metadata: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    """``metadata`` as they are stored; see ``clean_text``."""
    return {
        clean_text(key): clean_text(value) if isinstance(value, str) else value
        for key, value in metadata.items()
    }


def encode_document(
    doc_id: int, info: DocumentInfo, pages: int, context: str, page_flags: Mapping[str, int]
) -> DocumentRow:
    """The stored form of a source of which ``pages`` pages were written; ``page_flags`` says
    on how many of them each flag stands."""
    return DocumentRow(
        doc_id=doc_id,
        source=clean_text(info.source),
        sha256=info.sha256,
        media_type=info.media_type,
        title=clean_text(info.title),
        pages=pages,
        bytes=info.bytes,
        metadata=clean_metadata(info.metadata),
        flags=(*info.flags, *(f"{flag}:{count}" for flag, count in sorted(page_flags.items()))),
        context=clean_text(context),
    )


def encode_text(page_id: int, doc_id: int, text: str) -> dict[str, Any]:
    """The ``texts`` row of one page."""
    text = clean_text(text)
    return {
        "page_id": page_id,
        "doc_id": doc_id,
        "text": text,
        "text_crc": text_crc(page_id, doc_id, text),
    }


def document_to_row(document: DocumentRow) -> dict[str, Any]:
    """The ``documents`` row of a document."""
    row = _document_values(document)
    return {**row, "row_crc": document_crc(document)}


def document_crc(document: DocumentRow) -> int:
    """CRC-32 over everything that is stored of a document."""
    values = json.dumps(_document_values(document), sort_keys=True)
    return crc(document.doc_id, values.encode())


def _document_values(document: DocumentRow) -> dict[str, Any]:
    return {
        "doc_id": document.doc_id,
        "source": document.source,
        "sha256": document.sha256,
        "media_type": document.media_type,
        "title": document.title,
        "pages": document.pages,
        "bytes": document.bytes,
        "metadata": json.dumps(dict(document.metadata), sort_keys=True),
        "flags": list(document.flags),
        "context": document.context,
    }


def documents_from_arrow(table: pa.Table) -> dict[int, DocumentRow]:
    """The documents in ``table`` by id, ascending: compaction may have reordered the rows."""
    rows = {}
    for row in table.to_pylist():
        row.pop("row_crc", None)
        row["metadata"] = json.loads(row["metadata"])
        row["flags"] = tuple(row["flags"])
        rows[row["doc_id"]] = DocumentRow(**row)
    return dict(sorted(rows.items()))


def documents_crc(documents: Mapping[int, DocumentRow]) -> int:
    """CRC-32 over all documents, whatever their order."""
    value = 0
    for doc_id in sorted(documents):
        value = zlib.crc32(struct.pack("<I", document_crc(documents[doc_id])), value)
    return value

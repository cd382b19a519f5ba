"""Small made-up documents for the store's tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retrieval.store import CreateSpec, LaneRow, PageRow, Store, StoreWriter, VectorBatches
from retrieval.store_schema import (
    quantise_boxes,
)
from retrieval.types import DocumentInfo, MetadataValue, PageContent, PageWords

DIM = 8
LANE, LANE_DIM = "pixels", 4
# "int8" in a manifest: one scale a page, as indexes had it first; codes are then plain bytes.
LANE_SPEC = CreateSpec(
    encoder_id="images", encoder_fingerprint="beef", dim=LANE_DIM, compression="int8"
)
SPEC = CreateSpec(
    encoder_id="text",
    encoder_fingerprint="f00d",
    dim=DIM,
    compression="int8",
    lanes={LANE: LANE_SPEC},
)


def make_page(number: int, text: str, *, patches: int = 3, seed: int = 0) -> PageRow:
    """A page of ``text`` whose codes follow from ``seed`` and ``number``."""
    rng = np.random.default_rng([seed, number])
    codes = rng.integers(-127, 128, (patches, DIM)).astype(np.int8)
    words = tuple(text.split())
    boxes = rng.random((len(words), 4)).astype(np.float32)
    content = PageContent(
        number=number,
        label=str(number + 1),
        width=612.0,
        height=792.0,
        words=PageWords(words, boxes, np.zeros(len(words), np.int32)),
        outline="Part one > Section two",
        flags=("repaired",),
    )
    return PageRow(
        content=content,
        codes=codes,
        scale=127.0,
        patch_boxes=rng.random((patches, 4)).astype(np.float32),
        page_vectors=rng.standard_normal((2, DIM)).astype(np.float32),
        bm25_text=text,
        lanes={LANE: make_lane(number, patches + 1, seed)},
    )


def make_lane(number: int, patches: int, seed: int) -> LaneRow:
    """What a second encoder makes of the same page."""
    rng = np.random.default_rng([seed, number, 1])
    return LaneRow(
        codes=rng.integers(-127, 128, (patches, LANE_DIM)).astype(np.int8),
        scale=0.5,
        patch_boxes=rng.random((patches, 4)).astype(np.float32),
        page_vectors=rng.standard_normal((1, LANE_DIM)).astype(np.float32),
    )


def make_info(name: str, pages: int, **metadata: MetadataValue) -> DocumentInfo:
    """A source called ``name``."""
    return DocumentInfo(
        source=f"/files/{name}.pdf",
        sha256=f"sha-{name}",
        media_type="application/pdf",
        title=f"Title of {name}",
        pages=pages,
        bytes=1000,
        metadata=metadata,
    )


def add(
    writer: StoreWriter, name: str, texts: Sequence[str], seed: int = 0, **metadata: MetadataValue
) -> int:
    """Add a document with one page a text."""
    pages = (make_page(i, text, seed=seed) for i, text in enumerate(texts))
    return writer.add_document(make_info(name, len(texts), **metadata), f"about {name}", pages)


def write_vectors(vectors: VectorBatches, path: Path) -> None:
    """A coarse "index" whose bytes follow from the page vectors."""
    with path.open("wb") as file:
        for page_ids, values in vectors():
            file.write(page_ids.tobytes())
            file.write(values.tobytes())


def build(root: Path) -> None:
    """Three documents, five pages, two generations, one document removed and some text."""
    with StoreWriter.open(root, create=SPEC) as writer:
        add(writer, "alpha", ["Cats are running", "dogs sleep"], seed=1, year=2020, firm="AMD")
        add(writer, "gone", ["birds sing"], seed=2)
        writer.commit(write_vectors)
        writer.remove_document(1)
        add(writer, "beta", ["a cat ran home", "", "économie naïve"], seed=3, year=2022, ok=True)
        writer.record_skip("/files/bad.pdf", "sha-bad", "it is encrypted")
        writer.commit(write_vectors)


def contents(store: Store) -> Iterator[tuple[str, int, str, bytes, bytes]]:
    """Everything a search could see of each page, read back through the public surface."""
    offsets = np.arange(len(store.pages), dtype=np.int64)
    patches = store.fetch_patches(offsets)
    (lane,) = store.lanes.values()
    others, boxes = lane.fetch_patches(offsets), lane.fetch_places(offsets)
    for i, record in enumerate(store.fetch_boxes_and_words(offsets)):
        codes = patches.codes[patches.starts[i] : patches.starts[i + 1]]
        source = store.documents[record.doc_id].source
        other = others.codes[others.starts[i] : others.starts[i + 1]].tobytes()
        both = other + quantise_boxes(boxes[i].boxes).tobytes()
        yield source, record.number, record.words.text(), codes.tobytes(), both


def lane_bytes(row: LaneRow) -> bytes:
    """What ``contents`` reads back of a lane's row."""
    return row.codes.tobytes() + quantise_boxes(row.patch_boxes).tobytes()

"""A made-up collection whose pages are about topics, and an encoder that knows the topics.

Small vectors keep hundreds of pages fast; the encoder is a ``PageEncoder`` like any other.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.coarse import CoarseIndex
from retrieval.compression import Compression
from retrieval.context import document_context
from retrieval.encoders.base import Reads
from retrieval.pooling import pool_page
from retrieval.search import Searcher, SearchSettings
from retrieval.store import CreateSpec, PageRow, Store, StoreWriter, VectorBatches
from retrieval.types import (
    DocumentInfo,
    FloatArray,
    MetadataValue,
    PageContent,
    PageEmbedding,
    PageWords,
    QueryEmbedding,
)

DIM = 16
WORDS = [
    "heron",
    "otter",
    "badger",
    "curlew",
    "salmon",
    "thistle",
    "heather",
    "bracken",
    "granite",
    "slate",
    "basalt",
    "marble",
    "copper",
    "nickel",
    "cobalt",
    "barley",
    "turnip",
    "orchard",
    "harvest",
    "plough",
    "anchor",
    "rudder",
    "mizzen",
    "compass",
    "harbour",
]


class TopicEncoder:
    """Every word has a direction of its own; neighbours lean towards each other."""

    id = "topics"
    fingerprint = "0123456789abcdef"
    dim = DIM
    reads: frozenset[Reads] = frozenset({"words"})

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        return [
            PageEmbedding(_vectors(page.words.texts), page.words.boxes.astype(np.float32))
            for page in pages
        ]

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        found = []
        for query in queries:
            tokens = tuple(re.findall(r"\w+", query.lower()))
            weights = np.full(len(tokens), 1 / max(1, len(tokens)), np.float32)
            found.append(QueryEmbedding(_vectors(tokens), tokens, weights))
        return found


def _vectors(words: Sequence[str]) -> FloatArray:
    if not words:
        return np.zeros((0, DIM), np.float32)
    own = np.stack(
        [np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIM) for word in words]
    )
    leaning = own + 0.4 * np.roll(own, 1, axis=0)
    unit: FloatArray = (leaning / np.linalg.norm(leaning, axis=1, keepdims=True)).astype(np.float32)
    return unit


def page_row(number: int, text: str) -> PageRow:
    """A page whose words stand in lines of eight."""
    words = tuple(text.split())
    at = np.arange(len(words))
    column, line = at % 8, at // 8
    lines = line.max(initial=0) + 1
    corners = (column / 8, line / lines, (column + 0.9) / 8, (line + 0.9) / lines)
    boxes = np.stack(corners, axis=1).astype(np.float32)
    content = PageContent(
        number, f"p{number}", 612.0, 792.0, PageWords(words, boxes, line.astype(np.int32))
    )
    (embedding,) = TopicEncoder().encode_pages([content])
    kept = Compression().compress(embedding.vectors)
    return PageRow(
        content=content,
        codes=kept.codes,
        scale=kept.scale,
        patch_boxes=embedding.boxes,
        page_vectors=pool_page(embedding.vectors, embedding.boxes, 4),
        bm25_text=text,
    )


def add(writer: StoreWriter, name: str, texts: Sequence[str], **metadata: MetadataValue) -> int:
    """A document with one page a text."""
    info = DocumentInfo(
        source=f"/files/{name}.pdf",
        sha256=f"sha-{name}",
        media_type="application/pdf",
        title=f"All about {name}",
        pages=len(texts),
        bytes=1000,
        metadata=metadata,
    )
    context = document_context(info.source, info.title, metadata, texts[0].split() if texts else ())
    return writer.add_document(info, context, (page_row(i, text) for i, text in enumerate(texts)))


def write_coarse(vectors: VectorBatches, path: Path) -> None:
    CoarseIndex.build(vectors, DIM).write(path)


def random_texts(rng: random.Random, pages: int) -> list[str]:
    """Pages of 0 to 200 words about two topics each; one in eight is blank."""
    texts = []
    for _ in range(pages):
        length = rng.choice((0, 1, 3, 20, 40, 60, 100, 200))
        topic = rng.sample(WORDS, 2)
        texts.append(" ".join(rng.choice((*topic, rng.choice(WORDS))) for _ in range(length)))
    return texts


def build(root: Path, documents: int, pages: int, seed: int = 0) -> None:
    """``documents`` with ``pages`` pages each, called after places, with year and firm."""
    rng = random.Random(seed)
    spec = CreateSpec(TopicEncoder.id, TopicEncoder.fingerprint, DIM)
    with StoreWriter.open(root, create=spec) as writer:
        for i in range(documents):
            firm = ("Arlo", "Brant", "Corvid")[i % 3]
            add(writer, f"report-{i}", random_texts(rng, pages), year=2000 + i, firm=firm)
        writer.commit(write_coarse)


def open_searcher(root: Path, settings: SearchSettings | None = None) -> Searcher:
    """A searcher over the index at ``root``; close its ``store``."""
    store = Store.open(root)
    assert store.coarse_path is not None
    return Searcher(store, CoarseIndex.read(store.coarse_path), TopicEncoder(), settings)

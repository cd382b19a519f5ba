"""What the coarse stage loses by pooling: ``folioscope bench pooling QUESTIONS -i INDEX``.

The index's own multivectors are pooled anew in each way and scored exactly, page by page,
without FAISS, without BM25 and without document context: this is about the page vectors alone.
Two figures a way, at 100 candidates: the share of the pages that answer a question, and the
share of the ten best pages by exact MaxSim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.benchmark import Benchmark
from eval.datasets import only_documents, read_questions
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.fde import FixedEncoding
from retrieval.maxsim import maxsim
from retrieval.pooling import PoolMethod, pool_page
from retrieval.store import Store
from retrieval.types import FloatArray, QueryEmbedding

WAYS: tuple[tuple[PoolMethod, int], ...] = (
    ("mean", 1),
    ("strips", 4),
    ("strips", 8),
    ("kmeans", 4),
    ("kmeans", 8),
    ("kmeans", 16),
    ("kmeans", 32),
    ("cols", 8),
    ("grid", 16),
)
# MUVERA's encodings: hyperplanes, components kept of a cell, repeats.
ENCODINGS = ((3, 16, 8), (4, 16, 16))
_CANDIDATES, _BEST = 100, 10
_PAGES_AT_ONCE = 256
Offsets = NDArray[np.int64]


def measure_pooling(
    questions_file: Path, index_folder: Path, listed: Path | None = None
) -> Benchmark:
    """One row a way of pooling; ``listed`` names a text file of documents to keep to."""
    index = Index.open(index_folder)
    questions = [q for q in read_questions(questions_file) if q.scope == "corpus"]
    documents = index.documents()
    if listed:
        questions, names = only_documents(questions, listed)
        documents = [document for document in documents if _named(document, names)]
    if not questions:
        raise InputError(f"{questions_file}: no question of scope corpus is left")
    with Store.open(index_folder) as store:
        if store.compression.kind == "binary" or store.compression.factor > 1:
            raise InputError(
                f"the vectors of {index_folder} are {store.compression.name}: measure pooling on "
                "an index that keeps them one by one (int8 or fp16)"
            )
        doc_ids = np.array([document["doc_id"] for document in documents], np.int64)
        offsets = store.pages.offsets_of_documents(doc_ids)
        right = [
            store.pages.offsets_of_documents(np.array([index.find(question.doc)]))[
                sorted(question.pages)
            ]
            for question in questions
        ]
        queries = index.encoder.encode_queries([question.text for question in questions])
        exact, pooled = _scores(store, offsets, queries)
    dim = index.encoder.dim
    named = [(f"{method}, {k}", k * dim * 4) for method, k in WAYS]
    made = [FixedEncoding(dim, *shape) for shape in ENCODINGS]
    named += [(f"fde, {one.components}", one.components * 4) for one in made]
    best = [offsets[np.argsort(-row, kind="stable")[:_BEST]] for row in exact]
    rows = []
    for (name, size), scores in zip(named, pooled, strict=True):
        found = [offsets[np.argsort(-row, kind="stable")[:_CANDIDATES]] for row in scores]
        rows.append(
            {
                "pooling": name,
                "bytes_a_page": size,
                "answering_pages_found": _share(right, found),
                "exact_top_10_found": _share(best, found),
            }
        )
    facts = {"questions": len(questions), "pages": len(offsets), "candidates": _CANDIDATES}
    return Benchmark("pooling", rows, facts)


def _named(document: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(str(document["source"]).endswith(f"/{name}") for name in names)


def _share(wanted: Sequence[Offsets], found: Sequence[Offsets]) -> float:
    pairs = zip(wanted, found, strict=True)
    return float(np.mean([np.isin(w, f).mean() for w, f in pairs]))


def _scores(
    store: Store, offsets: Offsets, queries: Sequence[QueryEmbedding]
) -> tuple[FloatArray, list[FloatArray]]:
    """Exact MaxSim ``[questions, pages]``, and the same over each way's pooled vectors."""
    exact = np.empty((len(queries), len(offsets)), np.float32)
    pooled = [np.empty_like(exact) for _ in (*WAYS, *ENCODINGS)]
    made = [FixedEncoding(store.manifest.dim, *shape) for shape in ENCODINGS]
    asked = [np.stack([one.of_question(q.vectors, q.weights) for q in queries]) for one in made]
    for begin in range(0, len(offsets), _PAGES_AT_ONCE):
        block = slice(begin, begin + _PAGES_AT_ONCE)
        pages = store.fetch_patches(offsets[block])
        boxes = [record.patch_boxes for record in store.fetch_boxes_and_words(offsets[block])]
        for row, query in enumerate(queries):
            exact[row, block] = maxsim(
                query.vectors, query.weights, pages.codes, pages.starts, pages.scales
            )
        parts = [pages.vectors(i, store.manifest.dim) for i in range(len(boxes))]
        for one, encoded, scores in zip(made, asked, pooled[len(WAYS) :], strict=True):
            unit = [v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6) for v in parts]
            scores[:, block] = encoded @ np.stack([one.of_page(v) for v in unit]).T
        for (method, k), scores in zip(WAYS, pooled, strict=False):
            found = [pool_page(v, at, k, method) for v, at in zip(parts, boxes, strict=True)]
            starts = np.cumsum([0, *map(len, found)])
            vectors = np.concatenate(found)
            for row, query in enumerate(queries):
                scores[row, block] = maxsim(query.vectors, query.weights, vectors, starts)
    return exact, pooled

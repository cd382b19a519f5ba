"""visual-rag-toolkit: pooled tiles of a page in Qdrant (local mode), then MaxSim of all patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from visual_rag.embedding.pooling import tile_level_mean_pooling
from visual_rag.retrieval.two_stage import TwoStageRetriever

from eval.peers.engines.qdrant_local import multivector, of_documents
from eval.peers.protocol import Engine, Setting
from eval.peers.workload import FloatArray, Pages, Question

_NAME, _BATCH_PAGES = "pages", 64
_PREFETCH = (50, 100, 200, 400, 800)
_TILES = 16


class VisualRag(Engine):
    """16 pooled tiles a page, as many vectors as Folioscope's; every token of the question is
    compared with them. The knob is how many pages are scored in full."""

    package = "visual-rag-toolkit"

    def build(self, folder: Path, pages: Pages) -> None:
        client = QdrantClient(path=str(folder))
        if client.collection_exists(_NAME):
            client.delete_collection(_NAME)
        params = multivector(pages.dim)
        client.create_collection(_NAME, {"initial": params, "mean_pooling": params})
        _upload(client, pages, 0)
        client.close()

    def open(self, folder: Path) -> None:
        self._retriever = TwoStageRetriever(QdrantClient(path=str(folder)), _NAME)

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("two stages", {"prefetch_k": n}) for n in _PREFETCH if n < pages]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, **knobs)

    def add(self, folder: Path, pages: Pages) -> None:
        client = QdrantClient(path=str(folder))
        _upload(client, pages, client.count(_NAME).count)
        client.close()

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        client = QdrantClient(path=str(folder))
        client.delete(_NAME, points_selector=models.PointIdsList(points=list(ids)))
        client.close()

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        return self._found(question, k, filter_obj=of_documents(documents))

    def _found(self, question: Question, k: int, **options: Any) -> list[int]:
        found = self._retriever.search_server_side(
            question.vectors, k, stage1_mode="tokens_vs_standard_pooling", **options
        )
        return [int(point["id"]) for point in found]


def _tiles(vectors: FloatArray) -> FloatArray:
    """At most 16 means of neighbouring patches."""
    each = -(-len(vectors) // _TILES)
    tiles = -(-len(vectors) // each)
    pooled = tile_level_mean_pooling(vectors, num_tiles=tiles, patches_per_tile=each)
    return np.asarray(pooled, np.float32)


def _upload(client: QdrantClient, pages: Pages, before: int) -> None:
    for first, batch in pages.batches(_BATCH_PAGES):
        points = [
            models.PointStruct(
                id=before + first + i,
                vector={"initial": vectors.tolist(), "mean_pooling": _tiles(vectors).tolist()},
                payload={"document": int(pages.documents[first + i])},
            )
            for i, vectors in enumerate(batch)
        ]
        client.upsert(_NAME, points)

"""Qdrant Edge: the storage and search of the Qdrant server as a library.

Every page is scored. Its graph over multivectors compares whole pages with each other while it is
built, 128 times 128 products a pair: four hundred pages took longer than minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question

# Kilobytes of vectors from which on a graph is built: never.
_NO_GRAPH = 1 << 40
_BATCH_PAGES = 256


class QdrantEdge(Engine):
    """Float32 multivectors under MaxSim, mapped from disk; there is nothing to tune."""

    package = "qdrant-edge-py"

    def build(self, folder: Path, pages: Pages) -> None:
        shard = qdrant.EdgeShard.create(str(folder / "shard"), _config(pages.dim))
        _upsert(shard, pages, 0)

    def open(self, folder: Path) -> None:
        self._shard = qdrant.EdgeShard.load(str(folder / "shard"))

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("scan", {"exact": True})]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, qdrant.SearchParams(**knobs), None)

    def add(self, folder: Path, pages: Pages) -> None:
        shard = qdrant.EdgeShard.load(str(folder / "shard"))
        _upsert(shard, pages, shard.count(qdrant.CountRequest(exact=True)))

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        shard = qdrant.EdgeShard.load(str(folder / "shard"))
        shard.update(qdrant.UpdateOperation.delete_points(list(ids)))
        shard.flush()
        shard.close()

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        only = qdrant.Filter(
            must=[qdrant.FieldCondition("document", match=qdrant.MatchAny(list(documents)))]
        )
        return self._found(question, k, qdrant.SearchParams(exact=True), only)

    def _found(self, question: Question, k: int, params: Any, only: Any) -> list[int]:
        request = qdrant.QueryRequest(
            limit=k,
            query=qdrant.Query.Nearest(question.vectors.tolist()),
            params=params,
            filter=only,
        )
        return [int(point.id) for point in self._shard.query(request)]


def _config(dim: int) -> Any:
    vectors = qdrant.EdgeVectorParams(
        size=dim,
        distance=qdrant.Distance.Dot,
        multivector_config=qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim),
    )
    return qdrant.EdgeConfig(
        vectors=vectors, optimizers=qdrant.EdgeOptimizersConfig(indexing_threshold=_NO_GRAPH)
    )


def _upsert(shard: Any, pages: Pages, before: int) -> None:
    for first, batch in pages.batches(_BATCH_PAGES):
        points = [
            qdrant.Point(
                id=before + first + i,
                vector=vectors.tolist(),
                payload={"document": int(pages.documents[first + i])},
            )
            for i, vectors in enumerate(batch)
        ]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    shard.optimize()
    shard.flush()
    shard.close()

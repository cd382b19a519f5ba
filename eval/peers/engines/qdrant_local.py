"""Qdrant's local mode (``QdrantClient(path=...)``): numpy in the client's process, every page
scored. For the engine behind the server see ``qdrant_edge_shard``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question

_NAME, _BATCH_PAGES = "pages", 64


class QdrantLocal(Engine):
    """One multivector a page under MAX_SIM; there is nothing to tune."""

    package = "qdrant-client"

    def build(self, folder: Path, pages: Pages) -> None:
        client = QdrantClient(path=str(folder))
        if client.collection_exists(_NAME):
            client.delete_collection(_NAME)
        client.create_collection(_NAME, vectors_config=multivector(pages.dim))
        upload(client, pages, 0)
        client.close()

    def open(self, folder: Path) -> None:
        self._client = QdrantClient(path=str(folder))

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("scan")]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, None)

    def add(self, folder: Path, pages: Pages) -> None:
        client = QdrantClient(path=str(folder))
        upload(client, pages, client.count(_NAME).count)
        client.close()

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        client = QdrantClient(path=str(folder))
        client.delete(_NAME, points_selector=models.PointIdsList(points=list(ids)))
        client.close()

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        return self._found(question, k, of_documents(documents))

    def _found(self, question: Question, k: int, only: models.Filter | None) -> list[int]:
        found = self._client.query_points(
            _NAME, query=question.vectors.tolist(), limit=k, query_filter=only, with_payload=False
        )
        return [int(point.id) for point in found.points]


def multivector(dim: int) -> models.VectorParams:
    """Vectors of one page, compared by MaxSim."""
    return models.VectorParams(
        size=dim,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(
            comparator=models.MultiVectorComparator.MAX_SIM
        ),
    )


def of_documents(documents: Sequence[int]) -> models.Filter:
    """The condition that a page is of one of these."""
    match = models.MatchAny(any=list(documents))
    return models.Filter(must=[models.FieldCondition(key="document", match=match)])


def upload(client: QdrantClient, pages: Pages, before: int) -> None:
    """Add pages, numbered on from ``before``."""
    for first, batch in pages.batches(_BATCH_PAGES):
        points = [
            models.PointStruct(
                id=before + first + i,
                vector=vectors.tolist(),
                payload={"document": int(pages.documents[first + i])},
            )
            for i, vectors in enumerate(batch)
        ]
        client.upsert(_NAME, points)

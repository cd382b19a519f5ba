"""A LlamaIndex retriever: ``pip install 'folioscope[llama-index]'``.

>>> from serving.integrations.llama_index import FolioscopeRetriever   # doctest: +SKIP
>>> FolioscopeRetriever(Index.open("my-index")).retrieve("Revenue?")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from serving.integrations.found import passages


class FolioscopeRetriever(BaseRetriever):
    """Pages as nodes. ``source`` is an ``Index`` or a ``serving.client.Client``."""

    def __init__(self, source: Any, *, k: int = 10, filter: str | None = None) -> None:
        self._source = source
        self._k = k
        self._filter = filter
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = passages(self._source, query_bundle.query_str, self._k, self._filter)
        return [
            NodeWithScore(
                node=TextNode(id_=f"page-{metadata['page_id']}", text=text, metadata=metadata),
                score=score,
            )
            for text, score, metadata in found
        ]

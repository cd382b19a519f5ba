"""A LangChain retriever: ``pip install 'folioscope[langchain]'``.

>>> from serving.integrations.langchain import FolioscopeRetriever   # doctest: +SKIP
>>> retriever = FolioscopeRetriever(source=Index.open("my-index"), k=5)   # doctest: +SKIP
>>> retriever.invoke("What was revenue in 2022?")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from serving.integrations.found import passages


class FolioscopeRetriever(BaseRetriever):
    """Pages as documents. ``source`` is an ``Index`` or a ``serving.client.Client``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: Any
    k: int = 10
    filter: str | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [
            Document(page_content=text, metadata={**metadata, "score": score})
            for text, score, metadata in passages(self.source, query, self.k, self.filter)
        ]

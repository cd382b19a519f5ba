"""Questions that arrive at the same time are encoded in one batch.

On a GPU a batch of questions takes hardly longer than one. The first thread that finds nobody
encoding encodes what waits, its own question among it; while it does, others gather.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from retrieval.encoders import PageEncoder
from retrieval.encoders.base import Reads
from retrieval.types import PageContent, PageEmbedding, QueryEmbedding

_MOST = 32


class BatchingEncoder:
    """A ``PageEncoder`` around another; use ``around``."""

    def __init__(self, inner: PageEncoder) -> None:
        self._inner = inner
        self._waiting: list[tuple[str, Future[QueryEmbedding]]] = []
        self._guard = threading.Lock()
        self._encoding = threading.Lock()

    @staticmethod
    def around(encoder: PageEncoder) -> PageEncoder:
        """``encoder`` with batched questions.

        The embedded encoder stays as it is: it uses one thread a question, and two threads
        encode two questions sooner than one thread a batch of two.
        """
        if isinstance(encoder, BatchingEncoder) or "image" not in encoder.reads:
            return encoder
        return BatchingEncoder(encoder)

    @property
    def id(self) -> str:
        """As the inner encoder's."""
        return self._inner.id

    @property
    def fingerprint(self) -> str:
        """As the inner encoder's."""
        return self._inner.fingerprint

    @property
    def dim(self) -> int:
        """As the inner encoder's."""
        return self._inner.dim

    @property
    def reads(self) -> frozenset[Reads]:
        """As the inner encoder's."""
        return self._inner.reads

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """As the inner encoder's."""
        return self._inner.encode_pages(pages)

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """One embedding a query, in order; may share a batch with other threads' queries."""
        mine: list[Future[QueryEmbedding]] = [Future() for _ in queries]
        with self._guard:
            self._waiting.extend(zip(queries, mine, strict=True))
        while not all(future.done() for future in mine):
            with self._encoding:
                with self._guard:
                    batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                if batch:
                    self._encode(batch)
        return [future.result() for future in mine]

    def _encode(self, batch: Sequence[tuple[str, Future[QueryEmbedding]]]) -> None:
        try:
            found = self._inner.encode_queries([query for query, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), embedding in zip(batch, found, strict=True):
            future.set_result(embedding)

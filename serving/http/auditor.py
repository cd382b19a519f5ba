"""The recall auditor: a share of live queries is asked again exhaustively, in the background.

Stage one can lose pages without anybody noticing; this is how an operator notices.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Callable

from retrieval.errors import FolioscopeError
from retrieval.types import SearchResult
from serving.http.metrics import Metrics

_log = logging.getLogger("folioscope.recall")
# How many of the exhaustive best must be found: queries for fewer hits cannot be audited.
AUDITED = 10
_REMEMBERED = 100
_WAITING = 8
Again = Callable[[], SearchResult]


class RecallAuditor:
    """One thread; queries that find it busy are not audited, so it never holds anything up."""

    def __init__(
        self, share: float, warning: float, metrics: Metrics, seed: int | None = None
    ) -> None:
        """``share`` of the queries; a mean below ``warning`` is logged as one."""
        self._share = share
        self._warning = warning
        self._metrics = metrics
        self._random = random.Random(seed)
        self._queue: queue.Queue[tuple[str, SearchResult, Again] | None] = queue.Queue(_WAITING)
        self._found: dict[str, deque[float]] = {}
        self._thread = threading.Thread(target=self._run, name="recall-auditor", daemon=True)
        self._thread.start()

    def offer(self, collection: str, found: SearchResult, again: Again) -> None:
        """Perhaps audit a query that was answered with ``found``; ``again`` asks exhaustively."""
        if self._random.random() >= self._share:
            return
        try:
            self._queue.put_nowait((collection, found, again))
        except queue.Full:
            _log.debug("the auditor is busy; a query was not audited")

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            collection, found, again = item
            try:
                exact = again()
            except FolioscopeError as error:
                _log.warning("cannot audit a query: %s", error)
                continue
            except Exception:  # the boundary of the thread: the next query may be audited
                _log.exception("cannot audit a query")
                continue
            self._note(collection, found, exact)

    def _note(self, collection: str, found: SearchResult, exact: SearchResult) -> None:
        if found.index_generation != exact.index_generation or not exact.hits:
            return
        best = {hit.page_id for hit in exact.hits[:AUDITED]}
        kept = len(best & {hit.page_id for hit in found.hits}) / len(best)
        values = self._found.setdefault(collection, deque(maxlen=_REMEMBERED))
        values.append(kept)
        mean = sum(values) / len(values)
        self._metrics.recall.labels(collection).set(mean)
        if mean < self._warning:
            _log.warning(
                "collection %s: two-stage search found %.3f of the exhaustive top %d over the "
                "last %d audited queries (warning below %.2f); raise the number of candidates",
                collection,
                mean,
                AUDITED,
                len(values),
                self._warning,
            )

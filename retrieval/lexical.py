"""BM25 over page text and over document context, on LanceDB's full-text index.

English stemming, stop words and ASCII folding are the index's; a query is handed over as a
match object, never as query syntax, so no character of a question has a meaning of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEVER = timedelta(days=36500)


def index_text(table: Any, column: str, *, anew: bool = False) -> None:
    """Bring the full-text index of ``column`` up to date with every row of ``table``.

    Rows outside the index would be found by a flat scan, 25 times slower. ``anew`` builds it
    from nothing, which also takes deleted rows out of the term statistics.
    """
    if not anew and any(index.columns == [column] for index in table.list_indices()):
        # Without an age, Lance would also delete versions that a manifest still names.
        table.optimize(cleanup_older_than=_NEVER)
        return
    from lancedb.index import FTS

    table.create_index(column, config=FTS(with_position=False), replace=True)


def search_text(
    table: Any,
    column: str,
    id_column: str,
    text: str,
    k: int,
    doc_ids: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``k`` rows that match ``text`` best: ids ``[<=k] int64``, scores ``[<=k] float32``.

    ``doc_ids`` restricts the rows before the cut to k. Scores descend; equal scores are
    ordered by id.
    """
    from lancedb.query import MatchQuery

    if k <= 0 or not text.strip() or (doc_ids is not None and len(doc_ids) == 0):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    match = MatchQuery(text, column)  # type: ignore[call-arg]  # all have defaults at run time
    query = table.search(match, query_type="fts").select([id_column, "_score"])
    if doc_ids is not None:
        query = query.where(_restriction(doc_ids), prefilter=True)
    found = query.limit(k).to_arrow()
    ids = found[id_column].to_numpy().astype(np.int64)
    scores = found["_score"].to_numpy().astype(np.float32)
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


def _restriction(doc_ids: NDArray[np.int64]) -> str:
    """SQL for "one of these documents", runs of neighbours written as ranges."""
    ids = np.unique(doc_ids)
    ends = np.flatnonzero(np.diff(ids) != 1)
    starts = np.concatenate(([0], ends + 1))
    stops = np.concatenate((ends, [len(ids) - 1]))
    singles = [str(ids[a]) for a, b in zip(starts, stops, strict=True) if a == b]
    clauses = [
        f"doc_id BETWEEN {ids[a]} AND {ids[b]}"
        for a, b in zip(starts, stops, strict=True)
        if a != b
    ]
    if singles:
        clauses.append(f"doc_id IN ({', '.join(singles)})")
    return " OR ".join(clauses)

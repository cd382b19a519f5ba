"""Search."""

from __future__ import annotations

from fastapi import APIRouter, Request

from retrieval.search import SearchMode
from retrieval.types import SearchResult
from serving.http.auditor import AUDITED
from serving.http.disconnect import while_connected
from serving.http.schemas import SearchRequest, SearchResponse
from serving.http.state import Reader, Server

router = APIRouter(tags=["search"])


@router.post("/search")
async def search(
    body: SearchRequest, request: Request, server: Server, who: Reader
) -> SearchResponse:
    """Find the pages that answer a question, and the places on them."""
    collection = server.collections.get(who, body.collection)
    if body.doc_id is not None:
        collection.document(who, body.doc_id)
    index = collection.index

    def ask(mode: SearchMode, k: int) -> SearchResult:
        return index.search(
            body.question,
            k,
            filter=body.filter,
            doc=body.doc_id,
            where=who.pinned,
            mode=mode,
            explain=body.explain,
        )

    result = await while_connected(request, server.searches.run(lambda: ask(body.mode, body.k)))
    for stage, milliseconds in result.timing_ms.items():
        server.metrics.stage_seconds.labels(collection.name, stage).observe(milliseconds / 1000)
    if server.tracing is not None:
        server.tracing.stages(
            "search",
            result.timing_ms,
            collection=collection.name,
            mode=body.mode,
            k=body.k,
            hits=len(result.hits),
            generation=result.index_generation,
        )
    if server.auditor is not None and body.mode == "two-stage" and body.k >= AUDITED:
        server.auditor.offer(collection.name, result, lambda: ask("exhaustive", AUDITED))
    found = SearchResponse.of(result, collection.name)
    if found.explain is not None and who.pinned:
        found.explain.pop("pages", None)  # of all who share the index
    return found

"""Collections, health and metrics."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from indexing.index import Index
from serving.http.collections import Collection
from serving.http.problems import Problem, public
from serving.http.schemas import CollectionOut
from serving.http.state import Admin, Reader, Server, ServerState

router = APIRouter(tags=["status"])
health = APIRouter(tags=["operations"])


@router.get("/collections")
async def list_collections(server: Server, who: Reader) -> list[str]:
    """The names of the collections that this key may search."""
    return [c.name for c in server.collections if who.sees(c.name)]


@router.get("/status")
async def status(server: Server, who: Reader, collection: str | None = None) -> CollectionOut:
    """What a collection holds and what its index takes; counts are of what this key may see."""
    target = server.collections.get(who, collection)
    writable = who.may("write") and not server.settings.read_only
    index = target.index  # the generation and what is counted are of one
    whole = await server.searches.run(lambda: _status(server, target, index, writable))
    if not who.pinned:
        return whole
    mine = index.documents_where(who.pinned).values()
    pages = sum(row.pages for row in mine)
    hidden = {"memory_bytes": 0, "disk_bytes": 0, "skipped": [], "jobs_waiting": 0}
    return whole.model_copy(update={"documents": len(mine), "pages": pages, **hidden})


@health.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
async def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "alive"}


@health.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
async def readyz(server: Server) -> dict[str, str]:
    """Whether every collection can be searched. Raises ``Problem`` 503."""
    waiting = [collection.name for collection in server.collections if not collection.ready]
    if waiting:
        raise Problem(503, "not-ready", "Some collections are not open yet.", "Wait.")
    return {"status": "ready"}


@health.get("/metrics", include_in_schema=False)
async def metrics(server: Server, who: Admin) -> Response:
    """Prometheus' text format; needs an admin key of all collections where keys are used."""
    if who.collections or who.pinned:
        raise Problem(
            403,
            "key-limited",
            "The metrics are of all collections, and this key is limited.",
            "Ask the operator for an admin key without limits.",
        )
    for lane in (server.searches, server.images, server.answers):
        server.metrics.inside.labels(lane.name).set(lane.inside)
    for collection in server.collections:
        server.metrics.jobs.labels(collection.name).set(server.jobs.waiting(collection.name))
        if collection.ready:
            generation, pages = collection.index.served()
            server.metrics.generation.labels(collection.name).set(generation)
            server.metrics.pages.labels(collection.name).set(pages)
    return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _status(server: ServerState, target: Collection, index: Index, writable: bool) -> CollectionOut:
    found = index.status()
    return CollectionOut(
        name=target.name,
        ready=target.ready,
        generation=found.generation,
        documents=found.documents,
        pages=found.pages,
        encoder=found.encoder.split(":")[0],
        coarse=found.coarse_kind,
        memory_bytes=found.coarse_memory_bytes,
        disk_bytes=found.disk_bytes,
        jobs_waiting=server.jobs.waiting(target.name),
        writable=writable,
        skipped=[
            {"name": Path(item.source).name, "reason": public(item.reason, item.source)}
            for item in found.skipped
        ],
    )

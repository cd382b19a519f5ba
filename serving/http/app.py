"""The application: rooms of the API, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from retrieval.errors import FolioscopeError
from retrieval.lock import WriterLock
from serving.answering.pipeline import Model
from serving.http import problems
from serving.http.auditor import RecallAuditor
from serving.http.auth import Keys
from serving.http.collections import Collections
from serving.http.database import RECORDS, Database
from serving.http.jobs import Jobs
from serving.http.lane import Lane
from serving.http.metrics import Metrics
from serving.http.middleware import PREFIX, Around, KnownHost, SameOrigin, SizeLimit
from serving.http.pictures import Pictures
from serving.http.routes import answers, documents, pages, review, search, status
from serving.http.schemas import ProblemOut
from serving.http.settings import ServerSettings, is_loopback
from serving.http.startable import only_writer
from serving.http.state import RateLimit, ServerState
from serving.http.tracing import Tracing
from serving.safety.gate import SafetyGate

WEB = Path(__file__).resolve().parents[1] / "web"
_POLL_SECONDS = 1.0
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_TOLD = ("ETag", "Retry-After", "X-Request-ID")


def make_state(
    settings: ServerSettings,
    tracing: Tracing | None = None,
    stopping: threading.Event | None = None,
) -> ServerState:
    """Everything a server needs, not yet started. Raises ``StorageError``."""
    lock = None if settings.read_only else only_writer(settings.state)
    try:
        return _state(settings, tracing, stopping or threading.Event(), lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def _state(
    settings: ServerSettings,
    tracing: Tracing | None,
    stopping: threading.Event,
    lock: WriterLock | None,
) -> ServerState:
    database = Database(settings.state / RECORDS)
    keys = Keys(database)
    keys.note_served(settings.indexes)
    jobs = Jobs(database, resume=not settings.read_only)
    metrics = Metrics()
    auditor = None
    if settings.audit_recall:
        auditor = RecallAuditor(settings.audit_recall, settings.recall_warning, metrics)
    return ServerState(
        settings=settings,
        database=database,
        keys=keys,
        jobs=jobs,
        collections=Collections(settings, jobs),
        searches=Lane("search", settings.search_threads, settings.waiting, settings.search_seconds),
        images=Lane(
            "images", settings.picture_threads, settings.waiting, settings.search_seconds * 3
        ),
        answers=Lane("answers", settings.answer_threads, settings.waiting, settings.answer_seconds),
        model=_model(settings),
        pictures=Pictures(settings.picture_cache_mb * 1_000_000, settings.picture_threads),
        metrics=metrics,
        rate=RateLimit(settings.requests_per_minute),
        auditor=auditor,
        tracing=tracing,
        lock=lock,
        stopping=stopping,
    )


def _model(settings: ServerSettings) -> Model | None:
    if settings.vlm_url is None:
        return None
    from serving.answering.models import open_model

    return open_model(
        settings.vlm_url,
        model=settings.vlm_model,
        key=settings.vlm_key,
        seconds=settings.answer_seconds,
    )


def _gate(state: ServerState) -> SafetyGate | None:
    """The safety gate, which may use the encoder that an index has loaded."""
    from serving.safety.setup import gate_of

    ready = [collection for collection in state.collections if collection.ready]
    return gate_of(
        state.settings.safety,
        encoder=ready[0].index.encoder if ready else None,
        queue=state.settings.state / "review.sqlite",
    )


def create_app(
    settings: ServerSettings,
    *,
    tracing: Tracing | None = None,
    stopping: threading.Event | None = None,
) -> FastAPI:
    """The service. Indexes open when it starts (the lifespan), not here. ``tracing`` is closed
    when it ends. Once ``stopping`` is set, requests that only wait for something are answered."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _noting_failure(app):
            state = make_state(settings, tracing, stopping)
        app.state.server = state
        watcher: asyncio.Task[None] | None = None
        try:
            with _noting_failure(app):
                for collection in state.collections:
                    await asyncio.to_thread(collection.start)
                state = replace(state, gate=await asyncio.to_thread(_gate, state))
            app.state.server = state
            watcher = asyncio.create_task(_watch(state))
            yield
        finally:
            if watcher is not None:
                watcher.cancel()
            await asyncio.to_thread(_close, state)

    app = FastAPI(
        title="Folioscope",
        version="1",
        description="Find the page, and the place on the page, that answers a question.",
        lifespan=lifespan,
        responses={"default": {"model": ProblemOut, "description": "A problem (RFC 9457)."}},
    )
    problems.install(app)
    rooms = (search, answers, documents, pages, review, status)
    for router in (room.router for room in rooms):
        app.include_router(router, prefix=PREFIX)
    app.include_router(status.health)
    if WEB.is_dir():
        app.router.routes.append(_Page("/", StaticFiles(directory=WEB, html=True), name="web"))
    # Each of them stands around those before it.
    app.add_middleware(SizeLimit, upload_bytes=settings.request_mb * 1_000_000)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Range"],
            expose_headers=list(_TOLD),
        )
    app.add_middleware(SameOrigin, allowed=settings.cors_origins)
    hosts = (*settings.allowed_hosts, *(_LOOPBACK_HOSTS if settings.loopback else ()))
    if hosts:
        app.add_middleware(KnownHost, allowed=hosts)
    app.add_middleware(Around, tracing=tracing)
    return app


@contextlib.contextmanager
def _noting_failure(app: FastAPI) -> Iterator[None]:
    """Keep what stops the server from starting, for whoever runs it to say in its own words."""
    try:
        yield
    except FolioscopeError as error:
        app.state.failure = error
        raise


class _Page(Mount):
    """The web page: whatever is not of the API. There a wrong method is one, not a missing file."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As a mount, but for the API's paths."""
        if scope.get("path", "").startswith(f"{PREFIX}/"):
            return Match.NONE, {}
        return super().matches(scope)


async def _watch(state: ServerState) -> None:
    """Follow generations that others commit: a command, or another server that writes."""
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        for collection in state.collections:
            await asyncio.to_thread(collection.reload_or_keep)


def _close(state: ServerState) -> None:
    if state.auditor is not None:
        state.auditor.close()  # before the indexes, which it asks
    for collection in state.collections:
        collection.close()
    state.searches.close()
    state.images.close()
    state.answers.close()
    state.pictures.close()
    if state.tracing is not None:
        state.tracing.close()
    if state.gate is not None and state.gate.queue is not None:
        state.gate.queue.close()
    state.database.close()
    if state.lock is not None:
        state.lock.release()


__all__ = ["create_app", "is_loopback", "make_state"]

"""The application: rooms of the API, what happens around each request, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.answering.pipeline import Model
from serving.http import problems
from serving.http.auditor import RecallAuditor
from serving.http.auth import Keys
from serving.http.collections import Collections
from serving.http.database import RECORDS, Database
from serving.http.jobs import Jobs
from serving.http.lane import Lane
from serving.http.metrics import Metrics
from serving.http.pictures import Pictures
from serving.http.problems import Problem
from serving.http.routes import answers, documents, pages, review, search, status
from serving.http.schemas import ProblemOut
from serving.http.settings import ServerSettings, is_loopback
from serving.http.state import RateLimit, ServerState
from serving.http.tracing import Tracing, tell_response
from serving.safety.gate import SafetyGate

WEB = Path(__file__).resolve().parents[1] / "web"
_access = logging.getLogger("folioscope.access")
_POLL_SECONDS = 1.0
_PREFIX = "/v1"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; "
        "script-src 'self'; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
# The interactive documentation loads its page from elsewhere; it is for developers.
_DOCS = ("/docs", "/redoc")
_LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]", "::1"]


def make_state(settings: ServerSettings, tracing: Tracing | None = None) -> ServerState:
    """Everything a server needs, not yet started. Raises ``StorageError``."""
    database = Database(settings.state / RECORDS)
    keys = Keys(database)
    keys.note_served(settings.indexes)
    jobs = Jobs(database)
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


def create_app(settings: ServerSettings, *, tracing: Tracing | None = None) -> FastAPI:
    """The service. Indexes open when it starts (the lifespan), not here. ``tracing`` is closed
    when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = make_state(settings, tracing)
        app.state.server = state
        watcher: asyncio.Task[None] | None = None
        try:
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
        app.include_router(router, prefix=_PREFIX)
    app.include_router(status.health)
    if WEB.is_dir():
        app.mount("/", StaticFiles(directory=WEB, html=True), name="web")
    app.add_middleware(_Around, tracing=tracing)
    app.add_middleware(_SizeLimit, most_bytes=settings.request_mb * 1_000_000)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(_SameOrigin, allowed=settings.cors_origins)
    hosts = list(settings.allowed_hosts)
    if settings.loopback:
        hosts += _LOOPBACK_HOSTS
    if hosts:
        # A web page elsewhere must not reach a server on this machine through a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


async def _watch(state: ServerState) -> None:
    """Follow generations that others commit: a command, or another server that writes."""
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        for collection in state.collections:
            await asyncio.to_thread(collection.reload_or_keep)


def _close(state: ServerState) -> None:
    for collection in state.collections:
        collection.close()
    if state.auditor is not None:
        state.auditor.close()
    state.searches.close()
    state.images.close()
    state.answers.close()
    state.pictures.close()
    if state.tracing is not None:
        state.tracing.close()
    if state.gate is not None and state.gate.queue is not None:
        state.gate.queue.close()
    state.database.close()


class _Around:
    """Request ids, security headers, the access log, request metrics, the request's span."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.request_id = secrets.token_hex(8)
        began = time.perf_counter()
        status_code = 500

        async def wrapped(message: Message) -> None:
            nonlocal status_code
            if message["type"] == "http.response.start":
                status_code = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request.state.request_id
                if not request.url.path.startswith(_DOCS):
                    for name, value in _HEADERS.items():
                        headers.setdefault(name, value)
            await send(message)

        try:
            if self._tracing is None:
                await self._app(scope, receive, wrapped)
            else:
                with self._tracing.request(request.method, request.headers) as span:
                    try:
                        await self._app(scope, receive, wrapped)
                    finally:
                        tell_response(span, request.method, _route(scope), status_code)
        finally:
            spent = time.perf_counter() - began
            route = _route(scope)
            server: ServerState | None = getattr(request.app.state, "server", None)
            if server is not None:
                server.metrics.requests.labels(route, request.method, status_code).inc()
                server.metrics.request_seconds.labels(route).observe(spent)
            who = getattr(request.state, "principal", None)
            _access.info(
                "%s %s",
                request.method,
                route,
                extra={
                    "request_id": request.state.request_id,
                    "status": status_code,
                    "milliseconds": round(spent * 1000, 1),
                    "key": getattr(who, "key", ""),
                },
            )


def _route(scope: Scope) -> str:
    """The route's pattern, so that ids do not make a name each."""
    path: str = getattr(scope.get("route"), "path", "other")
    # FastAPI names routes of an included router with or without its prefix, by version.
    inside = scope["path"].startswith(f"{_PREFIX}/") and path.startswith("/")
    return f"{_PREFIX}{path}" if inside and not path.startswith(_PREFIX) else path


class _SizeLimit:
    """Bodies larger than the limit are refused while they arrive, whatever they declared."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        got = 0
        too_large = Problem(
            413,
            "request-too-large",
            f"The request is larger than {self._most // 1_000_000} MB.",
            "Send fewer files at once.",
        )

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise too_large
            return message

        if declared.isdecimal() and int(declared) > self._most:
            await problems.respond(Request(scope), too_large)(scope, receive, send)
            return
        await self._app(scope, counted, send)


class _SameOrigin:
    """Changes that a browser asks for must come from our own page or an allowed origin.

    Without keys, a web page anywhere could otherwise make a visitor's browser upload to, or
    delete from, the server on that visitor's machine.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            same = origin is None or urlsplit(origin).netloc == headers.get("host")
            if not same and origin not in self._allowed:
                refusal = Problem(
                    403,
                    "foreign-origin",
                    "This change was asked for by a page of another site.",
                    "Add the site to cors_origins if that is meant.",
                )
                await problems.respond(Request(scope), refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


__all__ = ["create_app", "is_loopback", "make_state"]

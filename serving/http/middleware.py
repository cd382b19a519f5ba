"""What happens around each request, from the outermost: ids, headers, log and metrics; whether the
host, the origin and the size of it are acceptable.

Whatever refuses a request stands inside ``Around``, so that a refusal has an id too, and is logged.
"""

from __future__ import annotations

import logging
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http import problems
from serving.http.problems import Problem
from serving.http.state import ServerState
from serving.http.tracing import Tracing, tell_response

_access = logging.getLogger("folioscope.access")
_log = logging.getLogger("folioscope.http")
PREFIX = "/v1"
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
# Of a body that is no upload. It is read into memory, and before it is known whose it is.
_JSON_BYTES = 1_000_000
_UPLOADS = f"{PREFIX}/documents"


class Around:
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
        status_code = 0

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

        async def answered() -> None:
            try:
                await self._app(scope, receive, wrapped)
            except Exception:  # the boundary of a request
                _log.exception("unexpected error in %s", request.url.path)
                if status_code:
                    raise  # its head is sent: the connection has to break off
                failed = problems.respond(request, problems.unexpected())
                await failed(scope, receive, wrapped)

        try:
            if self._tracing is None:
                await answered()
            else:
                with self._tracing.request(request.method, request.headers) as span:
                    try:
                        await answered()
                    finally:
                        tell_response(span, request.method, _route(scope), status_code or 500)
        finally:
            _note(request, status_code or 500, time.perf_counter() - began)


def _note(request: Request, status_code: int, spent: float) -> None:
    route = _route(request.scope)
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
    inside = scope["path"].startswith(f"{PREFIX}/") and path.startswith("/")
    return f"{PREFIX}{path}" if inside and not path.startswith(PREFIX) else path


class SizeLimit:
    """Bodies larger than the limit are refused while they arrive, whatever they declared."""

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self._app = app
        self._upload = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["path"] == _UPLOADS
        most = self._upload if upload else _JSON_BYTES
        problem = Problem(
            413,
            "request-too-large",
            f"The request is larger than {most // 1_000_000} MB.",
            "Send fewer files at once." if upload else "Ask for less.",
        )
        too_large = problems.respond(Request(scope), problem)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            await too_large(scope, receive, send)
            return
        got, answered = 0, False

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise problem
            return message

        async def told(message: Message) -> None:
            """Whoever reads the body may call this error his own: it is told as what it is."""
            nonlocal answered
            if got <= most or answered:
                await send(message)
            elif message["type"] == "http.response.start":
                answered = True
                await too_large(scope, receive, send)

        def done(message: Message) -> bool:
            return answered and message["type"].startswith("http.response")

        async def sent(message: Message) -> None:
            if not done(message):
                await told(message)

        await self._app(scope, counted, sent)


class SameOrigin:
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


class KnownHost:
    """Only names that this server is meant to be called by; ``*.example.org`` is any below it.

    A web page elsewhere must not reach a server on this machine through a name of its own.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._known(Headers(scope=scope).get("host", "")):
            refusal = Problem(
                400,
                "unknown-host",
                "This server is not called by that name.",
                "Add the name to allowed_hosts if that is meant.",
            )
            await problems.respond(Request(scope), refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return any(
            pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self._allowed
        )

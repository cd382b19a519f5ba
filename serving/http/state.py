"""Everything a request may need, in one place; who asks, and what they may touch."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from retrieval.lock import WriterLock
from serving.answering.pipeline import Model
from serving.http.auditor import RecallAuditor
from serving.http.auth import ANONYMOUS, Keys, Principal, Scope, unknown_key
from serving.http.collections import Collections
from serving.http.database import Database
from serving.http.jobs import Jobs
from serving.http.lane import Lane
from serving.http.metrics import Metrics
from serving.http.pictures import Pictures
from serving.http.problems import Problem
from serving.http.settings import ServerSettings
from serving.http.tracing import Tracing
from serving.safety.gate import SafetyGate


class RateLimit:
    """Requests a minute of one key, or of one address where nobody has a key."""

    def __init__(self, per_minute: int) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._item = RateLimitItemPerMinute(per_minute)

    async def check(self, who: str) -> None:
        """Count a request. Raises ``Problem`` 429 when there were too many."""
        if await self._limiter.hit(self._item, who):
            return
        window = await self._limiter.get_window_stats(self._item, who)
        wait = max(1, round(window.reset_time - time.time()))
        raise Problem(
            429,
            "too-many-requests",
            f"More than {self._item.amount} requests in a minute.",
            "Try again after the time in Retry-After.",
            {"Retry-After": str(wait)},
        )


@dataclass(frozen=True, slots=True)
class ServerState:
    """One running server."""

    settings: ServerSettings
    database: Database
    keys: Keys
    jobs: Jobs
    collections: Collections
    searches: Lane
    images: Lane
    answers: Lane
    model: Model | None
    pictures: Pictures
    metrics: Metrics
    rate: RateLimit
    auditor: RecallAuditor | None = None
    gate: SafetyGate | None = None
    tracing: Tracing | None = None
    lock: WriterLock | None = None
    stopping: threading.Event = field(default_factory=threading.Event)


def server(request: Request) -> ServerState:
    """The server that got this request."""
    state: ServerState = request.app.state.server
    return state


Server = Annotated[ServerState, Depends(server)]


async def principal(request: Request, server: Server) -> Principal:
    """Who asks. Raises ``Problem`` 401 or 429."""
    address = request.client.host if request.client else "unknown"
    try:
        found = _identified(request.headers.get("authorization", ""), server)
    except Problem:
        await server.rate.check(address)  # who guesses keys is slowed down too
        raise
    await server.rate.check(found.key if found is not ANONYMOUS else address)
    request.state.principal = found
    return found


def _identified(header: str, server: ServerState) -> Principal:
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token:
        return server.keys.principal(token.strip())
    if server.keys.any() or not server.settings.loopback:
        raise unknown_key()
    return ANONYMOUS


class Needs:
    """A dependency: the principal, if it has ``scope``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __call__(self, who: Annotated[Principal, Depends(principal)]) -> Principal:
        """Raises ``Problem`` 403."""
        if not who.may(self._scope):
            raise Problem(
                403,
                "scope-missing",
                f"This key lacks the scope '{self._scope}'.",
                "Ask the operator for a key that has it.",
            )
        return who


Reader = Annotated[Principal, Depends(Needs("read"))]
Writer = Annotated[Principal, Depends(Needs("write"))]
Reviewer = Annotated[Principal, Depends(Needs("review"))]
Admin = Annotated[Principal, Depends(Needs("admin"))]


def writable(server: ServerState) -> None:
    """Raises ``Problem`` 403 on a read-only server."""
    if server.settings.read_only:
        raise Problem(
            403, "read-only", "This server only reads.", "Ask the server that writes this index."
        )


async def audit(
    server: ServerState, request: Request, who: Principal, collection: str, target: str
) -> None:
    """Note a change that was asked for: who, what, where."""
    action = f"{request.method} {request.scope['route'].path}"
    noted = (time.time(), who.key, action, collection, target, request.state.request_id)

    def write() -> None:
        with server.database.transaction() as connection:
            connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", noted)

    # The disk has it when this returns; meanwhile the event loop must not wait for the disk.
    await asyncio.to_thread(write)

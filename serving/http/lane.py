"""A lane: some threads, a bounded number of requests waiting for them, and a time limit.

Search, pictures and answers each have one, so that slow work of one kind cannot hold up the
event loop or another kind. A full lane refuses at once, with the time after which it is worth
trying again: queues that only grow turn a busy minute into an outage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from serving.http.problems import Problem

T = TypeVar("T")
_SMOOTHING = 0.1


class Lane:
    """Use ``run`` from the event loop; ``close`` when the server ends."""

    def __init__(self, name: str, threads: int, waiting: int, seconds: float) -> None:
        self.name = name
        self._threads = threads
        self._most = threads + waiting
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, f"lane-{name}")
        self._inside = 0
        self._typical = 0.05

    @property
    def inside(self) -> int:
        """Requests being worked on or waiting."""
        return self._inside

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused."""
        return self._inside >= self._most

    async def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """What ``work`` returns, from a thread of the lane.

        Raises ``Problem`` 503 if the lane is full or the work's turn did not come in time, 504 if
        it took too long. Work that has not
        begun when its asker gives up is not begun.
        """
        if self.is_full:
            raise self.full()
        self._inside += 1
        # In the asker's context, so that a span made by the work belongs to its request.
        future = self._pool.submit(copy_context().run, self._timed, work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds or self._seconds)
        except TimeoutError:
            if future.cancel():  # it never began: the server is busy, not the request too much
                raise self.full() from None
            raise Problem(
                504, "timeout", "The server did not finish in time.", "Ask for less, or later."
            ) from None
        finally:
            # A thread that is still at work after its asker left keeps its place until it ends.
            if future.done() or future.cancel():
                self._inside -= 1
            else:
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))

    def full(self) -> Problem:
        """The refusal, with when to come back."""
        wait = self._inside * self._typical / self._threads
        return Problem(
            503,
            "busy",
            "The server has as much to do as it can take.",
            "Try again after the time in Retry-After.",
            {"Retry-After": str(max(1, round(wait)))},
        )

    def close(self) -> None:
        """Let the threads end; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        self._inside -= 1

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            spent = time.monotonic() - began
            self._typical += _SMOOTHING * (spent - self._typical)

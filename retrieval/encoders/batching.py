"""How many pages a model is given at once: what memory allows, less when it turns out wrong.

The first page is encoded alone and its peak use of memory is taken as the price of a page.
A batch that does not fit all the same is halved and tried again; only a single page that does not
fit is an error. What comes out does not depend on how the pages were batched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from retrieval.errors import EncoderError

T = TypeVar("T")
R = TypeVar("R")
# Fragmentation and the spread between pages take the rest.
_SHARE_OF_FREE = 0.7
_MOST_AT_ONCE = 64


class Memory(Protocol):
    """What a device can say about its memory."""

    def free(self) -> int:
        """Bytes that could be allocated now."""
        ...

    def peak_of(self, work: Callable[[], R]) -> tuple[R, int]:
        """What ``work`` returns, and the bytes it needed at most beyond what was in use."""
        ...

    def is_exhausted(self, error: BaseException) -> bool:
        """Whether ``error`` says that memory ran out."""
        ...

    def clear(self) -> None:
        """Give back what is cached."""
        ...


class Batcher:
    """Runs work over items in batches that fit into ``memory``. Safe to share between threads,
    which take turns: two batches at once would each find the memory that the other needs."""

    def __init__(self, memory: Memory, size: int | None = None) -> None:
        """``size`` is how many items a batch has, as long as they fit; None leaves it to
        memory."""
        self._memory = memory
        self._fixed = size is not None
        self._cap = size or _MOST_AT_ONCE
        self._bytes_an_item = 0
        self._lock = threading.Lock()

    def run(self, items: Sequence[T], work: Callable[[Sequence[T]], list[R]]) -> list[R]:
        """``work`` over all items, in order. Raises ``EncoderError`` if one item does not fit."""
        done: list[R] = []
        with self._lock:
            while len(done) < len(items):
                batch = items[len(done) : len(done) + self._size()]
                done += self._attempt(batch, work)
        return done

    def _size(self) -> int:
        if self._fixed:
            return self._cap
        if not self._bytes_an_item:
            return 1
        affordable = int(self._memory.free() * _SHARE_OF_FREE / self._bytes_an_item)
        return max(1, min(self._cap, affordable))

    def _attempt(self, batch: Sequence[T], work: Callable[[Sequence[T]], list[R]]) -> list[R]:
        """The results of the whole batch, or of as much of it as fits."""
        while True:
            failed: str | None = None
            try:
                found, peak = self._memory.peak_of(lambda batch=batch: work(batch))  # type: ignore[misc]  # bound at once
            except Exception as error:  # libraries raise RuntimeError of all kinds for this
                if not self._memory.is_exhausted(error):
                    raise
                # What holds the tensors that did not fit is the traceback: keep none of it.
                failed = str(error).split("\n")[0]
            if failed is None:
                self._bytes_an_item = max(self._bytes_an_item, peak // len(batch))
                return found
            self._memory.clear()
            if len(batch) == 1:
                raise EncoderError(
                    f"one page does not fit into the memory of this device ({failed}); lower "
                    "max_pixels, take a smaller model, or use device=cpu"
                )
            batch = batch[: len(batch) // 2]
            self._cap = len(batch)

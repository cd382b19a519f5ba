"""Batches that fit into memory, on a memory that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.encoders.batching import Batcher
from retrieval.errors import EncoderError

R = TypeVar("R")


class FullError(RuntimeError):
    pass


class Room:
    """``size`` bytes, of which ``claimed`` are said to be free."""

    def __init__(self, size: int, claimed: int) -> None:
        self.size, self.claimed = size, claimed
        self.used = 0
        self.cleared = 0

    def free(self) -> int:
        return self.claimed

    def peak_of(self, work: Callable[[], R]) -> tuple[R, int]:
        return work(), self.used

    def is_exhausted(self, error: BaseException) -> bool:
        return isinstance(error, FullError)

    def clear(self) -> None:
        self.cleared += 1


@given(
    items=st.lists(st.integers(), max_size=60),
    size=st.integers(10, 200),
    claimed=st.integers(0, 2000),
    fixed=st.one_of(st.none(), st.integers(1, 40)),
)
def test_everything_is_done_in_order_whatever_memory_claims(
    items: list[int], size: int, claimed: int, fixed: int | None
) -> None:
    room = Room(size, claimed)
    batches: list[int] = []

    def work(batch: Sequence[int]) -> list[int]:
        room.used = 10 * len(batch)
        if room.used > room.size:
            raise FullError("no room")
        batches.append(len(batch))
        return [item + 1 for item in batch]

    assert Batcher(room, fixed).run(items, work) == [item + 1 for item in items]
    assert sum(batches) == len(items)
    if fixed is None and len(items) > 1:
        assert batches[0] == 1
    if fixed is not None:
        assert max(batches, default=0) <= fixed


def test_batches_use_the_memory_there_is() -> None:
    room = Room(10_000, 1000)
    sizes: list[int] = []

    def work(batch: Sequence[int]) -> list[int]:
        room.used = 100 * len(batch)
        sizes.append(len(batch))
        return list(batch)

    Batcher(room).run(list(range(15)), work)
    assert sizes == [1, 7, 7]


def test_one_item_that_does_not_fit_is_an_error() -> None:
    def work(batch: Sequence[int]) -> list[int]:
        raise FullError("CUDA out of memory\nby a lot")

    room = Room(0, 0)
    with pytest.raises(EncoderError, match=r"one page does not fit .*CUDA out of memory\)"):
        Batcher(room, 8).run(list(range(8)), work)
    assert room.cleared == 4


def test_other_errors_are_not_mistaken_for_memory() -> None:
    def work(batch: Sequence[int]) -> list[int]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Batcher(Room(0, 0), 8).run([1, 2], work)

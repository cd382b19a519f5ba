"""A lane refuses rather than queues without end, and gives places back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serving.http.lane import Lane
from serving.http.problems import Problem


def test_a_full_lane_refuses_with_a_time_to_come_back() -> None:
    async def scenario() -> None:
        lane = Lane("test", threads=1, waiting=1, seconds=5)
        release = threading.Event()
        running = [asyncio.create_task(lane.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await lane.run(lambda: None)
        assert refused.value.status == 503 and int(refused.value.headers["Retry-After"]) >= 1
        release.set()
        assert await asyncio.gather(*running) == [True, True]
        assert lane.inside == 0 and await lane.run(lambda: 7) == 7
        lane.close()

    asyncio.run(scenario())


def test_work_that_nobody_waits_for_is_not_begun() -> None:
    async def scenario() -> None:
        lane = Lane("test", threads=1, waiting=4, seconds=5)
        release, begun = threading.Event(), []
        first = asyncio.create_task(lane.run(release.wait))
        second = asyncio.create_task(lane.run(lambda: begun.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert lane.inside == 1
        release.set()
        await first
        await lane.run(lambda: None)
        assert not begun and lane.inside == 0
        lane.close()

    asyncio.run(scenario())


def test_work_whose_turn_does_not_come_is_refused_with_a_time_to_come_back() -> None:
    async def scenario() -> None:
        lane = Lane("test", threads=1, waiting=4, seconds=5)
        release, begun = threading.Event(), []
        first = asyncio.create_task(lane.run(release.wait))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as busy:
            await lane.run(lambda: begun.append(1), seconds=0.01)
        assert busy.value.status == 503 and int(busy.value.headers["Retry-After"]) >= 1
        release.set()
        await first
        assert not begun and lane.inside == 0
        lane.close()

    asyncio.run(scenario())


def test_overdue_work_is_a_timeout_and_keeps_its_place_until_it_ends() -> None:
    async def scenario() -> None:
        lane = Lane("test", threads=1, waiting=0, seconds=5)
        release = threading.Event()
        with pytest.raises(Problem) as late:
            await lane.run(release.wait, seconds=0.01)
        assert late.value.status == 504 and lane.inside == 1
        release.set()
        while lane.inside:
            await asyncio.sleep(0)
        lane.close()

    asyncio.run(scenario())

"""The server under load: ``folioscope bench load QUESTIONS -i INDEX``.

Starts the real server on this machine and asks it real questions over loopback: first one
client alone, then many at once, then one client again while documents are being indexed:
latencies, throughput, refusals, the server's memory, and whether the processor or something else
was what there was not enough of. With ``--servers N`` the many are also spread over N read-only
servers on the same index, in turns with one of them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from eval.serving_process import ServedIndex
from retrieval.errors import InputError

_WARM_UP_SECONDS = 5
# One server and several take turns, so that what else the machine does meets both alike.
_TURNS = 2


@dataclass(slots=True)
class Load:
    """What came back: milliseconds of the answers, and how often each status. ``processor`` is
    what the servers used, ``idle`` what no process of the machine did, in seconds of one core."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    processor: float = 0.0
    idle: float = 0.0

    def add(self, other: Load) -> None:
        """Count another turn of the same load in."""
        self.milliseconds += other.milliseconds
        self.statuses += other.statuses
        self.seconds += other.seconds
        self.processor += other.processor
        self.idle += other.idle

    def row(self, name: str) -> dict[str, Any]:
        """A line of the table."""
        p50, p99 = np.percentile(self.milliseconds or [0.0], [50, 99])
        refused = self.statuses[429] + self.statuses[503]
        answers = self.statuses[200]
        return {
            "load": name,
            "answers": answers,
            "answers_a_s": answers / self.seconds,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "processor_ms_an_answer": self.processor * 1000 / max(1, answers),
            "cores_used": self.processor / self.seconds,
            "cores_idle": self.idle / self.seconds,
            "refused": refused,
            "failed": sum(self.statuses.values()) - answers - refused,
        }


async def ask(urls: Sequence[str], questions: list[Question], clients: int, seconds: float) -> Load:
    """``clients``, spread over the servers, ask one question after the other for ``seconds``."""
    load = Load()
    until = time.monotonic() + seconds
    began = time.monotonic()

    async def one(number: int, client: httpx.AsyncClient) -> None:
        asked = cycle(questions[number % len(questions) :] + questions[: number % len(questions)])
        while time.monotonic() < until:
            sent = time.perf_counter()
            response = await client.post("/v1/search", json={"question": next(asked).text})
            load.statuses[response.status_code] += 1
            if response.status_code == 200:
                load.milliseconds.append((time.perf_counter() - sent) * 1000)
            else:
                await asyncio.sleep(float(response.headers.get("Retry-After", "1")))

    limits = httpx.Limits(max_connections=clients)
    several = [httpx.AsyncClient(base_url=url, timeout=60, limits=limits) for url in urls]
    try:
        await asyncio.gather(*(one(i, several[i % len(several)]) for i in range(clients)))
    finally:
        for client in several:
            await client.aclose()
    load.seconds = time.monotonic() - began
    return load


async def _while_indexing(
    url: str, questions: list[Question], files: Sequence[Path], seconds: float
) -> tuple[Load, str, int]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        parts = [("files", (path.name, path.read_bytes())) for path in files]
        response = await client.post("/v1/documents", files=parts)
        response.raise_for_status()
        job = response.json()["job"]["id"]
        load = await ask([url], questions, 1, seconds)
        state = (await client.get(f"/v1/jobs/{job}")).json()
    return load, str(state["state"]), int(state["pages_done"])


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processor_seconds(servers: Sequence[ServedIndex]) -> float:
    """What the servers have used; their indexing processes are not among them."""
    ticks = 0
    for server in servers:
        words = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _idle_seconds() -> float:
    """What the cores that this process may use have spent without work."""
    ticks = 0
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *words = line.split()
        if name in cores:
            ticks += int(words[3]) + int(words[4])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure_load(
    questions_file: Path,
    index_folder: Path,
    *,
    clients: int = 50,
    seconds: float = 60,
    servers: int = 1,
    upload: Sequence[Path] = (),
) -> Benchmark:
    """Start the servers on a copy of the index, run the loads against them, end them.

    Raises ``InputError`` without questions of scope corpus, ``ServiceError`` if a server does not
    start.
    """
    questions = [q for q in read_questions(questions_file) if q.scope == "corpus"]
    if not questions:
        raise InputError(f"{questions_file}: holds no question of scope corpus")
    if servers > 1 and upload:
        raise InputError("several servers only read; leave --upload out, or --servers")
    with _started(index_folder, servers) as started:
        rows: list[dict[str, Any]] = []
        rows.append(_measured(started[:1], questions, 1, seconds / 2).row("one client"))
        before = sum(_memory_mb(server.pid) for server in started)
        many = _in_turns(started, questions, clients, seconds)
        rows += [load.row(name) for name, load in many.items()]
        after = sum(_memory_mb(server.pid) for server in started)
        facts: dict[str, object] = {"servers_mb": before, "servers_mb_after": after}
        if upload:
            with _watched(started) as watched:
                load, state, pages = asyncio.run(
                    _while_indexing(started[0].url, questions, upload, seconds / 2)
                )
            load.processor, load.idle = watched
            rows.append(load.row("one client, while indexing"))
            facts |= {"job": state, "pages_indexed": pages}
    return Benchmark("load", rows, facts)


@contextmanager
def _started(index_folder: Path, servers: int) -> Iterator[list[ServedIndex]]:
    """So many servers that are ready, on one copy of the index."""
    with (
        tempfile.TemporaryDirectory(prefix="folioscope-load-") as folder,
        ExitStack() as ended,
    ):
        index = Path(shutil.copytree(index_folder, Path(folder) / "index"))
        options = ("--read-only",) if servers > 1 else ()
        started = []
        for number in range(servers):
            server = ServedIndex(index, log=Path(folder) / f"{number}.log", options=options)
            ended.callback(server.kill)
            server.start()
            started.append(server)
        yield started


def _in_turns(
    started: Sequence[ServedIndex], questions: list[Question], clients: int, seconds: float
) -> dict[str, Load]:
    """``clients`` at one server and, if there are several, at all of them, ``seconds`` each."""
    if len(started) == 1:
        return {f"{clients} clients": _measured(started, questions, clients, seconds)}
    found = {f"{clients} clients, one server": Load()}
    found[f"{clients} clients, {len(started)} servers"] = Load()
    for _ in range(_TURNS):
        for load, asked in zip(found.values(), (started[:1], started), strict=True):
            load.add(_measured(asked, questions, clients, seconds / _TURNS))
    return found


def _measured(
    asked: Sequence[ServedIndex], questions: list[Question], clients: int, seconds: float
) -> Load:
    urls = [server.url for server in asked]
    asyncio.run(ask(urls, questions, min(clients, 2 * len(urls)), _WARM_UP_SECONDS))
    with _watched(asked) as watched:
        load = asyncio.run(ask(urls, questions, clients, seconds))
    load.processor, load.idle = watched
    return load


@contextmanager
def _watched(servers: Sequence[ServedIndex]) -> Iterator[list[float]]:
    """At the end of the block: seconds of a core that the servers used, and that nobody did."""
    found: list[float] = []
    used, idle = _processor_seconds(servers), _idle_seconds()
    yield found
    found += [_processor_seconds(servers) - used, _idle_seconds() - idle]

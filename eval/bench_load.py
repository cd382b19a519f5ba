"""The server under load: ``folioscope bench load QUESTIONS -i INDEX``.

Starts the real server on this machine and asks it real questions over loopback: first one
client alone, then many at once, then one client again while documents are being indexed:
latencies, throughput, refusals and the server's memory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from retrieval.errors import InputError, ServiceError


@dataclass(slots=True)
class Load:
    """What came back: milliseconds of the answers, and how often each status."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def row(self, name: str) -> dict[str, Any]:
        """A line of the table."""
        p50, p99 = np.percentile(self.milliseconds or [0.0], [50, 99])
        refused = self.statuses[429] + self.statuses[503]
        return {
            "load": name,
            "answers": self.statuses[200],
            "answers_a_s": self.statuses[200] / self.seconds,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "refused": refused,
            "failed": sum(self.statuses.values()) - self.statuses[200] - refused,
        }


async def ask(url: str, questions: list[Question], clients: int, seconds: float) -> Load:
    """``clients`` ask one question after the other, each, for ``seconds``."""
    load = Load()
    limits = httpx.Limits(max_connections=clients)
    until = time.monotonic() + seconds
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def one(number: int) -> None:
            mine = cycle(
                questions[number % len(questions) :] + questions[: number % len(questions)]
            )
            while time.monotonic() < until:
                sent = time.perf_counter()
                response = await client.post("/v1/search", json={"question": next(mine).text})
                load.statuses[response.status_code] += 1
                if response.status_code == 200:
                    load.milliseconds.append((time.perf_counter() - sent) * 1000)
                else:
                    await asyncio.sleep(float(response.headers.get("Retry-After", "1")))

        await asyncio.gather(*(one(number) for number in range(clients)))
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
        load = await ask(url, questions, 1, seconds)
        state = (await client.get(f"/v1/jobs/{job}")).json()
    return load, str(state["state"]), int(state["pages_done"])


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_load(
    questions_file: Path,
    index_folder: Path,
    *,
    clients: int = 50,
    seconds: float = 60,
    upload: Sequence[Path] = (),
) -> Benchmark:
    """Start a server on a copy of the index, run the loads against it, end it."""
    questions = [q for q in read_questions(questions_file) if q.scope == "corpus"]
    if not questions:
        raise InputError(f"{questions_file}: holds no question of scope corpus")
    with tempfile.TemporaryDirectory(prefix="folioscope-load-") as folder:
        shutil.copytree(index_folder, Path(folder) / "index")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = ["-m", "folioscope", "serve", "-i", f"{folder}/index", f"--port={port}"]
        server = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "FOLIOSCOPE_REQUESTS_PER_MINUTE": "10000000"},
            stderr=subprocess.DEVNULL,
        )
        try:
            return asyncio.run(_measure(url, server, questions, clients, seconds, upload))
        finally:
            server.terminate()
            server.wait()


async def _measure(
    url: str,
    server: subprocess.Popen[bytes],
    questions: list[Question],
    clients: int,
    seconds: float,
    upload: Sequence[Path],
) -> Benchmark:
    async with httpx.AsyncClient(base_url=url) as client:
        while True:
            if server.poll() is not None:
                raise ServiceError(
                    f"the server ended with status {server.returncode} before it was ready; "
                    "start it by hand with `folioscope serve` to see why"
                )
            try:
                if (await client.get("/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    await ask(url, questions, 1, 5)
    rows = [(await ask(url, questions, 1, seconds / 2)).row("one client")]
    before = _memory_mb(server.pid)
    rows.append((await ask(url, questions, clients, seconds)).row(f"{clients} clients"))
    facts: dict[str, object] = {"server_mb": before, "server_mb_after": _memory_mb(server.pid)}
    if upload:
        load, state, pages = await _while_indexing(url, questions, upload, seconds / 2)
        rows.append(load.row("one client, while indexing"))
        facts |= {"job": state, "pages_indexed": pages}
    return Benchmark("load", rows, facts)

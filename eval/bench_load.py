"""The server under load: ``python -m eval.bench_load QUESTIONS -i INDEX``.

Starts the real server on this machine and asks it real questions over loopback: first one
client alone, then many at once, then one client again while documents are being indexed.
Prints latencies, throughput, refusals and the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import httpx2 as httpx
import numpy as np

from eval.datasets import Question, read_questions


@dataclass(slots=True)
class Load:
    """What came back: milliseconds of the answers, and how often each status."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def row(self, name: str) -> str:
        """A line of the table."""
        p50, p99 = np.percentile(self.milliseconds or [0.0], [50, 99])
        refused = self.statuses[429] + self.statuses[503]
        failed = sum(self.statuses.values()) - self.statuses[200] - refused
        return (
            f"| {name} | {self.statuses[200]} | {self.statuses[200] / self.seconds:.1f} "
            f"| {p50:.0f} | {p99:.0f} | {refused} | {failed} |"
        )


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
    url: str, questions: list[Question], files: list[Path], seconds: float
) -> Load:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        parts = [("files", (path.name, path.read_bytes())) for path in files]
        response = await client.post("/v1/documents", files=parts)
        response.raise_for_status()
        job = response.json()["job"]["id"]
        load = await ask(url, questions, 1, seconds)
        state = (await client.get(f"/v1/jobs/{job}")).json()
        print(f"the job was {state['state']} then: {state['pages_done']} pages")
    return load


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run the three loads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("questions", type=Path)
    parser.add_argument("-i", "--index", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--upload", type=Path, nargs="*", default=[], help="files to index")
    options = parser.parse_args()
    questions = [q for q in read_questions(options.questions) if q.scope == "corpus"]
    with tempfile.TemporaryDirectory(prefix="folioscope-load-") as folder:
        shutil.copytree(options.index, Path(folder) / "index")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "folioscope",
                "serve",
                "-i",
                f"{folder}/index",
                f"--port={port}",
            ],
            env={**os.environ, "FOLIOSCOPE_REQUESTS_PER_MINUTE": "10000000"},
            stderr=subprocess.DEVNULL,
        )
        try:
            asyncio.run(_measure(url, server.pid, questions, options))
        finally:
            server.terminate()
            server.wait()


async def _measure(
    url: str, pid: int, questions: list[Question], options: argparse.Namespace
) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    await ask(url, questions, 1, 5)
    rows = [("one client", await ask(url, questions, 1, options.seconds / 2))]
    before = _memory_mb(pid)
    many = await ask(url, questions, options.clients, options.seconds)
    rows.append((f"{options.clients} clients", many))
    after = _memory_mb(pid)
    if options.upload:
        load = await _while_indexing(url, questions, options.upload, options.seconds / 2)
        rows.append(("one client, while indexing", load))
    print(f"memory of the server: {before:.0f} MB, after the {options.clients} {after:.0f} MB")
    print("| load | answers | a second | p50 ms | p99 ms | refused | failed |")
    print("|---|---|---|---|---|---|---|")
    for name, load in rows:
        print(load.row(name))


if __name__ == "__main__":
    main()

"""The service end to end: ``folioscope bench service FOLDER``.

Starts the real server on an empty index, uploads every file of a folder, kills the server and its
indexing process without warning in the middle, starts it again and waits for the end. Then every
document must be there once; searches and answers must come; what is deleted must stay deleted
after another start.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx

from eval.benchmark import Benchmark
from retrieval.errors import InputError, ServiceError
from serving.client import Client

_AT_ONCE = 20
_READY_SECONDS = 120
_ENDED = ("done", "failed", "cancelled")


class _Server:
    """``folioscope serve`` on one index, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until it is ready; seconds. Raises ``ServiceError``."""
        began = time.monotonic()
        index = self._folder / "index"
        command = [sys.executable, "-m", "folioscope", "serve", "-i", str(index)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                env={**os.environ, "FOLIOSCOPE_REQUESTS_PER_MINUTE": "10000000"},
                stderr=log,
                start_new_session=True,
            )
        while time.monotonic() - began < _READY_SECONDS and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                time.sleep(0.1)
        said = (self._folder / "log").read_text(errors="replace")[-500:]
        raise ServiceError(f"the server was not ready in {_READY_SECONDS} seconds: {said}")

    def kill(self) -> None:
        """End the server and its indexing process at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        if how is signal.SIGKILL:
            os.killpg(self._process.pid, how)
        else:
            self._process.send_signal(how)
        self._process.wait()


def measure_service(sources: Path, *, kill_at: float = 0.4, seed: int = 0) -> Benchmark:
    """One row a step. ``kill_at`` is the share of pages after which the server is killed.

    Raises ``InputError`` for a folder without files, ``ServiceError`` if the server does not run.
    """
    files = sorted(path for path in sources.rglob("*") if path.is_file())
    if not files:
        raise InputError(f"{sources}: there is no file in this folder")
    with tempfile.TemporaryDirectory(prefix="folioscope-service-") as folder:
        server = _Server(Path(folder))
        try:
            return _measure(server, files, kill_at, random.Random(seed))
        finally:
            server.kill()


def _measure(
    server: _Server, files: Sequence[Path], kill_at: float, rng: random.Random
) -> Benchmark:
    rows: list[dict[str, Any]] = []
    server.start()
    with Client(server.url, timeout=120) as client:
        began = time.monotonic()
        jobs = [
            client.upload(list(files[at : at + _AT_ONCE])).id
            for at in range(0, len(files), _AT_ONCE)
        ]
        rows.append(_row("upload", time.monotonic() - began, len(files), len(files)))
        began = time.monotonic()
        before = _wait(client, jobs, until=kill_at)
    server.kill()
    rows.append(_row("killed, jobs done", time.monotonic() - began, before, len(jobs)))
    rows.append(_row("ready again", server.start(), 1, 1))
    with Client(server.url, timeout=120) as client:
        began = time.monotonic()
        _wait(client, jobs, until=1.0)
        states = Counter(client.job(job).state for job in jobs)
        rows.append(_row("jobs ended well", time.monotonic() - began, states["done"], len(jobs)))
        skipped = sum(len((client.job(job).result or {}).get("skipped", ())) for job in jobs)
        listed = list(_documents(client))
        names = Counter(document.name for document in listed)
        wanted = Counter(path.name for path in files)
        there = sum((names & wanted).values())
        rows.append(_row("documents there once", 0.0, there, len(files) - skipped))
        rows.append(_row("documents twice", 0.0, sum((names - wanted).values()), 0))
        began = time.monotonic()
        found = sum(_finds(client, document) for document in listed)
        rows.append(_row("found by its title", time.monotonic() - began, found, len(listed)))
        began = time.monotonic()
        asked = rng.sample(listed, min(10, len(listed)))
        said = sum(_answers(client, document.name) for document in asked)
        rows.append(_row("answers that hold", time.monotonic() - began, said, len(asked)))
        gone = rng.choice(listed)
        client.remove(gone.id, wait=60)
        pages = client.status().pages
    server.stop()
    rows.append(_row("ready after a stop", server.start(), 1, 1))
    with Client(server.url, timeout=120) as client:
        left = [document.id for document in _documents(client)]
        rows.append(_row("deleted stays deleted", 0.0, int(gone.id not in left), 1))
        rows.append(_row("others stay", 0.0, len(left), len(listed) - 1))
        rows.append(_row("pages as before the stop", 0.0, client.status().pages, pages))
    return Benchmark("service", rows, {"files": len(files), "skipped": skipped, "kill_at": kill_at})


def _row(step: str, seconds: float, got: int, wanted: int) -> dict[str, Any]:
    return {"step": step, "seconds": round(seconds, 1), "got": got, "of": wanted}


def _wait(client: Client, jobs: Sequence[str], *, until: float) -> int:
    """Wait until this share of the jobs' pages is done; how many jobs have ended."""
    while True:
        states = [client.job(job) for job in jobs]
        ended = sum(job.state in _ENDED for job in states)
        current = [job.pages_done / job.pages_total for job in states if job.pages_total]
        running = sum(share for share in current if share < 1)
        if ended == len(jobs) or (until < 1 and (ended + min(running, 1)) / len(jobs) >= until):
            return ended
        time.sleep(0.5)


def _documents(client: Client) -> Iterator[Any]:
    offset = 0
    while True:
        part = client.documents(offset, 100)
        yield from part.documents
        offset += 100
        if offset >= part.total:
            return


def _finds(client: Client, document: Any) -> bool:
    """Whether a page of the document is found by words of its own, asked of this document."""
    found = client.search(document.title or document.name, k=1, doc_id=document.id)
    return bool(found.hits) and found.hits[0].doc_id == document.id


def _answers(client: Client, name: str) -> bool:
    """Whether an answer comes, and none of its citations has a problem."""
    answer = client.ask(f"What is the total in {name}?")
    return all(not c.problems for claim in answer.claims for c in claim.citations)

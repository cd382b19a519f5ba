"""A real server over a real index of a few sample documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

from indexing.index import Index
from serving.http.app import create_app
from serving.http.settings import ServerSettings

NAMES = ("counting-swifts-paper.pdf", "invoice-ff-2025-0318.pdf")


@pytest.fixture(scope="session")
def built(sample_documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two sample documents; copy it before writing."""
    path = tmp_path_factory.mktemp("served") / "index"
    Index.create(path).add([sample_documents / name for name in NAMES], metadata={"team": "birds"})
    return path


@pytest.fixture
def settings(built: Path, tmp_path: Path) -> ServerSettings:
    """A server's settings over a copy of the index."""
    index = tmp_path / "index"
    shutil.copytree(built, index)
    return ServerSettings(indexes={"default": index}, state=tmp_path / "state", search_threads=2)


@pytest.fixture
def client(settings: ServerSettings) -> Iterator[TestClient]:
    """A client of the running application, from this machine."""
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def wait(client: TestClient) -> Callable[[str], dict[str, Any]]:
    """Waits until a job is finished and returns it."""

    def until_finished(job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        # However long it takes a busy machine; the limit of the whole test is the only one.
        while True:
            url, how = f"/v1/jobs/{job_id}", {"wait": 20}
            job: dict[str, Any] = client.get(url, params=how, headers=headers).json()
            assert job.get("state"), job
            if job["state"] in ("done", "failed", "cancelled"):
                return job

    return until_finished


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    """Starts ``folioscope serve`` and waits until it is ready."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(index: Path, *more: str) -> httpx.Client:
        command = [sys.executable, "-m", "folioscope", "serve", "-i", str(index)]
        log = tmp_path / f"server-{len(processes)}.log"
        # Tests ask without pause.
        quick = {**os.environ, "FOLIOSCOPE_REQUESTS_PER_MINUTE": "1000000"}
        with log.open("wb") as said:
            process = subprocess.Popen([*command, "--port", "0", *more], stderr=said, env=quick)
        processes.append(process)
        deadline = time.monotonic() + 110  # the test's own limit would not show the log
        while time.monotonic() < deadline and process.poll() is None:
            found = re.search(r"listening on (http://\S+)", log.read_text())
            if found is None:
                time.sleep(0.05)
                continue
            client = httpx.Client(base_url=found[1], timeout=60)
            client.process = process  # type: ignore[attr-defined]
            assert client.get("/readyz").status_code == 200
            return client
        raise AssertionError(log.read_text())

    yield run
    for process in processes:
        process.kill()
        process.wait()

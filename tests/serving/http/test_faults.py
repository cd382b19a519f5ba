"""A real server process that is killed, and one whose index another process writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from indexing.index import Index
from retrieval.lock import WriterLock

Start = Callable[..., httpx.Client]


def _finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    # However long it takes a busy machine; the limit of the whole test is the only one.
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", params={"wait": 20}).json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_killed_while_it_indexes_and_answers_goes_on_after_its_restart(
    start: Start, tmp_path: Path, sample_documents: Path
) -> None:
    client = start(tmp_path / "index")
    names = sorted(path.name for path in sample_documents.iterdir())
    files = [("files", (name, (sample_documents / name).read_bytes())) for name in names]
    job_id = client.post("/v1/documents", files=files).json()["job"]["id"]
    asked: list[int] = []

    def ask() -> None:
        body = {"question": "Tarnfield revenue 2024"}
        with (
            httpx.Client(base_url=client.base_url, timeout=60) as other,
            suppress(httpx.TransportError),
        ):
            while True:
                asked.append(other.post("/v1/search", json=body).status_code)

    asker = threading.Thread(target=ask)
    asker.start()
    while client.get(f"/v1/jobs/{job_id}").json()["pages_done"] < 3:
        pass
    os.kill(client.process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    client.process.wait()  # type: ignore[attr-defined]
    asker.join()
    assert set(asked) == {200}

    again = start(tmp_path / "index")
    job = _finished(again, job_id)
    assert job["state"] == "done", job
    held = [document["name"] for document in again.get("/v1/documents").json()["documents"]]
    assert sorted(held) == names
    assert Index.open(tmp_path / "index").verify() == []
    found = again.post("/v1/search", json={"question": "Tarnfield revenue 2024"}).json()
    assert found["hits"][0]["name"] == "tarnfield-annual-report-2024.pdf"


@pytest.mark.slow
def test_a_job_waits_for_another_writer(start: Start, built: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(built, index)
    client = start(index)
    with WriterLock(index):
        job_id = client.delete("/v1/documents/0").json()["id"]
        # Found taken, and waited for: however often, since the other writer may need hours.
        while (job := client.get(f"/v1/jobs/{job_id}").json())["stage"] != "wait":
            pass
        assert job["state"] in ("queued", "running")
        assert client.get("/v1/documents").json()["total"] == 2
    assert _finished(client, job_id)["state"] == "done"
    assert client.get("/v1/documents").json()["total"] == 1


@pytest.mark.slow
def test_a_read_only_server_follows_what_another_process_commits(
    start: Start, built: Path, tmp_path: Path, sample_documents: Path
) -> None:
    index = tmp_path / "index"
    shutil.copytree(built, index)
    client = start(index, "--read-only")
    before = client.get("/v1/status").json()
    Index.open(index).add([sample_documents / "allotment-application.pdf"])
    after = before
    while after["generation"] == before["generation"]:
        response = client.post("/v1/search", json={"question": "allotment"})
        assert response.status_code == 200
        after = client.get("/v1/status").json()
    assert after["documents"] == 3


@pytest.mark.slow
def test_a_cancelled_job_ends_and_the_next_one_runs(
    start: Start, tmp_path: Path, sample_documents: Path
) -> None:
    client = start(tmp_path / "index")
    names = sorted(path.name for path in sample_documents.iterdir())
    files = [("files", (name, (sample_documents / name).read_bytes())) for name in names]
    first = client.post("/v1/documents", files=files).json()["job"]["id"]
    while client.get(f"/v1/jobs/{first}").json()["state"] == "queued":
        pass
    assert client.post(f"/v1/jobs/{first}/cancel").json()["state"] == "cancelled"
    conflict = client.post(f"/v1/jobs/{first}/cancel")
    assert conflict.status_code == 409
    second = client.post("/v1/documents", files=files[:1]).json()["job"]["id"]
    assert _finished(client, second)["state"] == "done"
    assert json.dumps(client.get("/v1/documents").json()).count('"id"') == 1

"""Documents that are read anew: until the new reading is committed the old one stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from serving.http.app import create_app
from serving.http.database import RECORDS, Database
from serving.http.jobs import Jobs
from serving.http.settings import ServerSettings
from tests.indexing.pdfs import BEES, write_pdf

QUESTION = "What do honey bees store?"


def upload_bees(client: TestClient, wait: Callable[[str], dict[str, Any]], folder: Path) -> int:
    data = write_pdf(folder / "bees.pdf", [BEES]).read_bytes()
    job = client.post("/v1/documents", files=[("files", ("bees.pdf", data))]).json()["job"]
    assert wait(job["id"])["state"] == "done"
    listed = client.get("/v1/documents").json()["documents"]
    (doc_id,) = [document["id"] for document in listed if document["name"] == "bees.pdf"]
    return int(doc_id)


@pytest.mark.slow
def test_a_document_that_cannot_be_read_again_is_kept(
    client: TestClient,
    wait: Callable[[str], dict[str, Any]],
    settings: ServerSettings,
    tmp_path: Path,
) -> None:
    doc_id = upload_bees(client, wait, tmp_path)
    (stored,) = (settings.state / "uploads").rglob("bees.pdf")
    stored.write_bytes(b"%PDF-1.7 nothing")
    job = wait(client.post(f"/v1/documents/{doc_id}/reindex").json()["id"])
    assert job["state"] == "failed"
    assert job["result"]["reason"].startswith("the document is kept as it was: bees.pdf: ")
    hit = client.post("/v1/search", json={"question": QUESTION}).json()["hits"][0]
    assert hit["doc_id"] == doc_id
    # Asked to be removed and read again at once, it is not brought back.
    first = client.delete(f"/v1/documents/{doc_id}").json()["id"]
    second = client.post(f"/v1/documents/{doc_id}/reindex")
    assert wait(first)["state"] == "done"
    if second.status_code == 202:  # the removal was not done yet
        job = wait(second.json()["id"])
        assert "removed before its turn" in job["result"]["skipped"][0]["reason"]
    assert client.get("/v1/documents").json()["total"] == 2


@pytest.mark.slow
def test_an_indexing_process_killed_while_it_reads_again_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "index"
    settings = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))
    with Index.create(root, settings=settings) as index:
        index.add([write_pdf(tmp_path / "bees.pdf", [BEES])])
        (old,) = index.documents()
        file = {"path": old["source"], "metadata": {"shelf": "b"}}
        work = {"kind": "reindex", "add": [file], "remove": [old["doc_id"]]}
        for point in ("deletes-applied", "manifest-renamed"):
            assert ingest(root, work, fault=point).returncode == -signal.SIGKILL
            index.refresh()
            assert index.verify() == []
            (held,) = index.documents()
            assert (held == old) == (point != "manifest-renamed")
            assert index.search(QUESTION, 1).hits[0].doc_id == held["doc_id"]
        # The next process does the job again, although what it names was replaced already.
        [result] = results(ingest(root, work))
        assert result["documents_added"] == 1
        assert result["replaced"] == [old["doc_id"], held["doc_id"]]
        index.refresh()
        assert [row["metadata"] for row in index.documents()] == [{"shelf": "b"}]
        assert index.verify() == []


@pytest.mark.slow
def test_a_document_read_anew_before_its_removal_is_removed(settings: ServerSettings) -> None:
    """One that the command line added: asked twice to be read anew, then to be removed."""
    jobs = Jobs(Database(settings.state / RECORDS))
    with Index.open(settings.indexes["default"]) as index:
        other, old = sorted(index.documents(), key=lambda row: -row["pages"])
    file = {"path": old["source"], "metadata": {"team": "bats"}}
    reread = {"add": [file], "remove": [old["doc_id"]]}
    asked = [jobs.put("default", "reindex", "key", reread) for _ in "12"]
    asked.append(jobs.put("default", "remove", "key", {"add": [], "remove": [old["doc_id"]]}))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        ended = [_ended(client, job.id) for job in asked]
        listed = client.get("/v1/documents").json()["documents"]
    assert [job["state"] for job in ended] == ["done"] * 3
    ids = [old["doc_id"], *(job["result"]["documents"][0]["id"] for job in ended[:2])]
    assert len(set(ids)) == 3, "each reading has an id of its own"
    assert ended[2]["result"]["pages_removed"] == old["pages"]
    assert [document["id"] for document in listed] == [other["doc_id"]]


def _ended(client: TestClient, job_id: str) -> dict[str, Any]:
    """A job after its end, however long a busy machine takes."""
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", params={"wait": 20}).json()
        if job["state"] not in ("queued", "running"):
            return job


def ingest(index: Path, *work: dict[str, Any], fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FOLIOSCOPE_FAULT": fault}
    command = [sys.executable, "-m", "serving.http.ingest", str(index), "text"]
    lines = "".join(json.dumps(one) + "\n" for one in work)
    return subprocess.run(command, input=lines, capture_output=True, text=True, env=environment)


def results(process: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Of each request, done."""
    events = [json.loads(line) for line in process.stdout.splitlines()]
    assert all(event["event"] in ("progress", "done") for event in events), events
    return [event["result"] for event in events if event["event"] == "done"]

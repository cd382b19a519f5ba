"""A real server over a real index of a few sample documents."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
        job: dict[str, Any] = client.get(
            f"/v1/jobs/{job_id}", params={"wait": 60}, headers=headers
        ).json()
        assert job.get("state") in ("done", "failed", "cancelled"), job
        return job

    return until_finished

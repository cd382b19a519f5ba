"""What stands around every request: refusals have an id and are logged; sizes; the end."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from indexing.index import Index
from serving.http.app import create_app
from serving.http.forms import upload_form
from serving.http.jobs import Job, Jobs
from serving.http.lane import Lane
from serving.http.problems import Problem
from serving.http.settings import ServerSettings
from serving.http.state import ServerState


def _pieces() -> Iterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(20):
        yield b"x" * 100_000


_LARGE: dict[str, Any] = {"headers": {"Content-Type": "application/json"}}
_FORM: dict[str, Any] = {"headers": {"Content-Type": "multipart/form-data; boundary=x"}}


@pytest.fixture(scope="module")
def small(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server that takes uploads of 1 MB."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(built, folder / "index")
    indexes = {"default": folder / "index"}
    settings = ServerSettings(indexes=indexes, state=folder / "state", request_mb=1)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("url", "how", "status", "code"),
    [
        ("/v1/search", {"headers": {"Origin": "https://evil.example"}}, 403, "foreign-origin"),
        ("/v1/search", {"headers": {"Host": "evil.example"}}, 400, "unknown-host"),
        ("/v1/search", {**_LARGE, "content": b"x" * 1_000_001}, 413, "request-too-large"),
        ("/v1/search", {**_LARGE, "content": _pieces}, 413, "request-too-large"),
        ("/v1/documents", {**_FORM, "content": _pieces}, 413, "request-too-large"),
        ("/v1/documents", {"json": {}}, 422, "invalid-request"),
        ("/v1/status", {}, 405, "method-not-allowed"),
        ("/v1/elsewhere", {}, 404, "not-found"),
        ("/v1/ask/stream", {"json": {"question": "x", "doc_id": 99}}, 404, "no-such-document"),
    ],
)
def test_a_refusal_is_a_problem_with_an_id_that_the_log_has(
    small: TestClient,
    caplog: pytest.LogCaptureFixture,
    url: str,
    how: dict[str, Any],
    status: int,
    code: str,
) -> None:
    sent = {name: value() if callable(value) else value for name, value in how.items()}
    with caplog.at_level(logging.INFO, "folioscope.access"):
        response = small.post(url, **sent)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff" and problem["remedy"]
    assert problem["request_id"] == response.headers["x-request-id"]
    logged = [getattr(record, "request_id", "") for record in caplog.records]
    assert problem["request_id"] in logged


def test_an_upload_that_breaks_off_is_no_error_of_the_server() -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\n\r\n%PDF'
    coming = [
        {"type": "http.request", "body": head, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def upload() -> None:
        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "path": "/v1/documents", "headers": headers}
        async with upload_form(Request(scope, receive), 5):
            raise AssertionError("there is no whole form")

    with pytest.raises(Problem) as refused:
        asyncio.run(upload())
    assert (refused.value.status, refused.value.code) == (400, "cut-off") and not coming


def test_an_error_that_nobody_thought_of_has_an_id_and_tells_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(Index, "search", fails)
    response = client.post("/v1/search", json={"question": "swifts"})
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert "secret" not in response.text


def test_a_stream_that_has_no_room_is_refused_by_its_status(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lane, "is_full", True)
    response = client.post("/v1/ask/stream", json={"question": "swifts"})
    assert (response.status_code, response.json()["code"]) == (503, "busy")
    assert int(response.headers["Retry-After"]) >= 1


def test_who_guesses_keys_is_slowed_down(settings: ServerSettings) -> None:
    slow = settings.model_copy(update={"requests_per_minute": 3})
    guess = {"Authorization": "Bearer folio_x_y"}
    with TestClient(create_app(slow), base_url="http://127.0.0.1") as client:
        said = [client.get("/v1/documents", headers=guess).status_code for _ in range(4)]
    assert said == [401, 401, 401, 429]


def test_who_waits_for_a_job_does_not_hold_up_the_end(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: ServerState = client.app.state.server  # type: ignore[attr-defined]
    job = state.jobs.put("elsewhere", "remove", "key", {"add": [], "remove": [0]})
    looks: list[str] = []
    look = Jobs.get

    def noted(jobs: Jobs, job_id: str) -> Job | None:
        looks.append(job_id)
        return look(jobs, job_id)

    monkeypatch.setattr(Jobs, "get", noted)
    state.stopping.set()
    told = client.get(f"/v1/jobs/{job.id}", params={"wait": 60}).json()
    assert told["state"] == "queued" and len(looks) == 1


def test_a_load_balancer_may_ask_for_the_head_only(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")

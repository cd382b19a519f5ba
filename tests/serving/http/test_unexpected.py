"""Errors that nobody thought of, a full disk, and who may see the server's own figures."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from fastapi.testclient import TestClient

from serving.answering.pipeline import Answerer
from serving.http.state import ServerState


def test_a_stream_that_fails_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head is sent already: a stream that just ended would look like an answer cut off."""

    def fails(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(Answerer, "stream", fails)
    said = client.post("/v1/ask/stream", json={"question": "swifts"}).text
    assert "event: problem" in said and '"internal"' in said and "secret" not in said


def test_uploads_to_a_full_disk_are_to_be_tried_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    refused = client.post("/v1/documents", files=[("files", ("a.pdf", b"%PDF-1.7"))])
    assert (refused.status_code, refused.json()["code"]) == (503, "cannot-store")
    assert int(refused.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("limits", "status"),
    [({}, 200), ({"collections": ["default"]}, 403), ({"pinned": {"team": "birds"}}, 403)],
)
def test_the_figures_of_all_collections_are_not_for_a_limited_key(
    client: TestClient, limits: dict[str, Any], status: int
) -> None:
    server: ServerState = client.app.state.server  # type: ignore[attr-defined]
    _, token = server.keys.create("metrics", ["admin"], **limits)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/metrics", headers=headers).status_code == status

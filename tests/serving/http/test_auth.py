"""Keys, scopes, tenants: what a key may not see does not exist for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message
from typer.testing import CliRunner

from folioscope import app as command
from indexing.index import Index
from serving.http.app import create_app
from serving.http.auth import SCOPES, Keys, Principal
from serving.http.database import Database
from serving.http.problems import Problem
from serving.http.routes.review import origin_of
from serving.http.settings import ServerSettings
from serving.http.state import ServerState
from serving.safety.queue import ReviewCase

A = {"tenant": "a"}


@pytest.fixture(scope="module")
def tenants(sample_documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One index, two tenants."""
    path = tmp_path_factory.mktemp("tenants") / "index"
    index = Index.create(path)
    index.add([sample_documents / "counting-swifts-paper.pdf"], metadata={"tenant": "a"})
    index.add(
        [sample_documents / "invoice-ff-2025-0318.pdf"], metadata={"tenant": "b", "secret": 1}
    )
    return path


@pytest.fixture
def shared(tenants: Path, tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, dict[str, str]]]]:
    """A server with two collections, and headers by key."""
    for name in ("one", "two"):
        shutil.copytree(tenants, tmp_path / name)
    settings = ServerSettings(
        indexes={"one": tmp_path / "one", "two": tmp_path / "two"}, state=tmp_path / "state"
    )
    keys = Keys(Database(settings.state / "server.sqlite"))
    tokens = {
        "admin": keys.create("admin", ["admin"])[1],
        "reader": keys.create("reader", ["read"], ["one"])[1],
        "tenant": keys.create("tenant", ["read", "write"], ["one"], {"tenant": "a"})[1],
    }
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client, headers


Shared = tuple[TestClient, dict[str, dict[str, str]]]


def test_without_a_key_nothing_is_told(shared: Shared) -> None:
    client, headers = shared
    token = headers["admin"]["Authorization"]
    for wrong in (None, "Bearer nonsense", token[:-1], token.replace("folio_", "other_")):
        response = client.get("/v1/documents", headers={"Authorization": wrong} if wrong else {})
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz").status_code == 200


def test_an_upload_is_received_only_from_who_may_send_it(shared: Shared) -> None:
    client, headers = shared
    sent: list[Message] = []

    async def nothing() -> Message:
        raise AssertionError("the body was asked for")

    async def note(message: Message) -> None:
        sent.append(message)

    for key, status in (("", 401), ("reader", 403)):
        given = [(b"content-type", b"multipart/form-data; boundary=x"), (b"host", b"127.0.0.1")]
        if key:
            given.append((b"authorization", headers[key]["Authorization"].encode()))
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/documents",
            "query_string": b"",
            "headers": given,
        }
        sent.clear()
        assert client.portal is not None
        client.portal.call(client.app, scope, nothing, note)
        assert sent[0]["status"] == status


def test_a_key_reaches_its_collections_and_scopes_only(shared: Shared) -> None:
    client, headers = shared
    assert client.get("/v1/collections", headers=headers["admin"]).json() == ["one", "two"]
    assert client.get("/v1/collections", headers=headers["reader"]).json() == ["one"]
    other = client.get("/v1/documents", params={"collection": "two"}, headers=headers["reader"])
    assert other.status_code == 404 and "two" not in other.json()["remedy"]
    denied = client.delete("/v1/documents/0", headers=headers["reader"])
    assert denied.json()["code"] == "scope-missing"
    assert client.get("/metrics", headers=headers["reader"]).status_code == 403


def test_a_tenant_cannot_reach_anothers_pages_by_any_route(shared: Shared) -> None:
    client, headers = shared
    mine, admin = headers["tenant"], headers["admin"]
    everything = client.get("/v1/documents?collection=one", headers=admin).json()["documents"]
    theirs = next(d for d in everything if d["metadata"]["tenant"] == "b")["id"]
    hit = client.post(
        "/v1/search", json={"question": "invoice", "collection": "one"}, headers=admin
    ).json()["hits"][0]
    assert hit["doc_id"] == theirs
    page = hit["page_id"]

    listed = client.get("/v1/documents", headers=mine).json()
    assert listed["total"] == 1 and listed["documents"][0]["id"] != theirs
    for question in ("invoice total", "FF-2025-0318"):
        for filter in (None, "1 = 1", "1 = 1) OR (1 = 1", "tenant = 'b'"):
            for mode in ("two-stage", "exhaustive", "coarse", "bm25"):
                body = {"question": question, "filter": filter, "mode": mode}
                response = client.post("/v1/search", json=body, headers=mine)
                if response.status_code == 200:
                    assert all(h["doc_id"] != theirs for h in response.json()["hits"])
    how = client.post("/v1/search", json={"question": "x", "explain": True}, headers=mine).json()
    assert how["explain"]["documents_allowed"] == 1 and "pages" not in how["explain"]
    wrong = client.post("/v1/search", json={"question": "x", "filter": "no = 1"}, headers=mine)
    assert "secret" not in wrong.text, "the error tells of another tenant's metadata"

    box = "x0=0&y0=0&x1=1&y1=1"
    for route in (
        f"/v1/documents/{theirs}",
        f"/v1/documents/{theirs}/pages/0",
        f"/v1/pages/{page}",
        f"/v1/pages/{page}/image",
        f"/v1/pages/{page}/crop?{box}",
        f"/v1/pages/{page}/heatmap?question=total",
        f"/v1/documents/{theirs}/recording",
    ):
        assert client.get(route, headers=mine).status_code == 404, route
        joiner = "&" if "?" in route else "?"
        seen = client.get(f"{route}{joiner}collection=one", headers=admin)
        assert seen.status_code == (404 if "recording" in route else 200), route
    by_id = client.post("/v1/search", json={"question": "x", "doc_id": theirs}, headers=mine)
    assert by_id.status_code == 404
    assert client.delete(f"/v1/documents/{theirs}", headers=mine).status_code == 404
    assert client.post(f"/v1/documents/{theirs}/reindex", headers=mine).status_code == 404
    for route in ("/v1/ask", "/v1/ask/receipt", "/v1/ask/stream"):
        asked = {"question": "What is the total of invoice FF-2025-0318?"}
        answered = client.post(route, json=asked, headers=mine)
        assert answered.status_code == 200 and "6,722" not in answered.text, route
        assert f'"doc_id": {theirs}' not in answered.text
        named = client.post(route, json={**asked, "doc_id": theirs}, headers=mine)
        assert named.status_code == 404 or "no-such-document" in named.text, route
    assert client.get("/v1/review", headers=mine).json()["code"] == "scope-missing"
    status = client.get("/v1/status", headers=mine).json()
    assert status["documents"] == 1


# A request to every route that names something of another tenant, by what the route calls it.
_FOREIGN = {
    "query": {"question": "total", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "state": "all"},
    "/v1/review/{case_id}/approve": {"note": "x"},
    "/v1/review/{case_id}/reject": {"note": "x"},
}
_SECRETS = ("6,722", "invoice", "Ferrous")


def test_no_route_of_the_api_tells_a_tenant_of_another(shared: Shared) -> None:
    """Every route that the API describes, so that a new one cannot be forgotten."""
    client, _ = shared
    state: ServerState = client.app.state.server  # type: ignore[attr-defined]
    assert state.gate is not None and state.gate.queue is not None
    mine = {"Authorization": f"Bearer {state.keys.create('t', list(SCOPES[:3]), ['one'], A)[1]}"}
    theirs = Principal("theirs", frozenset(SCOPES), frozenset(), {"tenant": "b"})
    index = state.collections.get(theirs, "one").index
    (doc_id,) = index.documents_where({"tenant": "b"})
    row = index.document(doc_id)
    job = state.jobs.put("one", "add", theirs.key, {"add": [{"path": row.source}], "remove": []})
    state.jobs.finish(job.id, "failed", {"reason": row.source})
    case = state.gate.queue.submit(
        ReviewCase(
            fingerprint="f",
            stage="fast",
            place="question",
            category="injection",
            question="invoice",
            quote="invoice",
            reasons=(),
            scores={},
            policy="p",
            origin=origin_of("one", theirs),
        )
    )
    ids = {"doc_id": doc_id, "page_id": index.page_id(doc_id, 0), "number": 0}
    ids |= {"job_id": job.id, "case_id": case.id}
    tried = 0
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            named = [name for name in ids if f"{{{name}}}" in path]
            how: dict[str, Any] = {"headers": mine, "params": _FOREIGN["query"]}
            if path.startswith(("/v1/ask", "/v1/search")):
                how["json"] = {"question": "total of FF-2025-0318", "doc_id": doc_id}
            elif method == "post" and path != "/v1/documents":
                how["json"] = _FOREIGN.get(path, {})
            response = client.request(method, path.format(**ids), **how)
            assert response.status_code < 500, (method, path)
            if named or "doc_id" in how.get("json", {}):
                told = "no-such" in response.text
                assert response.status_code == 404 or told, (method, path, response.text)
            assert not [word for word in _SECRETS if word in response.text], (method, path)
            tried += bool(named)
    assert tried >= 14
    assert state.gate.queue.get(case.id).state == "waiting"


@pytest.mark.slow
def test_the_same_file_of_two_tenants_is_two_documents(
    shared: Shared, sample_documents: Path
) -> None:
    client, headers = shared
    theirs = (sample_documents / "invoice-ff-2025-0318.pdf").read_bytes()
    sent = client.post(
        "/v1/documents", files=[("files", ("mine.pdf", theirs))], headers=headers["tenant"]
    ).json()
    url, how = f"/v1/jobs/{sent['job']['id']}", {"wait": 20}
    while not (job := client.get(url, params=how, headers=headers["tenant"]).json())["result"]:
        pass
    assert job["result"]["documents_added"] == 1
    body = {"question": "invoice total"}
    hit = client.post("/v1/search", json=body, headers=headers["tenant"]).json()["hits"][0]
    assert (hit["name"], hit["metadata"]) == ("mine.pdf", {"tenant": "a"})
    everything = client.get("/v1/documents?collection=one", headers=headers["admin"]).json()
    assert sorted(d["metadata"]["tenant"] for d in everything["documents"]) == ["a", "a", "b"]


def test_a_revoked_key_ends_at_once_and_does_not_open_the_door(tmp_path: Path) -> None:
    keys = Keys(Database(tmp_path / "server.sqlite"))
    key, token = keys.create("x", ["read"])
    assert keys.principal(token).key == key.id
    keys.revoke(key.id)
    with pytest.raises(Problem, match="valid API key"):
        keys.principal(token)
    assert keys.any()


def test_the_file_of_keys_holds_no_token(tmp_path: Path) -> None:
    _, token = Keys(Database(tmp_path / "server.sqlite")).create("x", ["read"])
    secret = token.rpartition("_")[2].encode()
    assert all(secret not in path.read_bytes() for path in tmp_path.iterdir())


def test_keys_by_command(tmp_path: Path) -> None:
    run = CliRunner()
    state = ["--state", str(tmp_path)]
    made: Any = run.invoke(command, ["keys", "create", "acme", "--pin", "tenant=acme", *state])
    assert made.exit_code == 0 and made.stdout.startswith("folio_")
    listed = run.invoke(command, ["keys", "list", "--json", *state])
    assert '"tenant": "acme"' in listed.stdout and made.stdout.strip() not in listed.stdout


def test_a_public_address_needs_keys(tmp_path: Path, tenants: Path) -> None:
    result = CliRunner().invoke(
        command,
        ["serve", "-i", str(tenants), "--host", "0.0.0.0", "--state", str(tmp_path / "state")],
    )
    assert result.exit_code != 0 and "without API keys" in str(result.exception)

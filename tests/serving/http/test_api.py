"""The API as a client sees it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from folioscope import app as command
from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from serving.http.app import create_app
from serving.http.settings import ServerSettings
from tests.indexing.samples import pdf

Wait = Callable[[str], dict[str, Any]]


def _search(client: TestClient, question: str, **more: Any) -> dict[str, Any]:
    response = client.post("/v1/search", json={"question": question, **more})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_search_names_the_page_and_the_place(client: TestClient) -> None:
    found = _search(client, "how many swifts were counted", k=3)
    best = found["hits"][0]
    assert best["name"] == "counting-swifts-paper.pdf"
    assert best["regions"] and best["metadata"] == {"team": "birds"}
    assert set(found["timing_ms"]) == {"encode", "coarse", "fetch", "rerank", "total"}


def test_no_response_tells_where_files_lie(client: TestClient, settings: ServerSettings) -> None:
    hit = _search(client, "swifts")["hits"][0]
    urls = ["/v1/documents", "/v1/status", "/v1/jobs", f"/v1/pages/{hit['page_id']}"]
    bodies = [client.get(url).text for url in urls]
    bodies.append(client.post("/v1/search", json={"question": "swifts"}).text)
    bodies.append(client.post("/v1/search", json={"question": "x", "filter": "nope = 1"}).text)
    assert not any(str(settings.state.parent) in body for body in bodies)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"question": ""}, 422),
        ({"question": "  "}, 422),
        ({"question": "x", "k": 0}, 422),
        ({"question": "x", "filter": "year >"}, 422),
        ({"question": "x", "collection": "other"}, 404),
        ({"question": "x", "doc_id": 99}, 404),
        ({"question": "x", "mode": "psychic"}, 422),
        ({"question": "x", "extra": 1}, 422),
    ],
)
def test_bad_searches_are_problems(client: TestClient, body: dict[str, Any], status: int) -> None:
    response = client.post("/v1/search", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status and problem["code"] and problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]


def test_pictures_are_cached_by_content(client: TestClient) -> None:
    hit = _search(client, "swifts")["hits"][0]
    first = client.get(hit["image_url"], params={"width": 300, "collection": "default"})
    image = Image.open(io.BytesIO(first.content))
    assert (first.status_code, image.format, image.width) == (200, "WEBP", 300)
    again = client.get(
        hit["image_url"],
        params={"width": 300, "collection": "default"},
        headers={"If-None-Match": first.headers["etag"]},
    )
    assert (again.status_code, again.content) == (304, b"")
    # In an index that is built anew the same address is that of another page.
    assert "no-cache" in first.headers["cache-control"]


def test_the_heatmap_is_warm_where_the_region_is(client: TestClient) -> None:
    hit = _search(client, "how many swifts were counted")["hits"][0]
    response = client.get(
        f"/v1/pages/{hit['page_id']}/heatmap", params={"question": "how many swifts were counted"}
    )
    image = Image.open(io.BytesIO(response.content)).convert("RGB")
    x0, y0, x1, y1 = hit["regions"][0]["box"]
    region = image.crop(
        tuple(round(v * s) for v, s in zip((x0, y0, x1, y1), image.size * 2, strict=True))
    )
    blue = region.getchannel("B").getextrema()[0]
    assert blue < 150, "the best region is not tinted"


def test_a_crop_is_the_part_asked_for(client: TestClient) -> None:
    page = _search(client, "swifts")["hits"][0]["page_id"]
    box = {"x0": 0.1, "y0": 0.1, "x1": 0.6, "y1": 0.2}
    response = client.get(f"/v1/pages/{page}/crop", params=box)
    image = Image.open(io.BytesIO(response.content))
    assert image.width > 3 * image.height
    bad = client.get(f"/v1/pages/{page}/crop", params={**box, "x1": 0.1})
    assert bad.status_code == 422 and bad.json()["code"] == "bad-box"


def test_a_page_gives_its_words(client: TestClient) -> None:
    hit = _search(client, "invoice total")["hits"][0]
    page = client.get(f"/v1/documents/{hit['doc_id']}/pages/{hit['page']}").json()
    assert page["page_id"] == hit["page_id"]
    assert len(page["words"]) == len(page["boxes"]) > 20
    assert client.get(f"/v1/documents/{hit['doc_id']}/pages/77").status_code == 404


@pytest.mark.slow
def test_an_upload_is_searchable_and_its_removal_too(
    client: TestClient, wait: Wait, sample_documents: Path, settings: ServerSettings
) -> None:
    receipt = (sample_documents / "receipt-pilcrow-coffee.jpg").read_bytes()
    response = client.post(
        "/v1/documents",
        files=[
            ("files", ("../../Kassenbon Ä.jpg", receipt, "image/jpeg")),
            ("files", ("broken.pdf", b"%PDF-1.7 no", "application/pdf")),
            ("files", ("setup.pdf", b"MZ\x90\x00" + b"x" * 100, "application/pdf")),
        ],
        data={"metadata": '{"year": 2025}'},
    )
    assert response.status_code == 202, response.text
    (refused,) = response.json()["refused"]
    assert refused["name"] == "setup.pdf" and "a program" in refused["reason"]
    assert "/" not in refused["reason"] and not list(settings.state.rglob("setup.pdf"))
    job = wait(response.json()["job"]["id"])
    assert job["state"] == "done" and job["result"]["documents_added"] == 1
    (made,) = job["result"]["documents"]
    assert client.get(f"/v1/documents/{made['id']}").json()["name"] == made["name"]
    assert [item["name"] for item in job["result"]["skipped"]] == ["broken.pdf"]
    assert str(settings.state) not in str(job)

    hit = _search(client, "coffee receipt total", filter="year = 2025")["hits"][0]
    assert hit["name"] == "Kassenbon Ä.jpg"
    stored = [path for path in (settings.state / "uploads").rglob("*.jpg")]
    assert len(stored) == 1

    gone = wait(client.delete(f"/v1/documents/{hit['doc_id']}").json()["id"])
    assert (gone["state"], gone["files"]) == ("done", ["Kassenbon Ä.jpg"])
    log = CliRunner().invoke(
        command, ["keys", "audit", "--state", str(settings.state), "--json"], catch_exceptions=False
    )
    newest, oldest = json.loads(log.stdout)
    assert newest["action"].startswith("DELETE") and newest["target"] == str(hit["doc_id"])
    assert oldest["key"] == "anonymous" and "Kassenbon" in oldest["target"]
    assert client.get(f"/v1/documents/{hit['doc_id']}").status_code == 404
    assert not list((settings.state / "uploads").rglob("*.jpg"))


@pytest.mark.slow
def test_reindexing_changes_metadata(client: TestClient, wait: Wait) -> None:
    document = client.get("/v1/documents").json()["documents"][0]
    job = client.post(f"/v1/documents/{document['id']}/reindex", json={"team": "bats"}).json()
    job = wait(job["id"])
    assert job["state"] == "done"
    (made,) = job["result"]["documents"]
    assert client.get(f"/v1/documents/{made['id']}").json()["metadata"] == {"team": "bats"}
    teams = [d["metadata"]["team"] for d in client.get("/v1/documents").json()["documents"]]
    assert sorted(teams) == ["bats", "birds"]


@pytest.mark.slow
def test_a_file_that_is_not_taken_costs_only_itself(settings: ServerSettings) -> None:
    files = {
        "empty.pdf": b"",
        "large.pdf": b"x" * 1_000_001,
        "broken.pdf": b"%PDF-1.7 no",
        "worse.pdf": b"%PDF-1.4 ",
    }
    small = settings.model_copy(update={"upload_mb": 1})
    with TestClient(create_app(small), base_url="http://127.0.0.1") as client:
        sent = client.post("/v1/documents", files=[("files", item) for item in files.items()])
        told = {item["name"]: item for item in sent.json()["refused"]}
        assert sent.status_code == 202 and sent.json()["files"] == ["broken.pdf", "worse.pdf"]
        assert {name: item["code"] for name, item in told.items()} == {
            "empty.pdf": "empty-file",
            "large.pdf": "file-too-large",
        }
        assert all(name in item["reason"] for name, item in told.items())
        job = sent.json()["job"]
        while job["state"] in ("queued", "running"):
            job = client.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
        # Of those that were taken none could be read.
        assert job["state"] == "failed" and job["result"]["documents"] == []
        assert "none of its 2 files" in job["result"]["reason"]
        assert [item["name"] for item in job["result"]["skipped"]] == sent.json()["files"]
        none = client.post("/v1/documents", files=[("files", i) for i in [*files.items()][:2]])
        assert none.status_code == 422 and none.json()["code"] == "nothing-usable"
        assert "empty.pdf" in none.json()["detail"] and "large.pdf" in none.json()["detail"]
        assert [item["name"] for item in none.json()["refused"]] == ["empty.pdf", "large.pdf"]


@pytest.mark.parametrize(
    ("files", "data", "status", "code"),
    [
        ([("files", ("a.pdf", b"", "application/pdf"))], {}, 422, "empty-file"),
        ([("files", ("a.pdf", b"x", "application/pdf"))], {"metadata": "[1]"}, 422, "bad-metadata"),
        ([("files", ("a.pdf", b"MZ" + b"x" * 99, "application/pdf"))], {}, 415, "unknown-kind"),
        ([("files", ("a.pdf", b"x" * 1_000_001, "application/pdf"))], {}, 413, "file-too-large"),
        ([("files", ("a.pdf", b"x" * 2_500_000, "application/pdf"))], {}, 413, "request-too-large"),
    ],
)
def test_bad_uploads_are_problems(
    settings: ServerSettings, files: Any, data: dict[str, str], status: int, code: str
) -> None:
    small = settings.model_copy(update={"upload_mb": 1, "request_mb": 2})
    with TestClient(create_app(small), base_url="http://127.0.0.1") as client:
        response = client.post("/v1/documents", files=files, data=data)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_read_only_server_changes_nothing(settings: ServerSettings) -> None:
    reading = settings.model_copy(update={"read_only": True})
    with TestClient(create_app(reading), base_url="http://127.0.0.1") as client:
        _search(client, "swifts")
        upload = client.post("/v1/documents", files=[("files", ("a.pdf", b"x", "text/plain"))])
        assert upload.json()["code"] == "read-only"
        assert client.delete("/v1/documents/0").json()["code"] == "read-only"


def test_health_and_metrics(client: TestClient) -> None:
    _search(client, "swifts")
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    text = client.get("/metrics").text
    assert 'folioscope_search_stage_seconds_count{collection="default",stage="total"} 1.0' in text
    assert 'folioscope_index_pages{collection="default"}' in text


def test_a_page_of_another_site_cannot_change_anything(client: TestClient) -> None:
    foreign = client.delete("/v1/documents/0", headers={"Origin": "https://evil.example"})
    assert foreign.json()["code"] == "foreign-origin"
    rebound = client.get("/v1/documents", headers={"Host": "evil.example"})
    assert rebound.status_code == 400


def test_responses_carry_security_headers(client: TestClient) -> None:
    headers = client.get("/v1/documents").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


@pytest.mark.slow
def test_uploads_below_a_relative_folder_with_spaces(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "my own folder"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copytree(built, "index")
    settings = ServerSettings(indexes={"default": Path("index")}, state=Path("st 2"))
    files = {
        "tickets.pdf": pdf(["A ticket for the zebra crossing"]),
        "locked.pdf": pdf(["x"], password="sesame"),
        "notes.txt": b"MZ" + b"x" * 99,
    }
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        sent = client.post("/v1/documents", files=[("files", item) for item in files.items()])
        told = sent.text
        (refused,) = sent.json()["refused"]
        job = sent.json()["job"]
        while job["state"] in ("queued", "running"):
            job = client.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
        told += json.dumps(job) + client.get("/v1/status").text
    assert refused["name"] == "notes.txt" and refused["reason"].startswith("notes.txt: ")
    assert job["state"] == "done", job
    (skipped,) = job["result"]["skipped"]
    assert skipped["name"] == "locked.pdf" and "without one, and send" in skipped["reason"]
    assert all(part not in told for part in ("st 2", "own folder", "uploads", "--password"))


def test_a_page_of_a_locked_document_says_so(tmp_path: Path) -> None:
    file = tmp_path / "locked.pdf"
    file.write_bytes(pdf(["The zebra crossing"], password="sesame"))
    built = BuildSettings(intake=IntakeSettings(password="sesame"))
    Index.create(tmp_path / "index", settings=built).add([file])
    settings = ServerSettings(indexes={"default": tmp_path / "index"}, state=tmp_path / "state")
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        (hit,) = _search(client, "zebra")["hits"]
        answer = client.get(f"/v1/pages/{hit['page_id']}/image")
    assert answer.status_code == 409 and answer.json()["code"] == "locked"
    assert "password" in answer.json()["detail"] and "Save it" in answer.json()["remedy"]


def test_a_body_that_does_not_say_it_is_json_is_told_so(client: TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/search", content='{"question": "swifts"}', headers=form)
    assert answer.status_code == 422
    assert "application/x-www-form-urlencoded" in answer.json()["detail"]
    assert "application/json" in answer.json()["remedy"]
    wrong = client.post("/v1/search", json=["swifts"]).json()
    assert "valid dictionary" in wrong["detail"]

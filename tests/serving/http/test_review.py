"""What waits for a person: who sees it, who decides, what the asker hears."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.http.app import create_app
from serving.http.auth import Keys
from serving.http.database import Database
from serving.http.settings import ServerSettings
from serving.safety.gate import SafetyGate
from serving.safety.limits import Timed
from serving.safety.policy import Policy, read_policy
from serving.safety.queue import ReviewQueue
from serving.safety.types import Case, Score

ASKED = {"question": "What is the total of invoice FF-2025-0318?"}


@dataclass
class Wary:
    """Finds one line of the invoice borderline, and questions that say "borderline"."""

    id: str = "wary-1"
    categories: tuple[str, ...] = ("injection",)

    def detect(self, case: Case) -> Sequence[Score]:
        if "borderline" in case.question:
            return [Score("injection", 0.7, "question", quote=case.question)]
        return [
            Score("injection", 0.7, "page", page.page_id, "Total due", (0.5, 0.6, 0.9, 0.7))
            for page in case.evidence
            if "FF-2025-0318" in page.words.texts
        ]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    path = tmp_path / "policy.json"
    made: dict[str, Any] = {
        "schema_version": 1,
        "name": "wary",
        "revision": 1,
        "fast": [],
        "heavy": [],
        "optional": [],
        "seconds": {"fast": 5.0, "heavy": 5.0},
        "categories": {"injection": {"review": 0.6, "block": 0.9, "pages": "leave-out"}},
        "guards": [],
    }
    path.write_text(json.dumps(made))
    return read_policy(path)


@pytest.fixture
def served(
    built: Path, tmp_path: Path, policy: Policy
) -> Iterator[tuple[TestClient, dict[str, dict[str, str]]]]:
    """A server whose gate is wary, and headers by key."""
    shutil.copytree(built, tmp_path / "index")
    settings = ServerSettings(indexes={"one": tmp_path / "index"}, state=tmp_path / "state")
    keys = Keys(Database(settings.state / "server.sqlite"))
    tokens = {
        "reader": keys.create("reader", ["read"])[1],
        "reviewer": keys.create("reviewer", ["read", "review"])[1],
        "tenant": keys.create("tenant", ["read", "review"], ["one"], {"team": "birds"})[1],
        "elsewhere": keys.create("elsewhere", ["review"], ["two"])[1],
    }
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        queue = ReviewQueue(settings.state / "review.sqlite")
        gate = SafetyGate(policy, [Timed(Wary(), 5.0)], [], queue=queue)
        app.state.server = replace(app.state.server, gate=gate)
        yield client, {key: {"Authorization": f"Bearer {t}"} for key, t in tokens.items()}
        queue.close()


Served = tuple[TestClient, dict[str, dict[str, str]]]


def test_a_borderline_question_waits_and_then_is_answered(served: Served) -> None:
    client, keys = served
    asked = {"question": "borderline: what is the total of invoice FF-2025-0318?"}
    held = client.post("/v1/ask", json=asked, headers=keys["reader"]).json()
    assert held["status"] == "review" and not held["hits"] and not held["claims"]
    case_id = held["safety"]["before"]["review_id"]
    assert client.get("/v1/review", headers=keys["reader"]).status_code == 403

    (case,) = client.get("/v1/review", headers=keys["reviewer"]).json()
    assert (case["id"], case["place"], case["quote"]) == (case_id, "question", asked["question"])
    url = f"/v1/review/{case_id}"
    decided = client.post(f"{url}/reject", json={"note": "no"}, headers=keys["reviewer"]).json()
    assert decided["state"] == "rejected" and decided["note"] == "no"
    again = client.post(f"{url}/reject", json={}, headers=keys["reviewer"])
    assert (again.status_code, again.json()["code"]) == (409, "already-decided")
    blocked = client.post("/v1/ask", json=asked, headers=keys["reader"]).json()
    assert blocked["status"] == "blocked"
    client.post(f"{url}/approve", json={}, headers=keys["reviewer"])
    answered = client.post("/v1/ask", json=asked, headers=keys["reader"]).json()
    assert answered["status"] != "blocked" and answered["hits"]
    metrics = client.app.state.server.metrics.text().decode()  # type: ignore[attr-defined]
    assert 'verdicts_total{band="review",stage="before"} 1.0' in metrics
    assert 'verdicts_total{band="block",stage="before"} 1.0' in metrics


def test_a_page_that_waits_is_left_out_and_shown_to_the_reviewer(served: Served) -> None:
    client, keys = served
    body = {**ASKED, "filter": "source LIKE '%invoice%'"}
    client.post("/v1/ask", json=body, headers=keys["reader"])
    (case,) = client.get("/v1/review", headers=keys["reviewer"]).json()
    assert case["name"] == "invoice-ff-2025-0318.pdf" and case["box"] == [0.5, 0.6, 0.9, 0.7]
    assert "/" not in case["name"]
    page = client.get(f"/v1/pages/{case['page_id']}/image", headers=keys["reviewer"])
    assert page.status_code == 200


def test_one_tenants_cases_are_not_anothers(served: Served) -> None:
    client, keys = served
    asked = {"question": "borderline: what now?"}
    held = client.post("/v1/ask", json=asked, headers=keys["tenant"]).json()
    theirs = held["safety"]["before"]["review_id"]
    client.post("/v1/ask", json=asked, headers=keys["reader"])
    both = client.get("/v1/review", headers=keys["reviewer"]).json()
    assert len(both) == 2, "an operator sees every tenant's cases, each on its own"
    (mine,) = client.get("/v1/review", headers=keys["tenant"]).json()
    assert mine["id"] == theirs
    other = next(case["id"] for case in both if case["id"] != theirs)
    for url in (f"/v1/review/{other}", "/v1/review/rv-000000000000"):
        assert client.get(url, headers=keys["tenant"]).status_code == 404
        assert client.post(f"{url}/approve", json={}, headers=keys["tenant"]).status_code == 404
    for url in ("/v1/review?collection=one", f"/v1/review/{theirs}"):
        assert client.get(url, headers=keys["elsewhere"]).status_code == 404


def test_the_stream_tells_the_verdict_and_no_word_before_it(served: Served) -> None:
    client, keys = served
    asked = {"question": "borderline: what is the total?"}
    text = client.post("/v1/ask/stream", json=asked, headers=keys["reader"]).text
    assert "event: answer" in text and '"band": "review"' in text.replace('":"', '": "')
    assert "event: hits" not in text and "event: token" not in text


def test_without_a_gate_there_is_no_queue(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "index")
    settings = ServerSettings(
        indexes={"one": tmp_path / "index"}, state=tmp_path / "state", safety="off"
    )
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/review").json()["code"] == "no-review"
        assert client.post("/v1/ask", json=ASKED).json()["safety"] == {}

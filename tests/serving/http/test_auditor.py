"""The recall auditor: live queries asked again exhaustively."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from fastapi.testclient import TestClient

from indexing.index import Index
from serving.http.app import create_app
from serving.http.auditor import RecallAuditor
from serving.http.metrics import Metrics
from serving.http.settings import ServerSettings
from serving.http.state import ServerState


def test_a_live_query_is_asked_again_and_its_recall_exported(settings: ServerSettings) -> None:
    audited = settings.model_copy(update={"audit_recall": 1.0})
    with TestClient(create_app(audited), base_url="http://127.0.0.1") as client:
        client.post("/v1/search", json={"question": "how many swifts were counted", "k": 10})
        state: ServerState = client.app.state.server  # type: ignore[attr-defined]
        assert state.auditor is not None
        state.auditor.close()  # it ends when what was offered is done
        metrics = client.get("/metrics").text
    assert 'folioscope_audited_recall{collection="default"} 1.0' in metrics


def test_a_stage_one_that_loses_pages_is_warned_of(
    built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact = Index.open(built).search("how many swifts were counted", 4, mode="exhaustive")
    assert len(exact.hits) == 4
    metrics = Metrics()
    auditor = RecallAuditor(1.0, 0.95, metrics)
    auditor.offer("default", replace(exact, hits=exact.hits[:3]), lambda: exact)
    auditor.close()
    assert 'folioscope_audited_recall{collection="default"} 0.75' in metrics.text().decode()
    assert "found 0.750 of the exhaustive top" in caplog.text


def test_a_query_that_cannot_be_audited_costs_only_itself(built: Path) -> None:
    exact = Index.open(built).search("how many swifts were counted", 4, mode="exhaustive")

    def closed() -> NoReturn:
        raise RuntimeError("the index was closed meanwhile")

    metrics = Metrics()
    auditor = RecallAuditor(1.0, 0.95, metrics)
    auditor.offer("default", exact, closed)
    auditor.offer("default", exact, lambda: exact)
    auditor.close()
    assert 'folioscope_audited_recall{collection="default"} 1.0' in metrics.text().decode()

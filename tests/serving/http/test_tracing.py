"""Traces: what a request leaves behind, and that nothing is traced unasked."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from retrieval.errors import InputError
from serving.http.app import create_app
from serving.http.settings import ServerSettings
from serving.http.tracing import Tracing, open_tracing

pytest.importorskip("opentelemetry.sdk")
QUESTION = "how many swifts were counted"
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_request_is_a_span_with_the_stages_of_its_search(settings: ServerSettings) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    app = create_app(settings, tracing=Tracing(provider))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        caller = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
        client.post("/v1/search", json={"question": QUESTION}, headers=caller)
        client.post("/v1/ask", json={"question": QUESTION})
        client.get("/v1/documents/77")
        spans = {span.name: span for span in kept.get_finished_spans()}
    request, search = spans["POST /v1/search"], spans["search"]
    assert request.attributes["http.response.status_code"] == 200
    assert f"{request.context.trace_id:032x}" == CALLER
    assert search.parent.span_id == request.context.span_id
    stages = [spans[f"search.{stage}"] for stage in ("encode", "coarse", "fetch", "rerank")]
    for before, after in pairwise(stages):
        assert before.parent.span_id == search.context.span_id
        assert search.start_time <= before.start_time <= before.end_time == after.start_time
    assert search.attributes["hits"] > 0
    assert spans["answer"].parent.span_id == spans["POST /v1/ask"].context.span_id
    assert spans["answer"].attributes["safety.before"] == "allow"
    missing = spans["GET /v1/documents/{doc_id}"]
    assert missing.attributes["http.response.status_code"] == 404
    told = str([dict(span.attributes) for span in spans.values()])
    assert "swifts" not in told and str(settings.state.parent) not in told


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
    ],
)
def test_the_standard_variables_say_whether(variables: dict[str, str], on: bool) -> None:
    tracing = open_tracing(variables)
    assert (tracing is not None) == on
    if tracing is not None:
        tracing.close()


def test_an_exporter_that_is_not_installed_is_said() -> None:
    with pytest.raises(InputError, match="exports traces as 'pigeon'"):
        open_tracing({"OTEL_TRACES_EXPORTER": "pigeon"})


def test_untraced_nothing_of_it_is_loaded(repository: Path) -> None:
    code = "import sys, serving.http.run as r; r.open_tracing({}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository
    )
    assert "fastapi" in loaded.stdout.split()
    assert not [name for name in loaded.stdout.split() if name.startswith("opentelemetry.sdk")]

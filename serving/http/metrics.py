"""What the server measures of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """One registry a server, so that several in one process (tests) do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "folioscope_requests_total",
            "HTTP requests by route, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "folioscope_request_seconds",
            "Time from request to the end of the response.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "folioscope_search_stage_seconds",
            "Time of a search by stage: encode, coarse, fetch, rerank, total.",
            ("collection", "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "folioscope_answer_stage_seconds",
            "Time of an answer by stage: those of its search, read (checks included), total.",
            ("collection", "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.inside = Gauge(
            "folioscope_lane_requests",
            "Requests being worked on or waiting, by lane.",
            ("lane",),
            registry=registry,
        )
        self.generation = Gauge(
            "folioscope_index_generation", "Generation served.", ("collection",), registry=registry
        )
        self.pages = Gauge(
            "folioscope_index_pages", "Pages served.", ("collection",), registry=registry
        )
        self.jobs = Gauge(
            "folioscope_jobs_waiting", "Unfinished jobs.", ("collection",), registry=registry
        )
        self.verdicts = Counter(
            "folioscope_safety_verdicts_total",
            "Verdicts of the safety gate by stage and band.",
            ("stage", "band"),
            registry=registry,
        )
        self.recall = Gauge(
            "folioscope_audited_recall",
            "Mean share of the exhaustive top ten that live queries found, over the last audits.",
            ("collection",),
            registry=registry,
        )

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

"""OpenTelemetry traces: a span a request, and in it the stages of a search or an answer.

Nothing is traced, or imported, unless the operator asks by the standard OTEL_* variables; these
say where spans go, how many are kept, and under which name. Spans hold numbers and names of ours
(route, collection, generation, counts), never a question or a document's words; FastAPI's own
spans would hold the query of a URL, and with it the question of a heatmap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from retrieval.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
# Not stages: the whole, and what runs beside the others.
_WHOLE = "total"


class Tracing:
    """Makes spans with one provider; ``close`` sends what is left."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("folioscope")

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request, which goes on with its caller's trace if there is one."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            method,
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:
            yield span

    def stages(self, name: str, timing_ms: Mapping[str, float], **attributes: str | int) -> None:
        """The span of work that ended just now, with one in it for each of its stages.

        ``timing_ms`` is as the work measured it, in the order in which its stages ran; the one
        called ``total`` is all of it. Under the current span.
        """
        from opentelemetry.trace import set_span_in_context

        end = time.time_ns()
        at = end - _nanoseconds(timing_ms.get(_WHOLE, 0.0))
        span = self._tracer.start_span(name, start_time=at, attributes=attributes)
        inside = set_span_in_context(span)
        for stage, milliseconds in timing_ms.items():
            if stage != _WHOLE:
                part = self._tracer.start_span(f"{name}.{stage}", context=inside, start_time=at)
                at += _nanoseconds(milliseconds)
                part.end(at)
        span.end(end)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


def tell_response(span: Span, method: str, route: str, status: int) -> None:
    """Note how a request ended, by the field's conventions for HTTP."""
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def open_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Traces as the OTEL_* variables ask for them; None where they do not.

    Raises ``InputError`` if a package is missing that they need, or an exporter is not known.
    """
    exporter = _exporter_name(environment)
    if exporter is None:
        return None
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise InputError(
            f"the OTEL_ variables ask for traces, which need the package '{error.name}'; "
            "run `pip install 'folioscope[otel]'`, or set OTEL_SDK_DISABLED=true"
        ) from error
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "folioscope"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    return Tracing(provider)


def _exporter_name(environment: Mapping[str, str]) -> str | None:
    """Where spans go; None is nowhere. An endpoint alone means OTLP, as elsewhere."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    name = environment.get("OTEL_TRACES_EXPORTER", "")
    if not name and any(environment.get(variable) for variable in _ENDPOINTS):
        name = "otlp"
    if name != "otlp":
        return name if name and name != "none" else None
    protocol = next(filter(None, map(environment.get, _PROTOCOLS)), "http/protobuf")
    return _OTLP.get(protocol, protocol)


def _exporter(name: str) -> Any:
    """The exporter that an installed package offers under ``name``."""
    offered = entry_points(group="opentelemetry_traces_exporter")
    if name not in offered.names:
        known = ", ".join(sorted(offered.names)) or "none"
        raise InputError(
            f"no installed package exports traces as '{name}' (installed: {known}); change "
            "OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_PROTOCOL, or install its package"
        )
    return offered[name].load()()


def _nanoseconds(milliseconds: float) -> int:
    return round(milliseconds * 1e6)

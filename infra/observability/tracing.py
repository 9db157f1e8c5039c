"""Traces over the hops of events: OpenTelemetry's where it is configured, and only their ids everywhere else."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.observability.context import concerning, current_traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

log = logging.getLogger(__name__)

_SCOPE = "earwitness"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_tracer: "Tracer | None" = None


def configure_tracing() -> None:
    """Export spans if the standard variables name an endpoint of OTLP over HTTP; import nothing otherwise."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if _tracer is not None or is_off or exporter != "otlp" or not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:  # no reason not to serve anyone
        log.warning("there are no traces: %s is not installed", error.name)
        return

    provider = TracerProvider()  # it reads the other variables itself
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace_with(provider)


def trace_with(provider: "TracerProvider | None") -> None:
    """Record spans with a provider; with ``None`` no more."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer(_SCOPE)


@contextmanager
def span(name: str, traceparent: str = "", **attributes: str) -> Iterator[None]:
    """Around a piece of work: a span where spans are recorded, and in any case what log lines say of the trace.

    Args:
        name: Of the work.
        traceparent: What it follows from; the present work if left out.
        attributes: What it is about.
    """
    traceparent = traceparent or current_traceparent()
    if _tracer is None:
        with concerning(traceparent=traceparent, **attributes):
            yield
        return
    from opentelemetry.trace import SpanContext
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    before = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    known = {f"earwitness.{key}": value for key, value in attributes.items() if value}
    with _tracer.start_as_current_span(name, before, attributes=known) as begun:
        at: SpanContext = begun.get_span_context()
        here = f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"
        with concerning(traceparent=here, **attributes):
            yield


def describe_span(name: str, **attributes: str | int) -> None:
    """Name the present span by what turned out."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        current = get_current_span()
        current.update_name(name)
        current.set_attributes(attributes)

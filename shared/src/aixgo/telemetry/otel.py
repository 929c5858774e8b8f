"""Spans through the OpenTelemetry SDK, exported by OTLP/HTTP when it is configured.

Configured by the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` or `_TRACES_ENDPOINT`,
`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …); without an endpoint nothing is loaded or sent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aixgo.errors import MissingExtra, code_of
from aixgo.telemetry import names, tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("aixgo.telemetry")

FLUSH_SECONDS = 3.0
"""Time that a shutdown waits for spans; a dead collector must not hold a service up."""

QUEUE_SPANS = 65_536
"""A burst of 20 000 spans overflows the SDK's default of 2 048."""

EXPORT_SECONDS = 2.0
"""Time of one export; the SDK's default of 10 s blocks a shutdown for up to twice that."""


class OpenTelemetrySpan:
    """A span of the SDK behind the seam."""

    def __init__(self, tracer: Any, name: str, kind: Any, parent: Any, attributes: Any) -> None:
        self._span = tracer.start_span(name, context=parent, kind=kind, attributes=attributes)
        context = self._span.get_span_context()
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        )
        self.tracestate = context.trace_state.to_header() if context.trace_state else ""
        self._token: Any = None

    def set(self, name: str, value: Any) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def fail(self, code: str, text: str) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute(names.ERROR_TYPE, code)
        self._span.set_status(Status(StatusCode.ERROR, text[:500]))

    def __enter__(self) -> Self:
        from opentelemetry import context, trace

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from opentelemetry import context

        if error is not None:
            self.fail(code_of(error), str(error))
        context.detach(self._token)
        self._span.end()


class OpenTelemetryTracer:
    """Makes spans with the tracer of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("aixgo")
        self._propagator = TraceContextTextMapPropagator()
        self._kinds = {
            "internal": SpanKind.INTERNAL,
            "producer": SpanKind.PRODUCER,
            "consumer": SpanKind.CONSUMER,
            "client": SpanKind.CLIENT,
            "server": SpanKind.SERVER,
        }

    def span(
        self,
        name: str,
        kind: tracing.Kind,
        traceparent: str,
        tracestate: str,
        attributes: Mapping[str, Any],
    ) -> OpenTelemetrySpan:
        """Start a span below the given context, or below the current span when it is empty."""
        parent = None
        if traceparent:
            carrier = {"traceparent": traceparent}
            if tracestate:
                carrier["tracestate"] = tracestate
            parent = self._propagator.extract(carrier)
        return OpenTelemetrySpan(
            self._tracer, name, self._kinds[kind], parent, dict(attributes) or None
        )


def wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment asks for traces."""
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(
        environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


@contextmanager
def configured(service: str) -> Iterator[None]:
    """Export spans inside the block if the environment asks for it; flush them at its end.

    Args:
        service: value of `service.name` when `OTEL_SERVICE_NAME` does not set it.

    Raises:
        MissingExtra: traces are asked for and the SDK is not installed.
    """
    if not wanted():
        yield
        return
    provider = _provider(service)
    tracing.set_tracer(OpenTelemetryTracer(provider))
    try:
        yield
    finally:
        tracing.set_tracer(None)
        _shut_down(provider)


def _provider(service: str) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra("tracing (OTEL_EXPORTER_OTLP_ENDPOINT is set)", "otel") from error

    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(timeout=EXPORT_SECONDS)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, max_export_batch_size=4_096)
    )
    return provider


def _shut_down(provider: TracerProvider) -> None:
    """Flush in a thread with a deadline: the SDK's own may block far longer."""
    thread = threading.Thread(target=provider.shutdown, name="otel shutdown", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        log.warning("traces.not_flushed", extra={"seconds": FLUSH_SECONDS})

"""The tracing seam: every envelope carries W3C trace context; spans exist when a tracer is set.

Without OpenTelemetry a span costs well under a microsecond and hands its parent's context on, so a
trace that began outside stays whole. `set_tracer` sets the tracer; nothing is exported
anywhere unless it is configured.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

Kind = Literal["internal", "producer", "consumer", "client", "server"]


class Span(Protocol):
    """A running span; a context manager that ends it and records an exception."""

    traceparent: str
    tracestate: str

    def set(self, name: str, value: Any) -> None:
        """Set an attribute."""
        ...

    def fail(self, code: str, text: str) -> None:
        """Mark the span as failed, for a failure that is not raised here."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Tracer(Protocol):
    """Makes spans; `telemetry.otel.OpenTelemetryTracer` is the one that exports."""

    def span(
        self,
        name: str,
        kind: Kind,
        traceparent: str,
        tracestate: str,
        attributes: Mapping[str, Any],
    ) -> Span:
        """Start a span below the given context; an empty one means below the current span."""
        ...


class PassThrough:
    """A span that is not recorded: passes its parent's context on."""

    __slots__ = ("traceparent", "tracestate")

    def __init__(self, traceparent: str, tracestate: str) -> None:
        self.traceparent, self.tracestate = traceparent, tracestate

    def set(self, name: str, value: Any) -> None:
        """Record nothing."""

    def fail(self, code: str, text: str) -> None:
        """Record nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


_tracer: Tracer | None = None
NO_ATTRIBUTES: Mapping[str, Any] = {}


def set_tracer(tracer: Tracer | None) -> None:
    """Use `tracer` for every span of this process from now on; None switches spans off."""
    global _tracer
    _tracer = tracer


def enabled() -> bool:
    """Whether spans are recorded; callers skip building attributes when not."""
    return _tracer is not None


def span(
    name: str,
    kind: Kind = "internal",
    *,
    traceparent: str = "",
    tracestate: str = "",
    attributes: Mapping[str, Any] = NO_ATTRIBUTES,
) -> Span:
    """Start a span below the given W3C context (below the current span when that is empty)."""
    if _tracer is None:
        return PassThrough(traceparent, tracestate)
    return _tracer.span(name, kind, traceparent, tracestate, attributes)


def root_context(run: str, *, checked: bool = False) -> str:
    """Return a `traceparent` for a run that is not traced yet: the run id is the trace id.

    The sampled flag is off, because no span of it exists; neither does its parent, whose id is the
    end of the trace id. A run id of the user's own that cannot be a trace id is hashed into one;
    with `checked` it is one that was made here.
    """
    trace = run if checked or _TRACE_ID.fullmatch(run) else _digest(run)
    return f"00-{trace}-{trace[16:]}-00"


def sampled(traceparent: str) -> bool:
    """Whether spans of the trace are recorded somewhere."""
    return traceparent[-1:] in _SAMPLED


_SAMPLED = frozenset("13579bdf")
"""Last digits of the trace flags with the lowest bit set."""

_TRACE_ID = re.compile("[0-9a-f]{32}")


def _digest(run: str) -> str:
    return hashlib.blake2b(run.encode(), digest_size=16).hexdigest()

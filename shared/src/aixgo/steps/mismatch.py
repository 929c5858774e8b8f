"""What a repeated execution must not do: ask for something else than was recorded, or skip it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aixgo.clock import now
from aixgo.envelope import Envelope
from aixgo.errors import ReplayMismatch
from aixgo.steps.scopes import Scope

_EXCERPT_CHARS = 200
"""Of a request or an answer in an error: enough to recognise it."""

_DIGEST_CHARS = 12
"""Of a fingerprint in an error: enough to compare two of them."""


def mismatch(
    agent: str, request: Envelope, result: Envelope, recorded: Mapping[str, Envelope]
) -> ReplayMismatch:
    """Return the error of a step that is asked for something else than was recorded.

    The text of a recorded request is not kept, because every step would pay for it; its digest and
    its answer are.

    Args:
        recorded: the run's results, as far as they were read.
    """
    whom = "its tool" if request.target == agent else f"agent {request.target!r}"
    asked = f"{whom} for {_excerpt(request)} (digest {_digest(request)})"
    for other in recorded.values():
        if other.fingerprint == request.fingerprint and other.step != request.step:
            asked += f", which is recorded as step {other.step!r}: the order changed"
            break
    return ReplayMismatch(
        run_id=request.run,
        agent=agent,
        step=request.step,
        recorded=f"another request to {whom} (digest {_digest(result)}), {_what_stands(result)}",
        asked=asked,
    )


def check_taken(
    agent: str, request: Envelope, scope: Scope, recorded: Mapping[str, Envelope]
) -> None:
    """Refuse the end of a handler that went another way than an earlier execution did.

    Only the end tells: steps that a handler takes side by side come in any order.

    Raises:
        ReplayMismatch: an earlier execution took a step that this one did not.
    """
    missing = set(untaken(agent, request, scope, recorded.values()))
    if not missing:
        return
    first, *others = sorted(
        (one for one in recorded.values() if one.step in missing), key=lambda one: one.sent_at
    )
    more = f" and {len(others)} more" if others else ""
    raise ReplayMismatch(
        run_id=request.run,
        agent=agent,
        step=first.step,
        recorded=f"its result, {_what_stands(first)}",
        asked=(
            f"nothing for it{more}: it finished without, or it went another way because of what is "
            "no step: a clock, a random value, an error that it caught"
        ),
    )


def untaken(
    agent: str, request: Envelope, scope: Scope, steps: Iterable[Envelope]
) -> Iterable[str]:
    """Yield the steps of a handler below a place that were not taken.

    Markers alone prove nothing, and what handled an event of this handler's is not a step of it.
    """
    for one in steps:
        if not scope.is_untaken(one.step):
            continue
        own = one.depth == request.depth + 1 and one.parent == request.step
        answer = one.kind == "result" and not one.depth and one.source == agent
        # a replay took the failed steps away, but not the finished ones below them
        below = request.epoch > 0 and one.depth > request.depth + 1
        marker = own and one.source == agent and scope.is_marker(one.step, "version")
        if (own or answer or below) and not marker:
            yield one.step


def _what_stands(result: Envelope) -> str:
    age = max(0.0, now() - result.sent_at)
    return f"{result.status} {age:.0f} s ago with {_excerpt(result)}"


def _excerpt(envelope: Envelope) -> str:
    if envelope.error is not None:
        text = f"{envelope.error.code}: {envelope.error.message}"
    else:
        text = envelope.body[: 4 * _EXCERPT_CHARS].decode(errors="replace")
    return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS]}…"


def _digest(envelope: Envelope) -> str:
    return envelope.fingerprint[:_DIGEST_CHARS]

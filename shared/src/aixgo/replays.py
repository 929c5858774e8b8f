"""Handlers that changed while runs were going on: version markers, and what a mismatch says.

A repeated execution goes the way that is recorded. Code that was changed meanwhile may ask for
other steps; then the run stops (`ReplayMismatch`) unless a version marker keeps old runs on the old
way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from aixgo.clock import now
from aixgo.envelope import Envelope, decode
from aixgo.errors import ConfigError, InvalidPayload, ReplayMismatch
from aixgo.scopes import Scope
from aixgo.subjects import CALLS

if TYPE_CHECKING:
    from aixgo.calls.caller import Caller
    from aixgo.execution import Execution

EXCERPT_CHARS = 200
"""Of a request or an answer in an error: enough to recognise it."""

DIGEST_CHARS = 12
"""Of a fingerprint in an error: enough to compare two of them."""

OLD_WAY = 1
"""The version of a run that passed a marker's place before the marker was there."""


# -- version markers -----------------------------------------------------------------------------


async def choose_version(
    ctx: Execution, caller: Caller, scope: Scope, name: str, newest: int
) -> int:
    """See `Context.version`.

    A delivery count is a hint, so a first execution looks too: a broker that crashed may have
    forgotten that this is a repetition, and a wrong choice would be recorded for ever.
    """
    if newest <= OLD_WAY:
        raise ConfigError(
            f"version {newest} of the change {name!r}: 1 is the way before the change; give 2 or "
            "more"
        )
    path = scope.marker("version", name)
    chosen = await ctx.decided(path, int)
    if chosen is None:
        passed = await _passed(caller, ctx, scope)
        chosen = await ctx.decide(path, OLD_WAY if passed else newest)
    if chosen > newest:
        raise ReplayMismatch(
            run_id=ctx.run_id,
            agent=ctx.agent,
            step=path,
            recorded=f"version {chosen} of the change {name!r}",
            asked=f"for version {newest} at most",
        )
    return chosen


async def _passed(caller: Caller, ctx: Execution, scope: Scope) -> bool:
    """Whether an earlier execution took a step at this place that this one has not taken yet.

    Finished steps have results; those that had only begun are queued, with a worker, or parked.
    """
    results = await caller.results.of_run(ctx.run_id)
    if any(_untaken(ctx, scope, results.values())):
        return True
    begun = [one.request for one in await caller.parking.all(ctx.run_id)]
    stream, calls = caller.names.stream(CALLS), caller.names.calls_in(ctx.run_id)
    for record in await caller.broker.read(stream, calls):
        with suppress(InvalidPayload):  # its worker makes a dead letter of it
            begun.append(decode(record.data))
    return any(_untaken(ctx, scope, begun))


def _untaken(ctx: Execution, scope: Scope, steps: Iterable[Envelope]) -> Iterable[str]:
    """Yield the steps of a handler below a place that were not taken.

    Markers alone prove nothing, and what handled an event of this handler's is no step of it.
    """
    for one in steps:
        if not scope.is_untaken(one.step):
            continue
        own = one.depth == ctx.depth + 1 and one.parent == ctx.step
        answer = one.kind == "result" and not one.depth and one.source == ctx.agent
        # a replay took the failed steps away, but not the finished ones below them
        below = ctx.epoch > 0 and one.depth > ctx.depth + 1
        marker = own and one.source == ctx.agent and scope.is_marker(one.step, "version")
        if (own or answer or below) and not marker:
            yield one.step


# -- mismatches ----------------------------------------------------------------------------------


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


def check_taken(ctx: Execution, scope: Scope, recorded: Mapping[str, Envelope]) -> None:
    """Refuse the end of a handler that went another way than an earlier execution did.

    Only the end tells: steps that a handler takes side by side come in any order.

    Raises:
        ReplayMismatch: an earlier execution took a step that this one did not.
    """
    untaken = set(_untaken(ctx, scope, recorded.values()))
    if not untaken:
        return
    first, *others = sorted(
        (one for one in recorded.values() if one.step in untaken), key=lambda one: one.sent_at
    )
    more = f" and {len(others)} more" if others else ""
    raise ReplayMismatch(
        run_id=ctx.run_id,
        agent=ctx.agent,
        step=first.step,
        recorded=f"its result, {_what_stands(first)}",
        asked=(
            f"nothing for it{more}: it finished without, or it went another way because of what is "
            "no step: a clock, a random value, an error that it caught"
        ),
    )


def _what_stands(result: Envelope) -> str:
    age = max(0.0, now() - result.sent_at)
    return f"{result.status} {age:.0f} s ago with {_excerpt(result)}"


def _excerpt(envelope: Envelope) -> str:
    if envelope.error is not None:
        text = f"{envelope.error.code}: {envelope.error.message}"
    else:
        text = envelope.body[: 4 * EXCERPT_CHARS].decode(errors="replace")
    return text if len(text) <= EXCERPT_CHARS else f"{text[:EXCERPT_CHARS]}…"


def _digest(envelope: Envelope) -> str:
    return envelope.fingerprint[:DIGEST_CHARS]

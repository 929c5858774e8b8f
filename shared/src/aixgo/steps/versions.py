"""Handlers that changed while runs were going on: version markers, and what a mismatch says.

A repeated execution goes the way that is recorded. Code that was changed meanwhile may ask for
other steps; then the run stops (`ReplayMismatch`) unless a version marker keeps old runs on the old
way.
"""

from __future__ import annotations

from contextlib import suppress

from aixgo.calls.space import Space
from aixgo.envelope import Envelope, decode
from aixgo.errors import ConfigError, InvalidPayload, ReplayMismatch
from aixgo.steps.execution import Execution
from aixgo.steps.mismatch import untaken
from aixgo.steps.scopes import Scope
from aixgo.subjects import CALLS

_OLD_WAY = 1
"""The version of a run that passed a marker's place before the marker was there."""


# -- version markers -----------------------------------------------------------------------------


async def choose_version(
    ctx: Execution, space: Space, request: Envelope, scope: Scope, name: str, newest: int
) -> int:
    """See `Context.version`.

    A delivery count is a hint, so a first execution looks too: a broker that crashed may have
    forgotten that this is a repetition, and a wrong choice would be recorded for ever.
    """
    if newest <= _OLD_WAY:
        raise ConfigError(
            f"version {newest} of the change {name!r}: 1 is the way before the change; give 2 or "
            "more"
        )
    path = scope.marker("version", name)
    chosen = await ctx.decided(path, int)
    if chosen is None:
        passed = await _passed(space, ctx.agent, request, scope)
        chosen = await ctx.decide(path, _OLD_WAY if passed else newest)
    if chosen > newest:
        raise ReplayMismatch(
            run_id=ctx.run_id,
            agent=ctx.agent,
            step=path,
            recorded=f"version {chosen} of the change {name!r}",
            asked=f"for version {newest} at most",
        )
    return chosen


async def _passed(space: Space, agent: str, request: Envelope, scope: Scope) -> bool:
    """Whether an earlier execution took a step at this place that this one has not taken yet.

    Finished steps have results; those that had only begun are queued, with a worker, or parked.
    """
    results = await space.results.of_run(request.run)
    if any(untaken(agent, request, scope, results.values())):
        return True
    begun = [one.request for one in await space.parking.all(request.run)]
    stream, calls = space.names.stream(CALLS), space.names.calls_in(request.run)
    for record in await space.broker.read(stream, calls):
        with suppress(InvalidPayload):  # its worker makes a dead letter of it
            begun.append(decode(record.data))
    return any(untaken(agent, request, scope, begun))

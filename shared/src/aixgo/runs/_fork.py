"""A new run from the recorded beginning of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from aixgo.calls.caller import Caller
from aixgo.calls.cancel import is_below
from aixgo.calls.dead_letters import DeadLetters
from aixgo.calls.history import History
from aixgo.clock import now
from aixgo.envelope import Envelope, fingerprint, new_id
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.runs._records import Key, Open
from aixgo.schema import to_payload
from aixgo.telemetry import tracing


async def fork(
    caller: Caller,
    open_calls: Mapping[Key, Open],
    *,
    run: str,
    agent: str,
    step: str,
    data: Any,
    timeout: float,
    source: str,
) -> tuple[str, str]:
    """See `Runs.fork`; `agent` is whose call began the run."""
    if timeout <= 0:
        raise ConfigError(f"timeout {timeout!r} s is not above 0 s; give the new run some time")
    origin = await _origin(caller, open_calls, run)
    payload = await _payload(caller, run, origin, data)
    new = new_id()
    await _copy(caller, run, step, new)
    call = Envelope(
        id=new,
        kind="call",
        source=source,
        target=agent,
        run=new,
        payload=payload,
        meta=origin.meta if origin is not None else {},
        deadline=now() + timeout,
        # finished steps are looked for from the first execution on
        epoch=1,
        traceparent=tracing.root_context(new),
        sent_at=now(),
        fingerprint=fingerprint(agent, payload),
    )
    history = History(caller.broker, caller.names)
    await history.add("forked", call, detail=f"from {step or 'the beginning'} of run {run}")
    await caller.send(call)
    return agent, new


async def _origin(caller: Caller, open_calls: Mapping[Key, Open], run: str) -> Envelope | None:
    """Return the call that began a run, if it is still somewhere."""
    found = open_calls.get((run, ""))
    if found is not None:
        return found.request
    for one in await DeadLetters(caller.broker, caller.names).list(run=run):
        envelope = one.letter.envelope
        if envelope is not None and not envelope.step:
            return envelope
    return None


async def _payload(caller: Caller, run: str, origin: Envelope | None, data: Any) -> msgspec.Raw:
    if data is not msgspec.UNSET:
        return to_payload(data)
    if origin is None:
        raise InvalidPayload(
            f"the input of run {run} is not kept, because the run is over: give the input of the "
            "new one (`data`, on the command line TEXT or --data)"
        )
    return msgspec.Raw((await caller.claims.fetch(origin)).body)


async def _copy(caller: Caller, run: str, step: str, new: str) -> None:
    """Record in the new run what was recorded before a step; nothing is paid for it again."""
    for result in (await caller.results.of_run(run)).values():
        if result.step == step:
            return
        # a step below it is part of it, and a step above it is not over before it
        if is_below(result.step, step) or is_below(step, result.step):
            continue
        taken = replace(
            result, id=new_id(), run=new, usage=None, attempt=0, seconds=0.0, sent_at=now()
        )
        await caller.results.settle(result.source, taken)

"""A new run from the recorded beginning of another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from aixgo.calls.caller import Caller
from aixgo.calls.cancel import is_below
from aixgo.calls.results import origin_of
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.envelope import Envelope, Origin, Override, fingerprint, new_id
from aixgo.errors import ConfigError, EffectsRepeated, InvalidPayload
from aixgo.payloads import to_seconds
from aixgo.runs.records import Key, Open
from aixgo.runs.shapes import RunTree
from aixgo.steps.tools import noted
from aixgo.telemetry import tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """What a fork is made of: see `Runs.fork`."""

    step: str
    payload: msgspec.Raw | None
    prompt: str
    model: str
    timeout: float
    source: str
    repeat_effects: bool

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: says what, and what would be right.
        """
        to_seconds(self.timeout, "timeout")
        provider, _, name = self.model.partition("/")
        if self.model and not (provider and name):
            raise ConfigError(
                f"model {self.model!r} names no provider; write provider/model, such as "
                "local/smollm2"
            )


async def fork(
    caller: Caller, open_calls: Mapping[Key, Open], tree: RunTree, made: Fork
) -> tuple[str, str]:
    """Begin the run; `tree` is that of the run which it comes from."""
    run, agent = tree.run_id, tree.agent
    origin = await find_origin(caller.space, open_calls, agent, run)
    payload = made.payload
    if payload is None:
        payload = await _input(caller.space, run, origin)
    recorded = [*(await caller.space.results.of_run(run)).values()]
    if not made.repeat_effects:
        _check_effects(run, made.step, recorded)
    new = new_id()
    overrides = () if origin is None else origin.overrides
    owner = tree.owner(made.step) if made.prompt or made.model else ""
    if owner or overrides:
        overrides += (
            Override(run=new, agent=owner, step=made.step, prompt=made.prompt, model=made.model),
        )
    await _copy(caller.space, run, made.step, new, recorded)
    call = Envelope(
        id=new,
        kind="call",
        source=made.source,
        target=agent,
        run=new,
        payload=payload,
        meta={} if origin is None else origin.meta,
        deadline=now() + made.timeout,
        # finished steps are looked for from the first execution on
        epoch=1,
        traceparent=tracing.root_context(new),
        sent_at=now(),
        fingerprint=fingerprint(agent, payload),
        overrides=overrides,
    )
    await caller.space.history.add("forked", call, detail=_told(run, owner, made))
    await caller.send(call)
    return agent, new


def _told(run: str, owner: str, made: Fork) -> str:
    """Say what a fork was made of."""
    parts = [f"from {made.step or 'the beginning'} of run {run}"]
    if made.model:
        parts.append(f"model {made.model} for {owner}")
    if made.prompt:
        parts.append(f"prompt {made.prompt!r} for {owner}")
    return ", ".join(parts)


async def find_origin(
    space: Space, open_calls: Mapping[Key, Open], agent: str, run: str
) -> Origin | None:
    """Return what a run began with, as far as that is kept."""
    found = open_calls.get((run, ""))
    if found is not None:
        return origin_of(found.request)
    result = await space.results.get(agent, run, "")
    if result is not None and result.origin is not None:
        return result.origin
    for one in await space.dead_letters.list(run=run):
        envelope = one.letter.envelope
        if envelope is not None and not envelope.step:
            return origin_of(envelope)
    return None


async def input_of(space: Space, origin: Origin) -> msgspec.Raw:
    """Return the input of a run.

    Raises:
        BlobMissing: it is large, and the object store forgot it.
    """
    frame = Envelope(id="", kind="call", payload=origin.payload, blob=origin.blob)
    return msgspec.Raw((await space.payloads.fetch(frame)).body)


async def _input(space: Space, run: str, origin: Origin | None) -> msgspec.Raw:
    if origin is None:
        raise InvalidPayload(
            f"the input of run {run} is not kept: it is over, and took no steps, was cancelled or "
            "expired, or its dead letter is gone. Give the input of the new one (`data`, on the "
            "command line TEXT or --data)"
        )
    return await input_of(space, origin)


def _taken_over(step: str, recorded: Sequence[Envelope]) -> Iterator[Envelope]:
    """Yield the results that were recorded before a step, and are no part of it."""
    begun = {noted(result) for result in recorded} - {""}
    for result in recorded:
        if result.step == step:
            return
        # how a tool came to its result, or has not yet: the new run begins it by itself
        if result.step.rsplit("/", 2)[0] in begun and result.step not in begun:
            continue
        # a step below it is part of it, and a step above it is not over before it
        if is_below(result.step, step) or is_below(step, result.step):
            continue
        yield result


def _check_effects(run: str, step: str, recorded: Sequence[Envelope]) -> None:
    """Refuse a fork that would do again what must not be done twice.

    Raises:
        EffectsRepeated: names the tools' steps.
    """
    taken = {result.step for result in _taken_over(step, recorded)}
    begun = {noted(result) for result in recorded} - {""}
    failed = {result.step for result in recorded if result.status != "done"}
    again = sorted(begun - taken - failed)
    if again:
        raise EffectsRepeated(run, step, again)


async def _copy(space: Space, run: str, step: str, new: str, recorded: Sequence[Envelope]) -> None:
    """Record in the new run what was recorded before a step; nothing is paid for it again."""
    copied: set[str] = set()
    for result in _taken_over(step, recorded):
        taken = replace(
            result,
            id=new_id(),
            run=new,
            usage=None,
            answers="",
            attempt=0,
            seconds=0.0,
            sent_at=now(),
            reused=result.reused or run,
        )
        await space.results.settle(result.source, taken)
        copied.add(result.step)
    for version in await space.state.of_run(run):
        if version.by in copied:
            await space.state.write(new, version)

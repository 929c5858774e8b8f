"""Replaying dead letters: a failed run goes on, and what was finished is not done again.

A failure travels up: the leaf that failed, and every caller that failed because of it, are dead
letters of one run. Replaying takes away the failed results of the run, leaves the finished ones,
and publishes the outermost failed call again; it finds its finished steps recorded and does the
rest.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from aixgo.calls.caller import Caller
from aixgo.calls.dead_letters import DeadLetter, Numbered
from aixgo.calls.identity import publication
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.envelope import Envelope, encode, new_id
from aixgo.errors import InvalidPayload
from aixgo.subjects import RESULTS

_EDITED_SECONDS = 300.0
"""Longest wait for an edited inner call, before its callers ask for its result."""


async def replay(caller: Caller, number: int) -> Envelope:
    """Let the run of a dead letter go on; the dead letters of the run are gone then.

    An edited letter reaches its agent as it was edited, also when it is not the outermost one: its
    caller then takes that result for the call that it made.

    Returns:
        The call that was published again, the outermost that had failed.

    Raises:
        NoDeadLetter: there is none of that number.
        InvalidPayload: it never was a message.
    """
    space = caller.space
    dead_letters = space.dead_letters
    letter = await dead_letters.get(number)
    if letter.envelope is None:
        raise InvalidPayload(
            f"dead letter {number} could not be read as a message, so it cannot be replayed; purge "
            "it, and send the message again"
        )
    letters = sorted(await dead_letters.list(run=letter.run_id), key=_depth)
    outermost, inner = letters[0].letter, [one.letter for one in letters[1:]]
    await space.history.add("replayed", _original(outermost), detail=f"dead letter {number}")
    await _forget_failures(space, letter.run_id)
    for edited in reversed([one for one in inner if one.edited]):
        call = await _publish(space, edited)
        await caller.await_result(edited.agent, call.run, call.step, _EDITED_SECONDS)
    published = await _publish(space, outermost)
    for one in letters:
        await dead_letters.remove(one.number)
    return published


def _depth(one: Numbered) -> float:
    return one.letter.envelope.depth if one.letter.envelope is not None else math.inf


async def _forget_failures(space: Space, run: str) -> None:
    """Take away the results of a run that are not values."""
    for subject, result in (await space.results.of_run(run)).items():
        if result.status != "done":
            await space.broker.purge(space.names.stream(RESULTS), subject)


def _original(letter: DeadLetter) -> Envelope:
    assert letter.envelope is not None  # only messages have a run
    return letter.envelope


async def _publish(space: Space, letter: DeadLetter) -> Envelope:
    original = _original(letter)
    executions = max(letter.failure.attempts, 1)
    moment = now()
    call = replace(
        original,
        id=new_id(),
        # not the first execution, so that finished steps are looked for; but the policy's attempts
        # begin anew
        attempt=executions,
        excused=executions,
        woken=True,
        epoch=original.epoch + 1,
        # as much time as it had
        deadline=original.deadline and moment + (original.deadline - original.sent_at),
        sent_at=moment,
    )
    await space.notes.note(call)
    step = (letter.agent, call.run, call.step)
    await space.broker.append(
        space.names.call(*step),
        encode(call),
        msg_id=publication(call),
    )
    return call

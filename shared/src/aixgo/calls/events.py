"""Publishing an event: a fact that goes to every agent that has its publisher in its `inputs`."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from aixgo.calls.space import Space
from aixgo.envelope import Envelope, encode


def event_id(agent: str, run: str, step: str) -> str:
    """Return the id of the event that a step publishes: the same however often it is repeated."""
    return hashlib.blake2b(f"{agent}.{run}.{step}".encode(), digest_size=16).hexdigest()


async def publish_event(space: Space, agent: str, event: Envelope, *, msg_id: str) -> None:
    """Store an event of an agent; the same `msg_id` within five minutes is stored once."""
    envelope = replace(
        event,
        kind="event",
        target="",
        deadline=None,
        fingerprint="",
        depth=0,
        parent="",
        # an event begins anew: what its emitter took for it is not its subscribers' business
        attempt=0,
        answers="",
        excused=0,
        woken=False,
        above=(),
        epoch=0,
        seconds=0.0,
    )
    await space.broker.append(
        space.names.event(agent), encode(await space.payloads.leave(envelope)), msg_id=msg_id
    )

"""Publishing an event: a fact that goes to every agent that has its publisher in its `inputs`.

EVENTS refuses what it has no room for, so no event is dropped that a subscriber has not handled.
What all subscribers have handled goes when room is short (`calls.upkeep.handled`). Where they are
so far behind that no room is left, the publisher waits, or is told at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math

from msgspec.structs import replace

from aixgo.calls.backlog import backlogs
from aixgo.calls.space import Space
from aixgo.calls.upkeep.handled import Handled
from aixgo.config.agents import OnFull
from aixgo.envelope import Envelope, Usage, encode
from aixgo.errors import BrokerError, PermissionDenied, StreamFull
from aixgo.pauses import Pauses
from aixgo.subjects import EVENTS

log = logging.getLogger("aixgo.calls")

PATIENCE_SECONDS = 60.0
"""For which a publisher waits for room: the longest delay of a retry, and that again."""

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""Between two tries."""

_RELIEF_SECONDS = 0.02
"""Between two looks of one process for events that may go: some round trips."""


def event_id(agent: str, run: str, step: str) -> str:
    """Return the id of the event that a step publishes: the same however often it is repeated."""
    return hashlib.blake2b(f"{agent}.{run}.{step}".encode(), digest_size=16).hexdigest()


async def publish_event(
    space: Space,
    agent: str,
    event: Envelope,
    *,
    msg_id: str,
    on_full: OnFull = "wait",
    depth: int = 0,
    usage: Usage | None = None,
) -> None:
    """Store an event of an agent; the same `msg_id` within five minutes is stored once.

    Args:
        on_full: `wait` for room, at most `PATIENCE_SECONDS`, or `error` at once.
        depth: calls and events that led to it; 0 for the first.
        usage: of the executions that led to it.

    Raises:
        StreamFull: subscribers are too far behind; names them.
    """
    envelope = replace(
        event,
        kind="event",
        target="",
        deadline=None,
        fingerprint="",
        depth=depth,
        usage=usage,
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
    data = encode(await space.payloads.leave(envelope))
    pauses = Pauses(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
    clock = asyncio.get_running_loop().time
    until: float | None = None
    told = False
    while True:
        try:
            await space.broker.append(space.names.event(agent), data, msg_id=msg_id)
            return
        except StreamFull as full:
            if until is None:
                space.room.refused += 1
                # what is handled may go, and perhaps that is enough
                until = clock() + (PATIENCE_SECONDS if on_full == "wait" else 0.0)
                await _make_room(space, agent)
                continue
            if clock() >= until:
                raise await _told(space, agent) from full
            if not told:
                told = True
                log.warning("event.waits_for_room", extra={"agent": agent, "error": str(full)})
        await pauses.wait()
        await _make_room(space, agent)


async def _make_room(space: Space, agent: str) -> None:
    """Remove what is handled, unless that was done a moment ago, or is not allowed here."""
    room, clock = space.room, asyncio.get_running_loop().time
    async with room.relief:
        if clock() >= room.relieved + _RELIEF_SECONDS:
            try:
                await Handled(space, (agent,)).make_room()
            except PermissionDenied:
                room.relieved = math.inf  # upkeep does it
                return
            except BrokerError as error:
                log.info("events.not_swept", extra={"error": error.code})
            room.relieved = clock()


async def _told(space: Space, agent: str) -> StreamFull:
    """Return the error of an event that finds no room, with the names of who does not read."""
    try:
        info = await space.broker.stream_info(space.names.stream(EVENTS))
        behind = [one for one in await backlogs(space) if agent in one.sources or not one.sources]
    except BrokerError:  # a client that may publish may not be allowed to ask
        info, behind = None, []
    if info is not None and not behind:
        return StreamFull(
            f"there was no room for an event of agent {agent!r}, because its subscribers were "
            "behind; they have caught up just now, so publish it again"
        )
    limit = f"{info.config.max_bytes:,} bytes of " if info is not None else ""
    who = ", ".join(f"{one.agent!r} ({one.events:,})" for one in behind)
    return StreamFull(
        f"there is no room for an event of agent {agent!r}: all {limit}EVENTS hold what "
        "subscribers have not handled"
        + (f"; behind are {who}" if who else "")
        + ". Start more instances of them, and delete the consumer of one that is no longer served "
        "(`aixgo doctor` names them)"
    )

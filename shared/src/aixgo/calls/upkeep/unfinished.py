"""Which runs are not over: those that something in the broker will still go on with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress

import msgspec

from aixgo.broker.port import Broker
from aixgo.calls.accepted import Accepted, Unsettled
from aixgo.calls.dead_letters import decode_dead_letter
from aixgo.calls.pages import pages
from aixgo.envelope import decode
from aixgo.errors import InvalidPayload
from aixgo.subjects import CALLS, DLQ, EVENTS, PARKED, RESULTS, TIMERS, Names

LOOKS = 2
"""Rounds over all places. A call that goes on is stored in its new place before it leaves the old
one, so a look in one round misses it only if it comes back in between; two rounds miss it only if
it changes its place three times just then."""


def run_of(subject: str) -> str:
    """Return the run in the subject of a call, a result, a note or a parked call."""
    return subject.rsplit(".", 2)[1]


class Unfinished:
    """Finds the runs of a namespace that are not over.

    Args:
        subscribers: agents that handle events.
    """

    def __init__(self, broker: Broker, names: Names, subscribers: Sequence[str]) -> None:
        self._broker, self._names, self._subscribers = broker, names, subscribers
        self._accepted = Accepted(broker, names)
        self._unsettled = Unsettled(broker, names)

    async def runs(self, since: float) -> set[str]:
        """Return the ids of the runs that are not over, without those that began after `since`.

        Args:
            since: Unix seconds of the broker.
        """
        found: set[str] = set()
        young: set[str] = set()
        for _ in range(LOOKS):
            await self._dead_letters(found)
            await self._timers(found)
            await self._parked(found)
            await self._events(found)
            await self._calls(found, young, since)
            if await self._accepted.is_wanted():
                # the queue may have lost them, and they are to be published again
                found.update(run_of(subject) for subject in await self._unsettled.read())
        return found - young

    async def _calls(self, found: set[str], young: set[str], since: float) -> None:
        """Add what is queued or at work; its message stays until it is answered."""
        async with aclosing(pages(self._broker, self._names.stream(CALLS))) as every:
            async for page in every:
                for record in page:
                    run = run_of(record.subject)
                    try:
                        call = decode(record.data)
                    except InvalidPayload:  # its worker makes a dead letter of it
                        found.add(run)
                        continue
                    first = not (call.step or call.attempt or call.epoch)
                    (young if first and record.time > since else found).add(run)

    async def _timers(self, found: set[str]) -> None:
        """Add what a timer will publish: not fired yet, or fired and not taken.

        The timer of a call that went on before its time stays; the call's result says so.
        """
        stream, prefix = self._names.stream(TIMERS), self._names.prefix
        floors: dict[str, int] = {}
        async with aclosing(pages(self._broker, stream)) as every:
            async for page in every:
                for record in page:
                    verb, agent, run, step = record.subject.removeprefix(prefix).split(".", 3)
                    if verb == "wake":
                        if agent not in floors:
                            info = await self._broker.consumer_info(stream, agent)
                            floors[agent] = 0 if info is None else info.ack_floor
                        if record.sequence <= floors[agent]:
                            continue
                    result = f"{prefix}res.{agent}.{run}.{step}"
                    if await self._broker.get(self._names.stream(RESULTS), subject=result) is None:
                        found.add(run)

    async def _parked(self, found: set[str]) -> None:
        stream = f"KV_{self._names.bucket(PARKED)}"
        async with aclosing(pages(self._broker, stream)) as every:
            async for page in every:
                found.update(run_of(record.subject) for record in page if record.data)

    async def _dead_letters(self, found: set[str]) -> None:
        async with aclosing(pages(self._broker, self._names.stream(DLQ))) as every:
            async for page in every:
                for record in page:
                    with suppress(msgspec.DecodeError):  # somebody else's message has no run
                        found.add(decode_dead_letter(record.data).run_id)

    async def _events(self, found: set[str]) -> None:
        """Add the runs of events that a subscriber has not answered."""
        stream = self._names.stream(EVENTS)
        infos = [await self._broker.consumer_info(stream, name) for name in self._subscribers]
        floors = [info.ack_floor for info in infos if info and (info.pending or info.ack_pending)]
        if not floors:
            return
        async with aclosing(pages(self._broker, stream, start=min(floors) + 1)) as every:
            async for page in every:
                for record in page:
                    try:
                        found.add(decode(record.data).run)
                    except InvalidPayload:  # its worker makes a dead letter of it
                        continue

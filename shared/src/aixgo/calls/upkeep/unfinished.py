"""Which runs are not over: those that something in the broker will still go on with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from aixgo.calls.dead_letters import decode_dead_letter
from aixgo.calls.pages import pages
from aixgo.calls.reading import read_event, recorded_call
from aixgo.calls.space import Space
from aixgo.calls.upkeep.unsettled import Unsettled
from aixgo.errors import InvalidPayload
from aixgo.subjects import CALLS, DLQ, EVENTS, TIMERS, is_token, run_of

_LOOKS = 2
"""Rounds over all places. A call that goes on is stored in its new place before it leaves the old
one, so a look in one round misses it only if it comes back in between; two rounds miss it only if
it changes its place three times just then."""


class Unfinished:
    """Finds the runs of a namespace that are not over.

    Args:
        subscribers: agents that handle events.
    """

    def __init__(self, space: Space, subscribers: Sequence[str]) -> None:
        self._space, self._subscribers = space, subscribers
        self._broker, self._names = space.broker, space.names
        self._unsettled = Unsettled(space)

    async def runs(self, since: float) -> set[str]:
        """Return the ids of the runs that are not over, without those that began after `since`.

        Args:
            since: Unix seconds of the broker.
        """
        found: set[str] = set()
        young: set[str] = set()
        for _ in range(_LOOKS):
            await self._dead_letters(found)
            await self._timers(found)
            await self._parked(found)
            await self._events(found)
            await self._calls(found, young, since)
            if await self._space.notes.is_wanted():
                # the queue may have lost them, and they are to be published again
                found.update(
                    run for run in map(run_of, await self._unsettled.read()) if is_token(run)
                )
        return found - young

    async def _calls(self, found: set[str], young: set[str], since: float) -> None:
        """Add what is queued or at work; its message stays until it is answered."""
        async with aclosing(pages(self._broker, self._names.stream(CALLS))) as every:
            async for page in every:
                for record in page:
                    about = self._names.parse(record.subject)
                    if about is None:
                        self._space.foreign.add(record)
                        continue
                    run, call = about.run, recorded_call(self._names, record)
                    if call is None:  # its worker makes a dead letter of it
                        found.add(run)
                        continue
                    first = not (call.step or call.attempt or call.epoch)
                    (young if first and record.time > since else found).add(run)

    async def _timers(self, found: set[str]) -> None:
        """Add what a timer will publish: not fired yet, or fired and not taken.

        The timer of a call that went on before its time stays; the call's result says so.
        """
        stream = self._names.stream(TIMERS)
        floors: dict[str, int] = {}
        async with aclosing(pages(self._broker, stream)) as every:
            async for page in every:
                for record in page:
                    about = self._names.parse(record.subject)
                    if about is None:  # another program's message has no run
                        self._space.foreign.add(record)
                        continue
                    agent = about.agent
                    if about.verb == "wake":
                        if agent not in floors:
                            info = await self._broker.consumer_info(stream, agent)
                            floors[agent] = 0 if info is None else info.ack_floor
                        if record.sequence <= floors[agent]:
                            continue
                    result = self._names.same_step(record.subject, "res")
                    if not await self._space.results.stands_at(result):
                        found.add(about.run)

    async def _parked(self, found: set[str]) -> None:
        async with aclosing(pages(self._broker, self._names.parked_stream)) as every:
            async for page in every:
                runs = [run_of(record.subject) for record in page if record.data]
                found.update(run for run in runs if is_token(run))

    async def _dead_letters(self, found: set[str]) -> None:
        async with aclosing(pages(self._broker, self._names.stream(DLQ))) as every:
            async for page in every:
                for record in page:
                    try:
                        run = decode_dead_letter(record.data).run_id
                    except InvalidPayload:
                        self._space.foreign.add(record)
                        continue
                    if is_token(run):
                        found.add(run)

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
                        found.add(read_event(self._names, record.subject, record.data).run)
                    except InvalidPayload:  # its worker makes a dead letter of it
                        continue

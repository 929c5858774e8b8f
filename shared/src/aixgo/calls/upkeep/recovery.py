"""Recovery: what a server that writes its queue behind has lost is published again.

Runs only where CALLS has `persist="async"`: at the start of a process, after its connection
was restored, and every minute. A noted call (`calls.call_notes`) is lost when it has no result and
is in none of the places that keep calls. A process that moves a call keeps it in its new place
before it leaves the old one, and notes it anew before it is queued, so a note that is still the
newest of its call when it is replaced (compare-and-set) belongs to a call that was not moved
meanwhile. Only between a note and its publication is a call nowhere: so it is looked for twice.

A server that died can also keep calls that it will never deliver: their removal was not written, or
their sequence was given before. They go, and those that have no result are published again, noted
or not, because to the server they are queued and it takes them from no other stream.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from aixgo.broker.port import BrokerEvent, Expect, Record
from aixgo.calls.identity import publication
from aixgo.calls.pages import pages
from aixgo.calls.reading import recorded_call
from aixgo.calls.results import expired_result
from aixgo.calls.space import Space
from aixgo.calls.upkeep.lease import lease
from aixgo.calls.upkeep.unsettled import Unsettled
from aixgo.clock import now
from aixgo.envelope import Envelope, encode, new_id
from aixgo.errors import PermissionDenied, WrongSequence, code_of
from aixgo.subjects import CALLS, DLQ, RESULTS, TIMERS

log = logging.getLogger("aixgo.calls")

EVERY_SECONDS = 60.0
"""Between two looks, as a net; what was lost is looked for after each reconnection."""

MOMENT_SECONDS = 2.5
"""Between the two looks for a call: a publication whose answer was lost is repeated after 2 s."""

_LEASE_SECONDS = 5
"""For which one process looks and others need not; two at once are kept apart by the notes. Short,
because a process or server may die in a look, and then what was lost waits for this time."""

_LEASE = "recover"
"""Key in the `leases` bucket; those of calls have a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a call is known from: sequences of its note in RESULTS and of what is stuck in CALLS.

    0 for none.
    """

    note: int
    stuck: int


class Recovery:
    """Publishes lost calls of a namespace again."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._broker, self._names = space.broker, space.names
        self._unsettled = Unsettled(space)
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Look whenever it is due, until cancelled; return at once where nothing can be lost."""
        self._broker.on_event(self._on_event)
        while True:
            self._due.clear()
            pause = float(_LEASE_SECONDS)
            try:
                if not await self._space.notes.is_wanted():
                    return
                if await self.look():
                    pause = EVERY_SECONDS
            except PermissionDenied as error:
                log.warning("calls.not_recovered_here", extra={"error": str(error)})
                return
            except Exception as error:  # whatever it is, the next look may succeed
                log.warning("calls.not_recovered", extra={"error": code_of(error)}, exc_info=error)
            try:
                async with asyncio.timeout(pause):
                    await self._due.wait()
            except TimeoutError:
                continue

    def _on_event(self, event: BrokerEvent) -> None:
        if event.kind == "reconnected":
            self._due.set()

    async def look(self) -> bool:
        """Publish again what is lost; False: another process looks now.

        Raises:
            BrokerError: it could not; what it did is done.
        """
        async with lease(self._space.leases, _LEASE, _LEASE_SECONDS) as ours:
            if not ours:
                return False
            missing = await self._missing()
            if missing:
                await asyncio.sleep(MOMENT_SECONDS)
                still = await self._missing()
                for subject, place in still.items():
                    if missing.get(subject) == place:
                        await self._recover(subject, place)
            await self._unsettled.remember()
        return True

    # -- looking -------------------------------------------------------------------------------

    async def _missing(self) -> dict[str, _Place]:
        """Return the calls that are noted, or stuck, and in no place from which they go on."""
        noted = {
            self._names.same_step(subject, "call"): sequence
            for subject, sequence in (await self._unsettled.read()).items()
        }
        queued, stuck = await self._queue()
        missing = {}
        for subject in noted.keys() | stuck.keys():
            place = _Place(note=noted.get(subject, 0), stuck=stuck.get(subject, 0))
            if subject not in queued and await self._is_missing(place):
                missing[subject] = place
            elif place.stuck:
                await self._broker.delete_record(self._names.stream(CALLS), place.stuck)
        return missing

    async def _queue(self) -> tuple[set[str], dict[str, int]]:
        """Return the subjects of the calls that will be delivered, and of those that will not.

        A server that died may know what was acknowledged and not what was removed, or give a
        sequence anew: what it keeps up to a consumer's floor it never delivers.
        """
        stream = self._names.stream(CALLS)
        floors: dict[str, int] = {}
        queued: set[str] = set()
        stuck: dict[str, int] = {}
        async with aclosing(pages(self._broker, stream)) as every:
            async for page in every:
                for record in page:
                    about = self._names.parse(record.subject)
                    if about is None:  # no worker is waiting for it
                        continue
                    agent = about.agent
                    if agent not in floors:
                        info = await self._broker.consumer_info(stream, agent)
                        floors[agent] = 0 if info is None else info.ack_floor
                    if record.sequence > floors[agent]:
                        queued.add(record.subject)
                    else:
                        stuck[record.subject] = record.sequence
        return queued, stuck

    async def _is_missing(self, place: _Place) -> bool:
        record = await self._record(place)
        return record is not None and not await self._is_kept(record)

    async def _record(self, place: _Place) -> Record | None:
        """Return what is known of a call; None when it was moved just now."""
        if place.note:
            return await self._broker.at(self._names.stream(RESULTS), place.note)
        return await self._broker.at(self._names.stream(CALLS), place.stuck)

    async def _is_kept(self, record: Record) -> bool:
        """Say whether a call that is not queued is elsewhere.

        In the order in which a call moves on: parked, put off by a timer, dead, finished.
        """
        names, subject = self._names, record.subject
        about = names.parse(subject)
        if about is None:  # another program's note
            self._space.foreign.add(record)
            return True
        key = f"{about.run}.{about.step}"
        parked = await self._broker.last(names.parked_stream, names.parked(key))
        if parked is not None and parked.data:
            if parked.time > record.time:  # parked since then; being woken, it is noted first
                self._unsettled.forget(names.same_step(subject, "run"))
            return True
        return (
            await self._is_put_off(record)
            or await self._is_dead(names.same_step(subject, "call"))
            or await self._space.results.stands_at(names.same_step(subject, "res"))
        )

    async def _is_put_off(self, record: Record) -> bool:
        """Say whether a timer will publish the call, for an execution after the recorded one.

        The timer of a parked call only wakes what is parked.
        """
        known = recorded_call(self._names, record)
        for verb in ("timer", "wake"):
            timer = await self._broker.last(
                self._names.stream(TIMERS), self._names.same_step(record.subject, verb)
            )
            later = None if timer is None else recorded_call(self._names, timer)
            if known is None or later is None or later.woken:
                continue
            if (later.epoch, later.attempt) > (known.epoch, known.attempt):
                return True
        return False

    async def _is_dead(self, subject: str) -> bool:
        letter = self._names.dead_letter(CALLS, subject)
        return await self._broker.last(self._names.stream(DLQ), letter) is not None

    # -- publishing again ----------------------------------------------------------------------

    async def _recover(self, subject: str, place: _Place) -> None:
        record = await self._record(place)
        lost = None if record is None else recorded_call(self._names, record)
        if record is None or lost is None:
            log.warning("call.not_recovered", extra={"subject": subject})
            return
        if lost.deadline is not None and now() >= lost.deadline:
            await self._expire(lost)
            return
        # not the first execution, so that finished steps are looked for; and no failure, so that
        # the policy's attempts are what they were
        again = replace(lost, attempt=lost.attempt + 1, excused=lost.excused + 1, woken=True)
        if place.note:
            try:
                await self._broker.append(
                    record.subject, encode(again), expect=Expect(subject_sequence=place.note)
                )
            except WrongSequence:  # it was moved, or recovered, just now
                return
        await self._broker.append(
            subject,
            encode(again),
            # the lost one's id may be known still, and what follows it has ids of its own
            msg_id=f"{publication(again)}:{new_id()[-12:]}",
        )
        if place.stuck:
            await self._broker.delete_record(self._names.stream(CALLS), place.stuck)
        await self._space.history.add("recovered", again, attempt=again.attempt)
        log.warning(
            "call.recovered",
            extra={"agent": lost.target, "run": lost.run, "step": lost.step},
        )

    async def _expire(self, lost: Envelope) -> None:
        """End a call that no caller waits for, without an agent's help."""
        await self._space.results.settle(lost.target, expired_result(lost, lost.target))
        if lost.depth and lost.kind != "event":
            await self._space.parking.wake(lost.run, lost.parent)

"""Recovery: what a server that writes its queue behind has lost is published again.

Runs only where CALLS has `persist="async"`: at the start of a process, after its connection
was restored, and every minute. A noted call (`calls.accepted`) is lost when it has no result and
is in none of the places that keep calls. Whoever moves a call keeps it in its new place before it
leaves the old one, and notes it anew before it is queued, so a note that is still the newest
of its call when it is replaced (compare-and-set) belongs to a call that nobody moved meanwhile.
Only between a note and its publication is a call nowhere: so it is looked for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

from msgspec.structs import replace

from aixgo.broker._port import Broker, BrokerEvent, Expect, Record
from aixgo.broker.keyvalue import Bucket
from aixgo.calls.accepted import Accepted, Unsettled
from aixgo.calls.claim_check import ClaimCheck
from aixgo.calls.history import History
from aixgo.calls.identity import publication
from aixgo.calls.lease import lease
from aixgo.calls.pages import pages
from aixgo.calls.parking import Parking
from aixgo.calls.results import Results, expired_result
from aixgo.clock import now
from aixgo.envelope import Envelope, decode, encode, new_id
from aixgo.errors import InvalidPayload, PermissionDenied, WrongSequence, code_of
from aixgo.subjects import CALLS, CLAIMS, DLQ, PARKED, RESULTS, TIMERS, Names

log = logging.getLogger("aixgo.calls")

EVERY_SECONDS = 60.0
"""Between two looks, as a net; what was lost is looked for after each reconnection."""

MOMENT_SECONDS = 2.5
"""Between the two looks for a call: a publication whose answer was lost is repeated after 2 s."""

LEASE_SECONDS = 15
"""For which one process looks and others need not; two at once are kept apart by the notes."""

LEASE = "recover"
"""Key in the `claims` bucket; those of calls have a dot."""


class Recovery:
    """Publishes lost calls of a namespace again."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker, self._names = broker, names
        self._accepted = Accepted(broker, names)
        self._unsettled = Unsettled(broker, names)
        self._results = Results(broker, names, ClaimCheck(broker, names))
        self._parking = Parking(broker, names)
        self._history = History(broker, names)
        self._leases = Bucket(broker, names.bucket(CLAIMS))
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Look whenever it is due, until cancelled; return at once where nothing can be lost."""
        try:
            if not await self._accepted.is_wanted():
                return
        except Exception as error:  # the broker may be away; then it is a connection restored
            log.warning("calls.not_recovered", extra={"error": code_of(error)}, exc_info=error)
        self._broker.on_event(self._on_event)
        while True:
            self._due.clear()
            pause = float(LEASE_SECONDS)
            try:
                if await self._accepted.is_wanted() and await self.look():
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
        async with lease(self._leases, LEASE, LEASE_SECONDS) as ours:
            if not ours:
                return False
            missing = await self._missing(await self._unsettled.read())
            if missing:
                await asyncio.sleep(MOMENT_SECONDS)
                noted = await self._unsettled.read()
                still = {one: noted[one] for one in missing if noted.get(one) == missing[one]}
                for subject, sequence in (await self._missing(still)).items():
                    await self._recover(subject, sequence)
            await self._unsettled.remember()
        return True

    # -- looking -------------------------------------------------------------------------------

    async def _missing(self, noted: Mapping[str, int]) -> dict[str, int]:
        """Return those of the noted calls that are in no place which keeps calls."""
        if not noted:
            return {}
        queued: set[str] = set()
        async with aclosing(pages(self._broker, self._names.stream(CALLS))) as every:
            async for page in every:
                queued.update(record.subject for record in page)
        missing = {}
        for subject, sequence in noted.items():
            if self._names.same_step(subject, "call") in queued:
                continue
            note = await self._broker.get(self._names.stream(RESULTS), subject=subject)
            if note is None or note.sequence != sequence:
                continue  # the next look finds it
            if not await self._is_kept(note):
                missing[subject] = sequence
        return missing

    async def _is_kept(self, note: Record) -> bool:
        """Say whether a call that is not queued is elsewhere.

        In the order in which a call moves on: parked, put off by a timer, dead, finished.
        """
        names, subject = self._names, note.subject
        bucket = names.bucket(PARKED)
        parked = await self._broker.get(
            f"KV_{bucket}", subject=f"$KV.{bucket}.{subject.split('.', 4)[4]}"
        )
        if parked is not None and parked.data:
            if parked.time > note.time:  # parked since then; being woken, it is noted first
                self._unsettled.forget(subject)
            return True
        return (
            await self._is_put_off(note)
            or await self._has(DLQ, names.dead_letter(CALLS, names.same_step(subject, "call")))
            or await self._has(RESULTS, names.same_step(subject, "res"))
        )

    async def _is_put_off(self, note: Record) -> bool:
        """Say whether a timer will publish the call, for an execution after the noted one.

        The timer of a parked call only wakes what is parked.
        """
        noted = _read(note)
        for verb in ("timer", "wake"):
            record = await self._broker.get(
                self._names.stream(TIMERS), subject=self._names.same_step(note.subject, verb)
            )
            later = None if record is None else _read(record)
            if noted is None or later is None or later.parks:
                continue
            if (later.epoch, later.attempt) > (noted.epoch, noted.attempt):
                return True
        return False

    async def _has(self, stream: str, subject: str) -> bool:
        return await self._broker.get(self._names.stream(stream), subject=subject) is not None

    # -- publishing again ----------------------------------------------------------------------

    async def _recover(self, subject: str, sequence: int) -> None:
        record = await self._broker.get(self._names.stream(RESULTS), sequence=sequence)
        lost = None if record is None else _read(record)
        if lost is None:
            log.warning("call.not_recovered", extra={"subject": subject, "sequence": sequence})
            return
        if lost.deadline is not None and now() >= lost.deadline:
            await self._expire(lost)
            return
        # not the first execution, so that finished steps are looked for; and no failure, so that
        # the policy's attempts are what they were
        again = replace(lost, attempt=lost.attempt + 1, parks=lost.parks + 1)
        try:
            await self._broker.append(
                subject, encode(again), expect=Expect(subject_sequence=sequence)
            )
        except WrongSequence:  # somebody moved it, or recovered it, just now
            return
        await self._broker.append(
            self._names.same_step(subject, "call"),
            encode(again),
            # the lost one's id may be known still, and what follows it has ids of its own
            msg_id=f"{publication(self._names, again)}:{new_id()[-12:]}",
        )
        await self._history.add("recovered", again, attempt=again.attempt)
        log.warning(
            "call.recovered",
            extra={"agent": lost.target, "run": lost.run, "step": lost.step},
        )

    async def _expire(self, lost: Envelope) -> None:
        """End a call for which nobody waits any more, without an agent's help."""
        await self._results.settle(lost.target, expired_result(lost, lost.target))
        if lost.depth:
            await self._parking.wake(lost.run, lost.parent)


def _read(record: Record) -> Envelope | None:
    """Return the call in a note or a timer; None if it is none, and then nobody can execute it."""
    try:
        return decode(record.data)
    except InvalidPayload:
        return None

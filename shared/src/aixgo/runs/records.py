"""What the broker keeps of calls that are not over, read with a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aixgo.broker.port import Record
from aixgo.calls.parking import Awaited
from aixgo.calls.reading import recorded_call
from aixgo.calls.space import Space
from aixgo.envelope import Envelope
from aixgo.subjects import CALLS, TIMERS

SCANNED = 10_000
"""Most records that one question reads of a stream; what is older is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A call that has no result yet."""

    request: Envelope
    status: Literal["queued", "running", "parked"]
    until: float | None = None
    awaited: tuple[Awaited, ...] = ()


Key = tuple[str, str]
"""Run and step."""


class OpenCalls:
    """The calls of a namespace that are not over."""

    def __init__(self, space: Space) -> None:
        self._broker, self._names = space.broker, space.names
        self._parking, self._foreign = space.parking, space.foreign

    async def of_run(self, run: str) -> Mapping[Key, Open]:
        """Return the open calls of a run."""
        names = self._names
        return await self._find(names.timers_in(run), names.calls_in(run), run)

    async def roots(self) -> Mapping[Key, Open]:
        """Return the calls that began a run which is not over."""
        found = await self._find(self._names.root_timers, self._names.root_calls, "")
        return {key: call for key, call in found.items() if not key[1]}

    async def _find(self, timers: str, calls: str, run: str) -> Mapping[Key, Open]:
        """Return open calls; where one is known in two places, the surer one counts.

        A timer stays until its time also when the call went on before, and a parked call stays
        parked until it is published again.
        """
        found: dict[Key, Open] = {}
        records = await self._broker.read(self._names.stream(TIMERS), timers, limit=SCANNED)
        for timer in filter(None, map(self._request, records)):
            found[timer.run, timer.step] = Open(request=timer, status="queued")
        records = await self._broker.read(self._names.stream(CALLS), calls, limit=SCANNED)
        requests = [(record, request) for record in records if (request := self._request(record))]
        delivered = {
            agent: await self._delivered(agent) for agent in {one.target for _, one in requests}
        }
        for record, request in requests:
            running = record.sequence in delivered[request.target]
            found[request.run, request.step] = Open(
                request=request, status="running" if running else "queued"
            )
        for parked in await self._parking.all(run):
            request = parked.request
            found[request.run, request.step] = Open(
                request=request, status="parked", until=parked.until, awaited=parked.awaited
            )
        return found

    def _request(self, record: Record) -> Envelope | None:
        call = recorded_call(self._names, record)
        if call is None:
            self._foreign.add(record)
        return call

    async def _delivered(self, agent: str) -> set[int]:
        """Return the sequences of an agent's calls that are with a worker.

        Calls are delivered in their order, so they are the oldest ones of those without an answer.
        """
        stream = self._names.stream(CALLS)
        info = await self._broker.consumer_info(stream, agent)
        if info is None or not info.ack_pending:
            return set()
        records = await self._broker.read(
            stream, self._names.calls_of(agent), limit=info.ack_pending
        )
        return {record.sequence for record in records}

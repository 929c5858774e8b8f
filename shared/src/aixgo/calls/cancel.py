"""Cancelling a call and everything below it: running, queued and parked.

The record comes first: it wins or loses against the call's own result. Then workers are told to
stop what runs, and what is queued or parked gets its cancelled record, so that no worker begins it.
"""

from __future__ import annotations

from aixgo.broker.port import Broker
from aixgo.calls.history import History
from aixgo.calls.parking import Parking
from aixgo.calls.reading import recorded_call
from aixgo.calls.results import Results, cancelled_result
from aixgo.clock import now
from aixgo.envelope import Envelope, encode
from aixgo.subjects import CALLS, Names

_REMEMBERED_RUNS = 4_096
"""Cancelled runs that a worker remembers, to refuse what was published at the same moment."""

_OVERLAP_SECONDS = 5.0
"""A call published later than this after the cancel knows of it, as a replay does."""


class Cancels:
    """Cancels calls of a namespace."""

    def __init__(
        self,
        broker: Broker,
        names: Names,
        results: Results,
        parking: Parking,
        history: History,
    ) -> None:
        self._broker, self._names = broker, names
        self._results, self._parking, self._history = results, parking, history

    async def cancel(self, request: Envelope, reason: str) -> Envelope:
        """Cancel a call and what it caused.

        Returns:
            The call's result that stands; if it is not `cancelled`, nothing was cancelled.
        """
        standing = await self._results.settle(
            request.target, cancelled_result(request, request.target, reason)
        )
        if standing.status != "cancelled":
            return standing
        signal = Envelope(
            id=request.id,
            kind="call",
            source=request.source,
            target=request.target,
            run=request.run,
            step=request.step,
            meta={"reason": reason},
            sent_at=now(),
        )
        await self._broker.publish(self._names.cancel(request.run), encode(signal))
        for call in await self._queued(request.run):
            if is_below(call.step, request.step):
                await self._settle(call, reason)
        for parked in await self._parking.all(request.run):
            if is_below(parked.request.step, request.step):
                await self._settle(parked.request, reason)
                await self._parking.remove(parked.request)
        await self._history.add("cancelled", request, detail=reason)
        return standing

    async def _queued(self, run: str) -> list[Envelope]:
        records = await self._broker.read(self._names.stream(CALLS), self._names.calls_in(run))
        # of what is not a call its worker makes a dead letter
        calls = [recorded_call(self._names, record) for record in records]
        return [call for call in calls if call is not None]

    async def _settle(self, call: Envelope, reason: str) -> None:
        await self._results.settle(call.target, cancelled_result(call, call.target, reason))


class CancelledRuns:
    """What a worker remembers of cancel signals, bounded."""

    def __init__(self) -> None:
        self._signals: dict[str, Envelope] = {}

    def remember(self, signal: Envelope) -> None:
        """Keep a signal; the oldest one is forgotten for it."""
        self._signals[signal.run] = signal
        if len(self._signals) > _REMEMBERED_RUNS:
            del self._signals[next(iter(self._signals))]

    def reason(self, request: Envelope) -> str | None:
        """Return why a call that was just delivered must not begin, or None."""
        signal = self._signals.get(request.run) if self._signals else None
        if signal is None or not is_below(request.step, signal.step):
            return None
        if request.sent_at > signal.sent_at + _OVERLAP_SECONDS:
            return None
        return reason_of(signal)


def is_below(step: str, cancelled: str) -> bool:
    """Whether a step is the cancelled one or was caused by it; the run's own call caused all."""
    return not cancelled or step == cancelled or step.startswith(f"{cancelled}/")


def reason_of(signal: Envelope) -> str:
    """Return the reason that a cancel signal carries."""
    return str(signal.meta.get("reason", "the run was cancelled"))

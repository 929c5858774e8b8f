"""How long results are kept: those of a run that is not over as long as it lives, others a while.

Results are stored in the order of time, and nearly all that are old belong to runs that are over.
So a sweep chooses a border, writes what is older and still needed anew, at the end of the stream,
and removes everything before the border. What is needed does not depend on clocks or on what some
process remembers: a run is not over while a call of it is queued, at work, parked or put off by a
timer, while an event of it is unanswered, or while it has a dead letter that may be replayed; and
where the queue may lose calls, while an accepted one has no result. The note that it was accepted
is kept with the run's results and goes with them.

Any process may sweep, at any time, more than one at once, and die in the middle: a record is moved
under compare-and-set, and a run that begins after the border was chosen has no result before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aixgo.broker.port import Expect, Record, StreamInfo
from aixgo.calls.pages import PAGE, pages
from aixgo.calls.space import Space
from aixgo.calls.upkeep.lease import lease
from aixgo.calls.upkeep.rounds import make_rounds
from aixgo.calls.upkeep.unfinished import Unfinished
from aixgo.clock import now
from aixgo.config.retention import Retention
from aixgo.errors import WrongSequence
from aixgo.subjects import RESULTS, run_of

log = logging.getLogger("aixgo.calls")

_LONGEST_PAUSE_SECONDS = 5.0
"""Between two looks at a stream that grows slowly: one request for each process."""

_SHORTEST_PAUSE_SECONDS = 0.25
"""Between two looks at a stream that is nearly full."""

_PRESSED, _RELIEVED = 0.75, 0.5
"""Share of the room above which results go early, and down to which they do."""

_FORGETTING = 0.8
"""What is left at each look of the fastest growth that was seen."""

_OVERDUE = 1.125
"""Age, in parts of `keep`, at which the oldest result begins a sweep: eight sweeps for each `keep`,
not one for each result."""

_READ_COST = 20
"""Records that are read one after the other in the time that one question for a run takes."""

_LEASE_SECONDS = 60
"""For which one process sweeps and others need not; two at once only do the same work twice."""

_LEASE = "sweep"
"""Key in the `leases` bucket; those of calls have a dot."""


_TIDY_SECONDS, _TIDY_LEASE = 60, "tidy"
"""Between two looks at the parked calls, by one process of all; one question for each of them."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: records removed, and records of unfinished runs written anew."""

    removed: int = 0
    moved: int = 0


class Sweeper:
    """Removes results of a namespace that are no longer needed.

    Args:
        subscribers: agents that handle events.
    """

    what, calm = "results", _LONGEST_PAUSE_SECONDS

    def __init__(self, space: Space, settings: Retention, subscribers: Iterable[str] = ()) -> None:
        self._space, self._settings = space, settings
        self._broker, self._names = space.broker, space.names
        self._keep = settings.seconds(in_process=space.broker.in_process)
        self._stream = space.names.stream(RESULTS)
        self._unfinished = Unfinished(space, tuple(subscribers))
        self._seen: tuple[float, int] | None = None
        self._growth = 0.0
        self._tidied = now()
        self.pause = _SHORTEST_PAUSE_SECONDS

    async def run(self) -> None:
        """Sweep whenever something is due, until cancelled."""
        await make_rounds(self)

    async def look(self) -> Swept:
        """Remove what is due now; cheap when nothing is.

        Raises:
            BrokerError: it could not, and nothing that is needed is gone.
        """
        info = await self._broker.stream_info(self._stream)
        if info is None:
            self.pause = _LONGEST_PAUSE_SECONDS
            return Swept()
        await self._tidy()
        border = await self._border(info)
        swept = Swept()
        if border > info.first_sequence:
            async with lease(self._space.leases, _LEASE, _LEASE_SECONDS) as ours:
                if ours:
                    swept = await self._sweep(info, border)
        self.pause = self._next(info, swept)
        return swept

    async def _tidy(self) -> None:
        """Once a minute, forget parked calls that have ended, and wake those left behind."""
        if now() < self._tidied + _TIDY_SECONDS:
            return
        self._tidied = now()
        try:  # not released: another process within its time need not look
            await self._space.leases.create(_TIDY_LEASE, b"", ttl=_TIDY_SECONDS / 2)
        except WrongSequence:
            return
        gone, woken = await self._space.parking.tidy(self._space.results)
        if gone:
            log.warning("calls.parked_after_their_end", extra={"removed": gone})
        if woken:
            log.warning("calls.parked_after_their_answer", extra={"woken": woken})

    def _next(self, info: StreamInfo, swept: Swept) -> float:
        """Return seconds to the next look: four looks before the stream can be full."""
        moment, before, most = now(), self._seen, info.config.max_bytes or math.inf
        self._seen = (moment, info.last_sequence)
        if before is None or moment <= before[0]:
            return _SHORTEST_PAUSE_SECONDS
        growth = (info.last_sequence - before[1]) / (moment - before[0])
        growth *= info.bytes / max(info.messages, 1)
        # a stream that was full did not grow, and will when there is room
        self._growth = max(growth, self._growth * _FORGETTING, 1.0)
        if info.bytes > most * _PRESSED:
            # nothing but runs that are not over would be written anew each time
            useless = swept.removed < swept.moved
            return (
                min(self.pause * 2, _LONGEST_PAUSE_SECONDS) if useless else _SHORTEST_PAUSE_SECONDS
            )
        wanted = (most - info.bytes) / self._growth / 4
        return min(max(wanted, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    # -- where the border is -------------------------------------------------------------------

    async def _border(self, info: StreamInfo) -> int:
        """Return the sequence before which results of runs that are over go; 0 for none."""
        settings, moment, most = self._settings, now(), info.config.max_bytes or math.inf
        oldest = await self._at(info.first_sequence)
        if oldest is None:
            return 0
        border, age = 0, moment - oldest.time
        if age > self._keep * _OVERDUE:
            border = await self._first_since(moment - self._keep, info)
        if info.bytes > most * _PRESSED and age > settings.keep_at_least:
            # results of one system are of about the same size, and the next look corrects it
            surplus = (info.bytes - most * _RELIEVED) / info.bytes
            span = info.last_sequence + 1 - info.first_sequence
            wanted = info.first_sequence + int(span * surplus)
            if wanted > border:
                allowed = await self._first_since(moment - settings.keep_at_least, info)
                border = max(border, min(wanted, allowed))
        return border

    async def _first_since(self, moment: float, info: StreamInfo) -> int:
        """Return the first sequence that is not older than a moment; one after the last for none.

        Found by halving, because a stream knows the times of its records but not their order.
        """
        low, high = info.first_sequence, info.last_sequence + 1
        while low < high:
            middle = (low + high) // 2
            record = await self._at(middle)
            if record is None or record.time >= moment:
                high = middle
            else:
                low = record.sequence + 1
        return low

    async def _at(self, sequence: int) -> Record | None:
        """Return the first record from a sequence on."""
        found = await self._broker.read(self._stream, ">", start=sequence, limit=1)
        return found[0] if found else None

    # -- sweeping ------------------------------------------------------------------------------

    async def _sweep(self, info: StreamInfo, border: int) -> Swept:
        edge = await self._at(min(border, info.last_sequence))
        # the border was chosen first, so a run that begins from now on has nothing before it
        runs = await self._unfinished.runs(since=math.inf if edge is None else edge.time)
        moved = 0
        if runs:
            async with aclosing(self._records_of(runs, info.first_sequence, border)) as found:
                async for records in found:
                    if records[0].sequence < border:
                        moved += await self._move(records)
        removed = await self._remove(info.first_sequence, border)
        log.info("results.swept", extra={"removed": removed, "moved": moved})
        return Swept(removed=removed, moved=moved)

    async def _records_of(
        self, runs: set[str], first: int, border: int
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield all that is kept of each run that may have some before the border, in order."""
        if not self._broker.in_process:
            if len(runs) * _READ_COST > border - first:
                runs = await self._with_results_before(border, runs)
            for run in runs:
                records = await self._broker.read(self._stream, self._names.kept_of(run))
                if records:
                    yield records
            return
        # in one process a look at every record copies nothing, and an index would have to be built
        found: dict[str, list[Record]] = {}
        async with aclosing(pages(self._broker, self._stream)) as every:
            async for page in every:
                for record in page:
                    run = run_of(record.subject)
                    if run in runs:
                        found.setdefault(run, []).append(record)
        for records in found.values():
            yield records

    async def _with_results_before(self, border: int, runs: set[str]) -> set[str]:
        """Return the runs that do have results before the border, by reading everything there."""
        found: set[str] = set()
        async with aclosing(pages(self._broker, self._stream)) as every:
            async for page in every:
                found.update(run_of(record.subject) for record in page if record.sequence < border)
                if page[-1].sequence >= border:
                    break
        return found & runs

    async def _move(self, records: Iterable[Record]) -> int:
        """Write all records of a run anew, so that they keep their order; returns how many."""
        moved = 0
        for record in records:
            try:
                await self._broker.append(
                    record.subject, record.data, expect=Expect(subject_sequence=record.sequence)
                )
                moved += 1
            except WrongSequence:  # replayed or moved by another process just now
                continue
        return moved

    async def _remove(self, first: int, border: int) -> int:
        """Remove everything before the border, in portions that let others have their turn."""
        removed = 0
        for before in range(first + PAGE, border + PAGE, PAGE):
            removed += await self._broker.purge(self._stream, before=min(before, border))
        return removed

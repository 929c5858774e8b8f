"""The worker's side of a durable call: one execution, one result, one answer to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from aixgo.broker.port import BusMessage, Consumption, Delivery, Subscription
from aixgo.calls.cancel import CancelledRuns, is_below, reason_of
from aixgo.calls.exclusive import Hold, Holds
from aixgo.calls.parking import Parked
from aixgo.calls.results import cancelled_result, expired_result
from aixgo.calls.settle import (
    Disowned,
    Done,
    Failed,
    HandOver,
    Held,
    Outcome,
    Settler,
    Standing,
    Waits,
)
from aixgo.calls.space import Space
from aixgo.clock import now, timer
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope, Usage, decode
from aixgo.errors import (
    Abandoned,
    BrokerError,
    InvalidPayload,
    PayloadTooLarge,
    StreamRefused,
)
from aixgo.subjects import CALLS, EVENTS, TIMERS

log = logging.getLogger("aixgo.calls")

MAX_DELIVERIES = 20
"""A call that was delivered more often without an answer ends its worker each time; it becomes a
dead letter. Above what the retries of any policy (15) and some rolling deployments need."""

FLUSH_SECONDS = 2.0
"""For the last acknowledgements of a worker that stops; a lost one costs a look later."""

SETTLING_LOOK_SECONDS = 0.02
"""Between two looks whether an execution was settled: some round trips to the broker."""

TOO_LARGE = (PayloadTooLarge, StreamRefused)
"""What the broker says of a result that it can never take."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
"""Back-off of storing a result while the broker cannot take it."""


class HandlerFailed(Exception):
    """An execution failed: the error, and what it used up to then."""

    def __init__(self, error: BaseException, usage: Usage | None) -> None:
        self.error, self.usage = error, usage
        super().__init__(str(error))


Handle = Callable[[Envelope, int], Awaitable[Envelope]]
"""Executes a request (payload in place) for the nth time (from 1) and returns its result.

Raises:
    HandlerFailed: it failed.
    asyncio.CancelledError: the run was cancelled, or the process stops.
"""


@dataclass(slots=True)
class _Work:
    """A delivery that is being worked on."""

    delivery: Delivery
    request: Envelope
    task: asyncio.Task[None] | None
    cancelled: str | None = None
    """Why it was cancelled."""
    hold: Hold | None = None
    """Of an exclusive call."""


@dataclass(slots=True)
class Counts:
    """What a worker has done since it started."""

    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    busy_seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)


class Worker:
    """Serves the calls, events and fired timers of one agent.

    Args:
        handle: executes a request.
        sources: agents whose events are handled too.
        ack_wait: seconds after which an unanswered delivery goes elsewhere; deliveries at work are
            kept by a heartbeat every third of it.
        exclusive: take hold of each call before it is executed (`aixgo.calls.exclusive`).
    """

    def __init__(
        self,
        space: Space,
        agent: str,
        handle: Handle,
        *,
        retry: Retry,
        concurrency: int,
        sources: tuple[str, ...],
        ack_wait: float,
        exclusive: bool = False,
    ) -> None:
        self._space, self._agent, self._handle = space, agent, handle
        self._broker, self._names = space.broker, space.names
        self._concurrency, self._sources, self._ack_wait = concurrency, sources, ack_wait
        self._results = space.results
        self._settler = Settler(space, agent, retry)
        self._exclusive = Holds(space, agent, ack_wait) if exclusive else None
        self._cancelled = CancelledRuns()
        self._work: dict[str, _Work] = {}
        self._consumptions: list[Consumption] = []
        self._cancels: Subscription | None = None
        self._heart: asyncio.Task[None] | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._time = timer(self._loop)
        self.counts = Counts()

    async def start(self) -> None:
        """Begin to take deliveries.

        Raises:
            StreamNotFound, ConsumerNotFound: the agent is not provisioned.
        """
        names, agent = self._names, self._agent
        self._heart = asyncio.create_task(self._beat(), name=f"{agent}: heartbeats")
        self._cancels = await self._broker.subscribe(names.cancel_all(), self._on_cancel)
        pulls: list[tuple[str, Callable[[Delivery], Awaitable[None]], int]] = [
            (CALLS, self._on_call, self._concurrency),
            (TIMERS, self._on_wake, 16),
        ]
        if self._sources:
            pulls.append((EVENTS, self._on_event, self._concurrency))
        for stream, handler, slots in pulls:
            self._consumptions.append(
                await self._broker.consume(names.stream(stream), agent, handler, slots=slots)
            )

    async def stop(self, grace: float = 0.0) -> None:
        """Take no more; give what runs `grace` seconds, then hand it over at once. Idempotent."""
        self._stopping = True
        consumptions, self._consumptions = self._consumptions, []
        await asyncio.gather(*(consumption.stop(grace) for consumption in consumptions))
        if consumptions:
            # acknowledgements are not waited for; let the broker read the last ones
            with suppress(BrokerError):
                await self._broker.flush(timeout=FLUSH_SECONDS)
        if self._cancels is not None:
            await self._cancels.unsubscribe()
            self._cancels = None
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None

    @property
    def busy(self) -> int:
        """Executions running now."""
        return len(self._work)

    # -- deliveries ----------------------------------------------------------------------------

    async def _on_call(self, delivery: Delivery) -> None:
        try:
            request = decode(delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        await self._serve(delivery, request)

    async def _on_event(self, delivery: Delivery) -> None:
        try:
            event = decode(delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        # each subscriber handles an event as a step of the event's run, so that a redelivery finds
        # what was done already
        step = f"{event.step}/{self._agent}" if event.step else self._agent
        await self._serve(
            delivery, replace(event, target=self._agent, step=f"{step}/{event.id[-12:]}")
        )

    async def _on_wake(self, delivery: Delivery) -> None:
        try:
            request = decode(delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        if request.parks:
            # an answer may have woken it before; then it is not parked any more
            await self._space.parking.wake(request.run, request.step)
        else:
            await self._space.parking.publish(request)
        await delivery.ack()

    async def _serve(self, delivery: Delivery, request: Envelope) -> None:
        step = self._names.step_id(self._agent, request.run, request.step)
        running = self._work.get(step)
        if running is not None:
            running = await self._at_work(step, running, delivery)
        if running is not None:
            # it came back while it is at work here (heartbeats were lost with a connection): the
            # newest delivery is the one to answer
            running.delivery = delivery
            return
        work = _Work(delivery, request, asyncio.current_task(self._loop))
        self._work[step] = work
        try:
            if self._exclusive is not None:
                await self._serve_held(self._exclusive, work)
                return
            outcome = await self._outcome(work)
            work.task = None  # a cancel that comes now is too late: the outcome is known
            await self._settle(work, outcome)
            self._count(outcome)
        except BrokerError as error:
            log.warning(
                "delivery.unanswered",
                extra={"agent": self._agent, "run": request.run, "error": error.code},
                exc_info=error,
            )
        finally:
            del self._work[step]

    async def _at_work(self, step: str, running: _Work, delivery: Delivery) -> _Work | None:
        """Return the execution that a delivery joins, if there is (still) one.

        Another publication cannot join one that is being settled: a call that was just parked may
        be woken before its first delivery is answered.
        """
        until = self._time() + FLUSH_SECONDS
        while running.task is None and running.delivery.sequence != delivery.sequence:
            if self._work.get(step) is not running or self._time() > until:
                break
            await asyncio.sleep(SETTLING_LOOK_SECONDS)
        return self._work.get(step)

    async def _serve_held(self, holds: Holds, work: _Work) -> None:
        """Serve an exclusive call: hold it, execute it, and answer only if it is still ours."""
        task, work.task = work.task, None  # what is cancelled meanwhile is remembered
        hold = await holds.take(work.request, work.delivery.attempt)
        if hold is None:
            await self._settle(work, Held())
            self._count(Held())
            return
        work.hold, work.task = hold, task
        try:
            outcome = await self._outcome(work, hold.refused)
            work.task = None
            if not await hold.holds():
                outcome = Disowned()
            elif not isinstance(outcome, Done):
                # the next worker must not find it held; but a result is stored first
                await hold.release()
            await self._settle(work, outcome)
            self._count(outcome)
        finally:
            await hold.release()

    async def _settle(self, work: _Work, outcome: Outcome) -> None:
        """Answer the delivery; while the broker cannot take a result, keep it and try again.

        To let go would mean to execute, and perhaps to pay, again.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._settler.settle(work.delivery, work.request, outcome)
                return
            except BrokerError as error:
                if isinstance(error, TOO_LARGE) and isinstance(outcome, (Done, Waits)):
                    # it will be no smaller the next time: say so, instead of executing it again
                    attempts = work.request.attempt + work.delivery.attempt
                    usage = outcome.result.usage if isinstance(outcome, Done) else None
                    outcome = Failed(error, attempts, usage)
                    continue
                deadline = work.request.deadline
                late = deadline is not None and now() > deadline
                if not error.retryable or late or self._stopping:
                    raise
                log.warning(
                    "result.not_stored",
                    extra={"agent": self._agent, "run": work.request.run, "error": error.code},
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _outcome(self, work: _Work, refused: int = 0) -> Outcome:
        """Execute a call if it has to be.

        Args:
            refused: deliveries of it that were no executions.
        """
        request = work.request
        deliveries = work.delivery.attempt - refused
        attempt = request.attempt + deliveries
        began = self._time()
        try:
            about = (self._agent, request.run, request.step)
            if await self._results.stands(*about, decisive=True):
                return Standing()
            if request.deadline is not None and now() >= request.deadline:
                return Done(expired_result(request, self._agent))
            reason = self._cancelled.reason(request)
            if reason is not None:
                return Done(cancelled_result(request, self._agent, reason))
            if deliveries > MAX_DELIVERIES:
                return Failed(Abandoned(self._agent, MAX_DELIVERIES), attempt)
            self.counts.received += 1
            if request.blob is not None:
                request = await self._space.payloads.fetch(request)
            return Done(await self._handle(request, attempt))
        except HandlerFailed as failed:
            return Failed(failed.error, attempt, failed.usage, self._time() - began)
        except Parked as parked:
            return Waits(parked, attempt)
        except BrokerError as error:
            if error.retryable:  # nothing was executed, so no attempt is used up: it comes back
                raise
            return Failed(error, attempt)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # nobody cancelled this task: the handler awaited something that was cancelled
                return Failed(error, attempt)
            if work.cancelled is not None:
                task.uncancel()
                return Done(cancelled_result(request, self._agent, work.cancelled))
            if work.hold is not None and work.hold.lost:
                task.uncancel()
                return Disowned()
            if self._stopping:
                task.uncancel()
                return HandOver()
            raise
        finally:
            self.counts.busy_seconds += self._time() - began

    def _count(self, outcome: Outcome) -> None:
        counts = self.counts
        match outcome:
            case Done():
                if outcome.result.status == "done":
                    counts.succeeded += 1
                else:
                    counts.failed += 1
            case Failed(error):
                counts.failed += 1
                name = type(error).__name__
                counts.errors[name] = counts.errors.get(name, 0) + 1
            case _:
                counts.skipped += 1

    # -- heartbeats and cancels ----------------------------------------------------------------

    async def _beat(self) -> None:
        """Keep every delivery at work; one task for all of them, so nothing is paid for each."""
        period = self._ack_wait / 3
        while True:
            await asyncio.sleep(period)
            for work in list(self._work.values()):
                try:
                    await work.delivery.in_progress()
                except BrokerError:
                    break  # disconnected: the next beat tries again
            with suppress(TimeoutError, BrokerError):
                async with asyncio.timeout(period / 4):
                    for work in list(self._work.values()):
                        await self._stop_if_settled(work)
            if self._exclusive is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(period):
                        await asyncio.gather(*map(self._renew, list(self._work.values())))

    async def _stop_if_settled(self, work: _Work) -> None:
        """Stop what has its result: a cancel signal can be lost, its record cannot."""
        request = work.request
        standing = await self._results.get(self._agent, request.run, request.step)
        if standing is None or work.task is None or work.cancelled is not None:
            return
        failure = standing.error
        work.cancelled = "it has its result already" if failure is None else failure.message
        work.task.cancel()

    async def _renew(self, work: _Work) -> None:
        """Keep the hold on an exclusive call, or stop the handler at once when it is lost."""
        if work.hold is None:
            return
        try:
            held = await work.hold.renew()
        except BrokerError:
            return  # the next beat tries again
        if not held and work.task is not None and work.cancelled is None:
            work.task.cancel()

    def _on_cancel(self, message: BusMessage) -> None:
        try:
            signal = decode(message.data)
        except InvalidPayload:
            log.warning("cancel.unreadable", extra={"subject": message.subject})
            return
        self._cancelled.remember(signal)
        for work in self._work.values():
            request = work.request
            if request.run != signal.run or work.task is None or work.cancelled is not None:
                continue
            if is_below(request.step, signal.step):
                work.cancelled = reason_of(signal)
                work.task.cancel()

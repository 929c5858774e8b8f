"""The worker's side of a durable call: one execution, one result, one answer to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from aixgo.broker.port import BusMessage, Consumption, Delivery, Subscription
from aixgo.calls.cancel import CancelledRuns, is_below, reason_of
from aixgo.calls.care import Care
from aixgo.calls.exclusive import Holds
from aixgo.calls.parking import Parked
from aixgo.calls.reading import event_step, read_call, read_event
from aixgo.calls.results import cancelled_result, expired_result
from aixgo.calls.settle import (
    Again,
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
from aixgo.calls.tally import Tally
from aixgo.calls.work import Counts, Work
from aixgo.clock import now, timer
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope, Usage, decode
from aixgo.errors import (
    AgentTimeout,
    BrokerError,
    HandlerExited,
    InvalidPayload,
    PayloadTooLarge,
    ProcessDied,
    StreamRefused,
    code_of,
)
from aixgo.pauses import Pauses
from aixgo.subjects import CALLS, EVENTS, TIMERS, step_id

log = logging.getLogger("aixgo.calls")

_FLUSH_SECONDS = 2.0
"""For the last acknowledgements of a worker that stops; a lost one costs a look later."""

_SETTLING_LOOK_SECONDS = 0.02
"""Between two looks whether an execution was settled: some round trips to the broker."""

_TOO_LARGE = (PayloadTooLarge, StreamRefused)
"""What the broker says of a result that it can never take."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
"""Back-off of storing a result while the broker cannot take it."""

_WAKES = 16
"""Fired timers that are published again at once: two writes each."""


class HandlerFailed(Exception):
    """An execution failed: the error, and what it used up to then."""

    def __init__(self, error: BaseException, usage: Usage | None) -> None:
        self.error, self.usage = error, usage
        super().__init__(code_of(error))  # the error's own text may not be readable


Handle = Callable[[Envelope, int], Awaitable[Envelope]]
"""Executes a request (payload in place) for the nth time (from 1) and returns its result.

Raises:
    HandlerFailed: it failed.
    asyncio.CancelledError: the run was cancelled, or the process stops.
"""


class Worker:
    """Serves the calls, events and fired timers of one agent.

    Args:
        handle: executes a request.
        sources: agents whose events are handled too.
        ack_wait: seconds after which an unanswered delivery goes elsewhere; deliveries at work are
            kept by a heartbeat every third of it.
        exclusive: take hold of each call before it is executed (`aixgo.calls.exclusive`).
        longest: seconds that an execution may take, by the agent's own limit.
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
        longest: float | None = None,
    ) -> None:
        self._space, self._agent, self._handle = space, agent, handle
        self._broker, self._names, self._results = space.broker, space.names, space.results
        self._retry, self._concurrency, self._sources = retry, concurrency, sources
        self._tally = Tally(space, agent)
        self._settler = Settler(space, agent, retry, self._tally)
        self._exclusive = Holds(space, agent, ack_wait) if exclusive else None
        self._cancelled = CancelledRuns()
        self._work: dict[str, Work] = {}
        self._unanswered: dict[str, Envelope] = {}
        self._consumptions: list[Consumption] = []
        self._cancels: Subscription | None = None
        self._heart: asyncio.Task[None] | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._time = timer(self._loop)
        self._longest = longest
        self._care = Care(space, agent, self._work, ack_wait, longest, self._leave)
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
            (TIMERS, self._on_wake, _WAKES),
        ]
        if self._sources:
            pulls.append((EVENTS, self._on_event, self._concurrency))
        for stream, handler, slots in pulls:
            self._consumptions.append(
                await self._broker.consume(names.stream(stream), agent, handler, slots=slots)
            )

    async def stop(self, grace: float = 0.0) -> None:
        """Take no more; let what runs finish in `grace` seconds, then hand it over. Idempotent."""
        self._stopping = True
        consumptions, self._consumptions = self._consumptions, []
        extra = [work.instead for work in self._care.left if work.instead is not None]
        await asyncio.gather(*(consumption.stop(grace) for consumption in (*consumptions, *extra)))
        self._care.complain()
        if consumptions:
            # acknowledgements are not waited for; let the broker read the last ones
            with suppress(BrokerError):
                await self._broker.flush(timeout=_FLUSH_SECONDS)
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
            request = read_call(self._names, self._agent, delivery.subject, delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        await self._serve(delivery, request)

    async def _on_event(self, delivery: Delivery) -> None:
        try:
            event = read_event(self._names, delivery.subject, delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        # each subscriber handles an event as a step of the event's run, so that a redelivery finds
        # what was done already
        step = event_step(event, self._agent)
        await self._serve(delivery, replace(event, target=self._agent, step=step))

    async def _on_wake(self, delivery: Delivery) -> None:
        try:
            request = read_call(self._names, self._agent, delivery.subject, delivery.data)
        except InvalidPayload as error:
            await self._settler.refuse(delivery, error)
            return
        if request.woken:
            # an answer may have woken it before; then it is no longer parked
            await self._space.parking.wake(request.run, request.step)
        else:
            await self._space.parking.publish(request)
        await delivery.ack()

    async def _serve(self, delivery: Delivery, request: Envelope) -> None:
        step = step_id(self._agent, request.run, request.step)
        running = self._work.get(step)
        if running is not None:
            running = await self._at_work(step, running, delivery)
        if running is not None:
            # it came back while it is at work here (heartbeats were lost with a connection): the
            # newest delivery is the one to answer
            running.delivery = delivery
            return
        work = Work(delivery, request, asyncio.current_task(self._loop), self._time())
        self._work[step] = work
        try:
            if step in self._unanswered:
                await self._excuse(step)
            if self._exclusive is not None:
                await self._serve_held(self._exclusive, work)
                return
            outcome = await self._outcome(work)
            work.task = None  # a cancel that comes now is too late: the outcome is known
            await self._settle(work, outcome)
        except BrokerError as error:
            self._unanswered[step] = request
            log.warning(
                "delivery.unanswered",
                extra={"agent": self._agent, "run": request.run, "error": error.code},
                exc_info=error,
            )
        finally:
            if self._work.get(step) is work:
                del self._work[step]
            if work.left:
                await self._care.is_back(work)

    async def _excuse(self, step: str) -> None:
        """Write down that a delivery came back because the broker was away, not its worker."""
        await self._tally.handed(self._unanswered[step])
        del self._unanswered[step]

    async def _at_work(self, step: str, running: Work, delivery: Delivery) -> Work | None:
        """Return the execution that a delivery joins, if there is (still) one.

        Another publication cannot join one that is being settled: a call that was just parked may
        be woken before its first delivery is answered.
        """
        until = self._time() + _FLUSH_SECONDS
        while running.task is None and running.delivery.sequence != delivery.sequence:
            if self._work.get(step) is not running or self._time() > until:
                break
            await asyncio.sleep(_SETTLING_LOOK_SECONDS)
        return self._work.get(step)

    async def _serve_held(self, holds: Holds, work: Work) -> None:
        """Serve an exclusive call: hold it, execute it, and answer only if it is still ours."""
        task, work.task = work.task, None  # what is cancelled meanwhile is remembered
        hold = await holds.take(work.request)
        if hold is None:
            await self._settle(work, Held())
            return
        work.hold, work.task = hold, task
        try:
            outcome = await self._outcome(work)
            work.task = None
            if not await hold.holds():
                outcome = Disowned()
            elif not isinstance(outcome, Done):
                # the next worker must not find it held; but a result is stored first
                await hold.release()
            await self._settle(work, outcome)
        finally:
            await hold.release()

    async def _settle(self, work: Work, outcome: Outcome) -> None:
        """Answer the delivery, and count what it came to.

        While the broker cannot take a result, it is kept and tried again: to let go would mean to
        execute, and perhaps to pay, again.
        """
        pauses: Pauses | None = None
        while not work.left:
            try:
                self._count(await self._settler.settle(work.delivery, work.request, outcome))
                return
            except BrokerError as error:
                if isinstance(error, _TOO_LARGE) and isinstance(outcome, (Done, Waits)):
                    # it will not be smaller the next time: say so, instead of executing it again
                    outcome = self._instead(work, outcome, error)
                    continue
                deadline = work.request.deadline
                late = deadline is not None and now() > deadline
                if not error.retryable or late or self._stopping:
                    raise
                log.warning(
                    "result.not_stored",
                    extra={"agent": self._agent, "run": work.request.run, "error": error.code},
                )
            except Exception as error:
                if not isinstance(outcome, (Done, Waits)):
                    raise
                outcome = self._instead(work, outcome, error)
                continue
            pauses = pauses or Pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            await pauses.wait()

    def _instead(self, work: Work, outcome: Done | Waits, error: Exception) -> Failed:
        """Return the failure of an outcome that cannot be recorded."""
        usage = outcome.result.usage if isinstance(outcome, Done) else None
        attempts = work.request.attempt + work.delivery.attempt - work.tries.refused
        return Failed(error, attempts, work.tries.excused, usage)

    async def _outcome(self, work: Work) -> Outcome:
        """Execute a call if it has to be. Nothing that a handler raises gets past here."""
        request, delivery, task = work.request, work.delivery, work.task
        attempt = request.attempt + delivery.attempt
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
            if delivery.attempt > 1:
                tries = work.tries = await self._tally.look(request, delivery.attempt)
                attempt = max(1, attempt - tries.refused)
                if tries.stalled >= self._retry.max_deaths:
                    died = ProcessDied(self._agent, tries.stalled)
                    return Failed(died, attempt, tries.excused)
            self.counts.received += 1
            if request.blob is not None:
                request = await self._space.payloads.fetch(request)
            return Done(await self._handle(request, attempt))
        except asyncio.CancelledError as error:
            return self._stopped(work, error, attempt)
        except HandlerFailed as failed:
            seconds = self._time() - began
            return Failed(failed.error, attempt, work.tries.excused, failed.usage, seconds)
        except Parked as parked:
            return Waits(parked, attempt, work.tries.excused)
        except BaseException as error:
            if isinstance(error, BrokerError) and error.retryable:
                raise  # nothing was executed, so no attempt is used up: it comes back
            if asyncio.current_task(self._loop) is not task:
                raise  # the loop is closed, and this coroutine with it
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                error = HandlerExited(self._agent, error)
            return Failed(error, attempt, work.tries.excused, None, self._time() - began)
        finally:
            self.counts.busy_seconds += self._time() - began

    def _stopped(self, work: Work, error: asyncio.CancelledError, attempt: int) -> Outcome:
        """Return what a cancelled execution comes to.

        Raises:
            asyncio.CancelledError: its task was cancelled by who is not known here.
        """
        task = asyncio.current_task(self._loop)
        if task is None or not task.cancelling():
            # this task was not cancelled: the handler awaited something that was cancelled
            return Failed(error, attempt, work.tries.excused)
        if work.cancelled is not None:
            task.uncancel()
            return Done(cancelled_result(work.request, self._agent, work.cancelled))
        if work.hold is not None and work.hold.lost:
            task.uncancel()
            return Disowned()
        if self._stopping:
            task.uncancel()
            return HandOver()
        raise error

    def _count(self, outcome: Outcome) -> None:
        counts = self.counts
        match outcome:
            case Done(result):
                if result.status == "done":
                    counts.succeeded += 1
                    return
                counts.failed += 1
                counts.last_error = result.error.code if result.error else str(result.status)
            case Failed(error):
                counts.failed += 1
                counts.last_error = code_of(error)
            case Again():
                counts.retried += 1
            case _:
                counts.skipped += 1

    # -- heartbeats and cancels ----------------------------------------------------------------

    async def _beat(self) -> None:
        await self._care.run()

    async def _leave(self, work: Work) -> None:
        """Answer a delivery whose handler does not stop, and take others in its slot."""
        if self._stopping:
            return
        request, outcome = work.request, self._of_stuck(work)
        self._count(await self._settler.settle(work.delivery, request, outcome))
        self._work.pop(step_id(self._agent, request.run, request.step), None)
        take = self._on_event if request.kind == "event" else self._on_call
        stream = EVENTS if request.kind == "event" else CALLS
        work.instead = await self._broker.consume(
            self._names.stream(stream), self._agent, take, slots=1
        )

    def _of_stuck(self, work: Work) -> Outcome:
        request = work.request
        if work.hold is not None and work.hold.lost:
            return Disowned()
        if work.cancelled is not None:
            return Done(cancelled_result(request, self._agent, work.cancelled))
        if request.deadline is not None and now() >= request.deadline:
            return Done(expired_result(request, self._agent))
        attempts = request.attempt + work.delivery.attempt - work.tries.refused
        late = AgentTimeout(self._agent, self._longest or 0.0)
        return Failed(late, attempts, work.tries.excused)

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
                work.stop(self._time())

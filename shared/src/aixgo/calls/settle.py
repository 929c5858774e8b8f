"""The one function that answers a delivery, and what it can answer.

Order matters: what must survive is stored before the delivery is acknowledged, so a crash between
the two only repeats the answer, never loses it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from msgspec.structs import replace

from aixgo.broker.port import Delivery
from aixgo.calls.exclusive import REFUSED_SECONDS
from aixgo.calls.parking import Parked
from aixgo.calls.results import error_result, failure_of
from aixgo.calls.retry import next_delay
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope, Usage
from aixgo.errors import code_of

log = logging.getLogger("aixgo.calls")

LONG_DELAY_SECONDS = 30.0
"""Longer delays go through a durable timer: a delayed nak holds one of the consumer's slots."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler ended with a result (of any status)."""

    result: Envelope


@dataclass(frozen=True, slots=True)
class Standing:
    """The step has its result already; this delivery has nothing to do."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """This process stops; another one shall take the delivery at once."""


@dataclass(frozen=True, slots=True)
class Held:
    """Another worker executes this exclusive call; a look later tells whether it still does."""


@dataclass(frozen=True, slots=True)
class Disowned:
    """Another worker took this exclusive call over: it answers, and nothing is written here."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The execution failed, after so many seconds; `attempts` counts this one too."""

    error: BaseException
    attempts: int
    usage: Usage | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """The handler waits for longer than it may hold the delivery."""

    parked: Parked
    attempts: int


Outcome = Done | Standing | HandOver | Held | Disowned | Failed | Waits


class Settler:
    """Settles the deliveries of one agent."""

    def __init__(
        self,
        space: Space,
        agent: str,
        retry: Retry,
    ) -> None:
        self._results, self._parking = space.results, space.parking
        self._dead_letters, self._history = space.dead_letters, space.history
        self._agent, self._retry = agent, retry

    async def settle(self, delivery: Delivery, request: Envelope, outcome: Outcome) -> Outcome:
        """Answer a delivery; returns the outcome for counting.

        Raises:
            BrokerError: nothing was answered; the delivery comes back by itself.
        """
        match outcome:
            case Done():
                await self._results.settle(self._agent, outcome.result)
                if request.parks:
                    await self._wake_parent(request)
                # the record answers a redelivery, so a lost acknowledgement costs one look
                await delivery.ack(confirm=False)
            case Standing():
                if request.parks:  # who stored it may have died before
                    await self._wake_parent(request)
                await delivery.ack(confirm=False)
            case HandOver():
                await delivery.nak()
            case Held():
                await delivery.nak(REFUSED_SECONDS)
            case Disowned():
                log.warning(
                    "hold.lost",
                    extra={"agent": self._agent, "run": request.run, "step": request.step},
                )
            case Waits(parked, attempts):
                await self._park(delivery, request, parked, attempts)
            case Failed(error, attempts):
                # parking is no failure: it does not use up the attempts of the policy
                delay = next_delay(self._retry, attempts - request.parks, error)
                if delay is not None and self._in_time(request, delay):
                    await self._again(delivery, request, delay, attempts)
                    failure = failure_of(error, self._agent, attempts)
                    await self._history.add(
                        "failed", request, attempt=attempts, error=failure, retry_in=delay
                    )
                else:
                    await self._give_up(delivery, request, outcome)
                log.warning(
                    "delivery.failed",
                    extra={
                        "agent": self._agent,
                        "run": request.run,
                        "step": request.step,
                        "attempt": attempts,
                        "error": code_of(error),
                        "retry_in": delay,
                    },
                    exc_info=error if delay is None else None,
                )
        return outcome

    async def _park(
        self, delivery: Delivery, request: Envelope, parked: Parked, attempts: int
    ) -> None:
        call = await self._parking.park(request, parked, attempts)
        for step in parked.awaited:
            if await self._results.stands(step.agent, request.run, step.step):
                # woken as it would be by whoever stored it, so that no attempt is used up
                await self._parking.wake(request.run, request.step)
                await delivery.ack()
                return
        await self._history.add(
            "parked",
            request,
            attempt=attempts,
            until=call.until,
            awaited=tuple(step.step for step in parked.awaited),
        )
        await delivery.ack()

    async def _wake_parent(self, request: Envelope) -> None:
        """Wake the caller of a call that was parked: it may have parked to wait for it."""
        if request.parks and request.depth:
            await self._parking.wake(request.run, request.parent)

    def _in_time(self, request: Envelope, delay: float) -> bool:
        return request.deadline is None or now() + delay < request.deadline

    async def _again(
        self, delivery: Delivery, request: Envelope, delay: float, attempts: int
    ) -> None:
        if delay <= LONG_DELAY_SECONDS:
            await delivery.nak(delay)
            return
        await self._parking.put_off(replace(request, attempt=attempts), now() + delay)
        await delivery.ack()

    async def _give_up(self, delivery: Delivery, request: Envelope, failed: Failed) -> None:
        failure = failure_of(failed.error, self._agent, failed.attempts)
        letter = await self._dead_letters.add(
            delivery.subject,
            delivery.data,
            agent=self._agent,
            failure=failure,
            envelope=request,
            usage=failed.usage,
        )
        standing = await self._results.settle(
            self._agent,
            error_result(
                request,
                self._agent,
                failed.error,
                attempts=failed.attempts,
                usage=failed.usage,
                seconds=failed.seconds,
            ),
        )
        if standing.status == "error":
            await self._history.add("dead_letter", request, attempt=failed.attempts, error=failure)
        else:  # it ended otherwise before: another worker finished it, or it expired
            await self._dead_letters.forget(letter)
        await self._wake_parent(request)
        await delivery.term(f"{failure.code}: {failure.message}"[:200])

    async def refuse(self, delivery: Delivery, error: BaseException) -> None:
        """Answer a delivery whose bytes are no envelope: dead letter, error result, gone."""
        failure = failure_of(error, self._agent, delivery.attempt)
        await self._dead_letters.add(
            delivery.subject, delivery.data, agent=self._agent, failure=failure, envelope=None
        )
        await self._results.settle_unread(delivery.subject, self._agent, failure)
        await delivery.term(f"{failure.code}: {failure.message}"[:200])

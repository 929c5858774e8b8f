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
from aixgo.calls.tally import Tally
from aixgo.clock import now
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope, Failure, Usage
from aixgo.errors import PayloadTooLarge, StreamFull, StreamRefused, code_of, cut

log = logging.getLogger("aixgo.calls")

_LOOKED_SECONDS = 1.5
"""After that time the caller of a call may have looked for its result, and parked for want of slots
(`LOOK_SECONDS` of `aixgo.calls.caller`, less what clocks may differ)."""

LONG_DELAY_SECONDS = 30.0
"""Longer delays go through a durable timer: a delayed nak holds one of the consumer's slots."""


_SUBJECT_CHARACTERS = 200
"""Of a foreign subject that are in a log line; one of Aixgo's own has about 120."""

_NO_ROOM = (StreamFull, StreamRefused, PayloadTooLarge)
"""What says that a dead letter cannot be kept."""

_NOT_BURIED = (
    "its dead letter could not be kept, so it cannot be replayed: there is no room in the DLQ; "
    "look at what is there with `aixgo dlq ls` and make room with `aixgo dlq purge`"
)


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
    """The execution failed, after some seconds.

    Attributes:
        attempts: executions up to now, this one too.
        excused: those of this publication that were no failures, besides the request's own.
    """

    error: BaseException
    attempts: int
    excused: int = 0
    usage: Usage | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """The handler waits for longer than it may hold the delivery."""

    parked: Parked
    attempts: int
    excused: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """The execution failed, and is repeated later."""

    error: BaseException


Outcome = Done | Standing | HandOver | Held | Disowned | Failed | Waits | Again


class Settler:
    """Settles the deliveries of one agent."""

    def __init__(
        self,
        space: Space,
        agent: str,
        retry: Retry,
        tally: Tally,
    ) -> None:
        self._results, self._parking = space.results, space.parking
        self._dead_letters, self._history = space.dead_letters, space.history
        self._agent, self._retry, self._tally = agent, retry, tally

    async def settle(self, delivery: Delivery, request: Envelope, outcome: Outcome) -> Outcome:
        """Answer a delivery; returns what it came to, which may be another's result.

        Raises:
            BrokerError: nothing was answered; the delivery comes back by itself.
        """
        match outcome:
            case Done():
                standing = await self._results.settle(self._agent, outcome.result)
                if request.depth:
                    await self._wake_parent(request)
                # the record answers a redelivery, so a lost acknowledgement costs one look
                await delivery.ack(confirm=False)
                if standing is not outcome.result:
                    return Done(standing)
            case Standing():
                await self._wake_parent(request)  # who stored it may have died before
                await delivery.ack(confirm=False)
            case HandOver():
                await self._tally.handed(request)
                await delivery.nak()
            case Held():
                await self._tally.refused(request)
                await delivery.nak(REFUSED_SECONDS)
            case Disowned():
                log.warning(
                    "hold.lost",
                    extra={"agent": self._agent, "run": request.run, "step": request.step},
                )
            case Waits(parked, attempts, excused):
                await self._park(delivery, request, parked, attempts, excused)
            case Failed():
                return await self._fail(delivery, request, outcome)
        return outcome

    async def _fail(self, delivery: Delivery, request: Envelope, failed: Failed) -> Outcome:
        error, attempts = failed.error, failed.attempts
        # parking, or a process that died, is no failure: it uses up no attempts of the policy
        excused = request.excused + failed.excused
        delay = next_delay(self._retry, max(1, attempts - excused), error)
        again = delay is not None and self._in_time(request, delay)
        log.warning(
            "delivery.failed",
            extra={
                "agent": self._agent,
                "run": request.run,
                "step": request.step,
                "attempt": attempts,
                "error": code_of(error),
                "retry_in": delay if again else None,
            },
            exc_info=None if again else error,
        )
        if delay is None or not again:
            return await self._give_up(delivery, request, failed)
        counted = replace(request, attempt=attempts, excused=excused)
        await self._again(delivery, request, counted, delay)
        failure = failure_of(error, self._agent, attempts)
        await self._history.add("failed", request, attempt=attempts, error=failure, retry_in=delay)
        return Again(error)

    async def _park(
        self,
        delivery: Delivery,
        request: Envelope,
        parked: Parked,
        attempts: int,
        excused: int,
    ) -> None:
        call = await self._parking.park(request, parked, attempts, excused)
        for step in parked.awaited:
            if await self._results.stands(step.agent, request.run, step.step):
                # woken as it would be by the process that stored it, so that no attempt is used up
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
        """Wake the caller of a call for which it may have parked to wait."""
        if (
            request.depth
            and request.kind != "event"
            and (
                request.woken
                or self._agent in request.above
                or now() - request.sent_at > _LOOKED_SECONDS
            )
        ):
            await self._parking.wake(request.run, request.parent)

    def _in_time(self, request: Envelope, delay: float) -> bool:
        return request.deadline is None or now() + delay < request.deadline

    async def _again(
        self, delivery: Delivery, request: Envelope, counted: Envelope, delay: float
    ) -> None:
        """Let a call be executed again; `counted` knows its executions up to now."""
        if delay <= LONG_DELAY_SECONDS:
            await self._tally.failed(request)
            await delivery.nak(delay)
            return
        await self._parking.put_off(counted, now() + delay)
        await delivery.ack()

    async def _give_up(self, delivery: Delivery, request: Envelope, failed: Failed) -> Outcome:
        failure = failure_of(failed.error, self._agent, failed.attempts)
        letter = await self._bury(delivery, failure, request, failed.usage)
        result = error_result(
            request,
            self._agent,
            failed.error,
            attempts=failed.attempts,
            usage=failed.usage,
            seconds=failed.seconds,
        )
        if letter is None:
            failure = replace(failure, message=f"{failure.message} ({_NOT_BURIED})")
            result = replace(result, error=failure)
        standing = await self._results.settle(self._agent, result)
        if standing.status == "error":
            await self._history.add("dead_letter", request, attempt=failed.attempts, error=failure)
        elif letter is not None:
            # it ended otherwise before: another worker finished it, or it expired
            await self._dead_letters.forget(letter)
        await self._wake_parent(request)
        await delivery.term(_reason(failure))
        return failed if standing.status == "error" else Done(standing)

    async def _bury(
        self,
        delivery: Delivery,
        failure: Failure,
        envelope: Envelope | None,
        usage: Usage | None = None,
    ) -> int | None:
        """Keep the message as a dead letter; None when there is no room for it.

        Its call ends nevertheless: one that waited for room would keep a slot from calls that are
        well, and room comes only from people.
        """
        try:
            return await self._dead_letters.add(
                delivery.subject,
                delivery.data,
                agent=self._agent,
                failure=failure,
                envelope=envelope,
                sequence=delivery.sequence,
                usage=usage,
            )
        except _NO_ROOM as error:
            log.error(
                "dead_letter.not_kept",
                extra={
                    "agent": self._agent,
                    "subject": cut(delivery.subject, _SUBJECT_CHARACTERS),
                    "sequence": delivery.sequence,
                    "run": "" if envelope is None else envelope.run,
                    "failure": failure.code,
                    "error": str(error),
                },
            )
            self._dead_letters.lost += 1
            return None

    async def refuse(self, delivery: Delivery, error: BaseException) -> None:
        """Answer a delivery whose bytes are not an envelope: dead letter, error result, gone."""
        failure = failure_of(error, self._agent, delivery.attempt)
        if await self._bury(delivery, failure, None) is None:
            failure = replace(failure, message=f"{failure.message} ({_NOT_BURIED})")
        await self._results.settle_unread(delivery.subject, self._agent, failure)
        await delivery.term(_reason(failure))
        log.warning(
            "delivery.refused",
            extra={
                "agent": self._agent,
                "subject": cut(delivery.subject, _SUBJECT_CHARACTERS),
                "sequence": delivery.sequence,
                "error": failure.message,
            },
        )


def _reason(failure: Failure) -> str:
    """Return the words for a termination, which travel in a line of the protocol."""
    text = f"{failure.code}: {failure.message}"[:200]
    return "".join(char if " " <= char <= "~" else "?" for char in text)

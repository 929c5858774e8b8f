"""Ways in which consumers and deliveries can break their promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aixgo.broker import (
    Delivery,
)

from ._sabotage import (
    Table,
    Wrapper,
    consumers_with,
    delivers,
)


class RunsTooManyHandlers(Wrapper):
    async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
        return await self.real.consume(stream, consumer, handler, slots=slots + 1)


class StopsAtOnce(Wrapper):
    async def consume(self, *args: Any, **options: Any) -> Any:
        consumption = Wrapper(await self.real.consume(*args, **options))
        consumption.stop = lambda grace=0.0: consumption.real.stop()  # type: ignore[attr-defined]
        return consumption


class EndsWithItsConsumer(Wrapper):
    """Gives up a consumption when its consumer is deleted."""

    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self.consumptions: list[Any] = []

    async def consume(self, *args: Any, **options: Any) -> Any:
        self.consumptions.append(await self.real.consume(*args, **options))
        return self.consumptions[-1]

    async def delete_consumer(self, *args: Any) -> bool:
        for consumption in self.consumptions:
            await consumption.stop()
        return bool(await self.real.delete_consumer(*args))


class PollsForWork(Wrapper):
    """Looks for messages once in a while instead of waiting for them."""

    async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
        async def later(delivery: Delivery) -> None:
            await asyncio.sleep(10.0)
            await handler(delivery)

        return await self.real.consume(stream, consumer, later, slots=slots)


class AnswersTheNewestDeliveryOnly(Wrapper):
    """Ignores the answer to a delivery when a newer one of the same message is out."""

    async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
        newest: dict[int, int] = {}

        async def handle(delivery: Delivery) -> None:
            newest[delivery.sequence] = delivery.attempt
            careful = Wrapper(delivery)

            def only_newest(answer: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
                async def reply(*args: Any, **options: Any) -> None:
                    if newest[delivery.sequence] == delivery.attempt:
                        await answer(*args, **options)

                return reply

            for verb in ("ack", "nak", "term"):
                setattr(careful, verb, only_newest(getattr(delivery, verb)))
            await handler(careful)

        return await self.real.consume(stream, consumer, handle, slots=slots)


def answer_with(**verbs: Any) -> Callable[[Any], Any]:
    """Return a change of deliveries that replaces how they are answered, or their facts."""

    def change(delivery: Any) -> Any:
        changed = Wrapper(delivery)
        for name, value in verbs.items():
            setattr(changed, name, partial(value, delivery) if callable(value) else value)
        return changed

    return change


async def _silently(delivery: Any, *args: Any, **options: Any) -> None:
    return


async def _nak_at_once(delivery: Any, delay: float = 0.0) -> None:
    await delivery.nak()


async def _term_like_ack(delivery: Any, reason: str = "") -> None:
    await delivery.ack()


async def _ack_later(delivery: Any, *, confirm: bool = True) -> None:
    asyncio.get_running_loop().call_later(0.01, partial(_begin, delivery.ack))


def _one_attempt_more(delivery: Any) -> Any:
    return answer_with(attempt=delivery.attempt + 1)(delivery)


_running: set[asyncio.Future[None]] = set()


def _begin(work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(work())
    _running.add(task)
    task.add_done_callback(_running.discard)


class _PausesForEver(Wrapper):
    async def pause_consumer(self, stream: str, consumer: str, until: float) -> None:
        await self.real.pause_consumer(stream, consumer, until + 1e6)


class _RunsOneHandler(Wrapper):
    async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
        return await self.real.consume(stream, consumer, handler, slots=1)


class DeliversTwice(Wrapper):
    async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
        async def twice(delivery: Delivery) -> None:
            await handler(delivery)
            await handler(delivery)

        return await self.real.consume(stream, consumer, twice, slots=slots)


class AlwaysHasASlot(Wrapper):
    async def consume(self, *args: Any, slots: int) -> Any:
        return await self.real.consume(*args, slots=max(1, slots))


class TakesAnySeconds(Wrapper):
    async def append(self, *args: Any, ttl: float = 0.0, **options: Any) -> Any:
        return await self.real.append(*args, ttl=ttl if ttl >= 1 else 0.0, **options)


CONSUMERS: Table = {
    "always has a slot": (
        AlwaysHasASlot,
        "a_pull_without_slots_is_refused",
    ),
    "keeps what has no time to live": (
        TakesAnySeconds,
        "seconds_that_are_none_are_refused",
    ),
    "never redelivers": (
        consumers_with(ack_wait=1e6),
        "an_unacked_message_comes_back_after_ack_wait",
    ),
    "redelivers at once": (
        consumers_with(ack_wait=0.01),
        "an_idle_consumption_hands_nothing_to_its_handler",
    ),
    "delivers for ever": (
        consumers_with(max_deliver=-1),
        """
        a_declaration_can_be_repeated
        a_message_that_was_delivered_too_often_is_set_aside
        """,
    ),
    "delivers without bound": (
        consumers_with(max_ack_pending=1000),
        """
        no_more_than_max_ack_pending_are_out_at_once
        one_at_a_time_is_strict_order
        """,
    ),
    "delivers one at a time": (
        consumers_with(max_ack_pending=1),
        "an_ack_of_a_removed_message_is_answered",
    ),
    "begins with everything": (
        consumers_with(deliver="all"),
        """
        a_consumer_can_begin_with_what_is_new
        """,
    ),
    "begins with what is new": (
        consumers_with(deliver="new"),
        """
        a_consumer_begins_with_everything
        a_consumer_gets_only_what_its_filters_match
        """,
    ),
    "acks later": (
        delivers(answer_with(ack=_ack_later)),
        """
        an_ack_outlives_a_lost_connection
        when_ack_returns_the_broker_has_acted
        """,
    ),
    "naks nothing": (
        delivers(answer_with(nak=_silently)),
        """
        a_delayed_message_occupies_its_place
        a_nak_hands_the_message_back_at_once
        """,
    ),
    "naks at once": (
        delivers(answer_with(nak=_nak_at_once)),
        "a_nak_with_delay_waits_that_long",
    ),
    "terms like ack": (
        delivers(answer_with(term=_term_like_ack)),
        "a_terminated_message_is_gone_with_its_reason",
    ),
    "ignores heartbeats": (
        delivers(answer_with(in_progress=_silently)),
        "in_progress_starts_the_wait_anew",
    ),
    "counts attempts from 2": (
        delivers(_one_attempt_more),
        "a_delivery_says_what_it_is",
    ),
    "answers the newest only": (
        AnswersTheNewestDeliveryOnly,
        """
        an_ack_of_an_older_delivery_is_accepted
        a_nak_of_an_older_delivery_acts
        """,
    ),
    "delivers twice": (
        DeliversTwice,
        "a_stream_by_limits_keeps_what_was_acknowledged",
    ),
    "pauses for ever": (
        _PausesForEver,
        """
        a_paused_consumer_delivers_nothing
        a_pause_ends_by_itself
        """,
    ),
    "runs too many handlers": (
        RunsTooManyHandlers,
        """
        a_redelivery_goes_to_whoever_has_a_free_slot
        a_redelivery_comes_before_new_messages
        """,
    ),
    "runs one handler": (
        _RunsOneHandler,
        """
        no_more_handlers_run_than_there_are_slots
        stopping_hands_back_what_nobody_answered
        """,
    ),
    "stops at once": (
        StopsAtOnce,
        "stopping_with_grace_lets_handlers_finish",
    ),
    "ends with its consumer": (
        EndsWithItsConsumer,
        "a_consumer_that_is_declared_again_is_consumed_again",
    ),
    "polls for work": (
        PollsForWork,
        """
        more_pulls_than_may_wait_still_get_everything_done
        a_waiting_pull_is_served_at_once
        work_goes_on_after_the_server_was_killed
        """,
    ),
}

"""Ways in which a bus can break its promises."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from aixgo.broker import (
    Appended,
    BusMessage,
)
from aixgo.errors import NoResponders, RequestTimeout

from ._sabotage import (
    Table,
    Wrapper,
    does_nothing,
    hears,
    subscribes,
    swallows,
)


class MendsSubjects(Wrapper):
    async def publish(self, subject: str, data: bytes, **options: Any) -> None:
        tokens = [token for token in subject.split(".") if token]
        await self.real.publish(".".join(tokens) or "nothing", data, **options)


class SwapsNeighbours(Wrapper):
    held: tuple[Any, ...] = ()

    async def publish(self, *args: Any, **options: Any) -> None:
        if not self.held:
            self.held = args
            return
        held, self.held = self.held, ()
        await self.real.publish(*args, **options)
        await self.real.publish(*held)


class PublishesTwice(Wrapper):
    async def publish(self, *args: Any, **options: Any) -> None:
        await self.real.publish(*args, **options)
        await self.real.publish(*args, **options)


class DispatchesInPublish(Wrapper):
    async def publish(self, *args: Any, **options: Any) -> None:
        await self.real.publish(*args, **options)
        await asyncio.sleep(0.001)


class HearsEverything(Wrapper):
    async def subscribe(self, subject: str, *args: Any, **options: Any) -> Any:
        return await self.real.subscribe(">", *args, **options)


class OneGroupForAll(Wrapper):
    async def subscribe(self, subject: str, *args: Any, **options: Any) -> Any:
        return await self.real.subscribe(subject, *args, **{**options, "queue": "all"})


class FavoursOneMember(Wrapper):
    """Gives everything of a queue group to the member that came first."""

    groups: ClassVar[set[tuple[str, str]]] = set()

    async def subscribe(self, subject: str, *args: Any, queue: str = "", **options: Any) -> Any:
        if queue and (subject, queue) in self.groups:
            return None
        self.groups.add((subject, queue))
        return await self.real.subscribe(subject, *args, queue=queue, **options)


class WaitsForNobody(Wrapper):
    async def request(self, subject: str, data: bytes, *, timeout: float, **options: Any) -> Any:
        try:
            return await self.real.request(subject, data, timeout=timeout, **options)
        except NoResponders:
            await asyncio.sleep(timeout)
            raise RequestTimeout("nobody listens, which took a while to find out") from None


class SharesOneInbox(Wrapper):
    """Gives whatever arrives next to whoever has asked first."""

    inbox: Any = None

    async def request(self, subject: str, data: bytes, *, timeout: float, **options: Any) -> Any:
        if self.inbox is None:
            self.inbox = asyncio.Queue()
            self.address = f"_INBOX.{id(self)}"
            await self.real.subscribe(self.address, self.inbox.put_nowait)
        await self.real.publish(subject, data, reply=self.address)
        try:
            return await asyncio.wait_for(self.inbox.get(), timeout)
        except TimeoutError:
            raise RequestTimeout("no answer") from None


class TakesTheLastAnswer(Wrapper):
    async def request(self, subject: str, data: bytes, *, timeout: float, **options: Any) -> Any:
        answers: list[BusMessage] = []
        address = f"_INBOX.{id(answers)}"
        await self.real.subscribe(address, answers.append)
        await self.real.publish(subject, data, reply=address)
        await asyncio.sleep(min(timeout, 1.0))
        return answers[-1]


class DropsQueuedMessages(Wrapper):
    """Hands out subscriptions that know no draining and no end."""

    async def subscribe(self, *args: Any, **options: Any) -> Any:
        real = await self.real.subscribe(*args, **options)
        lazy = Wrapper(real)
        lazy.drain = real.unsubscribe  # type: ignore[attr-defined]  # that is the sabotage
        lazy.__class__ = type("Lazy", (Wrapper,), {"__aiter__": lambda self: real.__aiter__()})
        return lazy


class NeverUnsubscribes(Wrapper):
    async def subscribe(self, *args: Any, **options: Any) -> Any:
        return does_nothing("unsubscribe")(await self.real.subscribe(*args, **options))


class ClosesAbruptly(Wrapper):
    async def close(self, *, drain: bool = True) -> None:
        await self.real.close(drain=False)


class LosesHeaders(Wrapper):
    async def publish(self, *args: Any, headers: Any = None, **options: Any) -> None:
        await self.real.publish(*args, **options)

    async def append(self, *args: Any, headers: Any = None, **options: Any) -> Any:
        return await self.real.append(*args, **options)


_shared: dict[str, dict[str, str]] = {}


def _share_headers(message: BusMessage) -> BusMessage:
    headers = _shared.setdefault(message.subject, dict(message.headers))
    return msgspec.structs.replace(message, headers=headers)


class _Deaf(Wrapper):
    def on_event(self, listener: object) -> None:
        return


BUS: Table = {
    "mends malformed subjects": (
        MendsSubjects,
        "a_malformed_subject_is_not_published_to",
    ),
    "swaps neighbours": (
        SwapsNeighbours,
        "a_subject_that_cannot_be_sent_is_refused",
    ),
    "publishes twice": (
        PublishesTwice,
        """
        messages_of_one_connection_arrive_in_order
        a_message_over_the_limit_is_refused_and_the_connection_stays
        a_plain_publish_to_a_subject_of_a_stream_is_kept
        """,
    ),
    "dispatches in publish": (
        DispatchesInPublish,
        "publish_returns_before_a_handler_runs",
    ),
    "hears everything": (
        HearsEverything,
        """
        a_star_stands_for_exactly_one_token
        a_subscription_to_a_malformed_subject_is_refused
        a_tail_wildcard_stands_for_one_or_more_tokens
        core_subscribers_do_not_see_a_schedule_fire
        """,
    ),
    "one group for all": (
        OneGroupForAll,
        """
        publishes_while_disconnected_are_sent_later_in_order
        overlapping_subscriptions_of_one_connection_each_get_a_copy
        """,
    ),
    "no groups": (
        subscribes(queue=""),
        "several_groups_and_plain_subscribers_all_get_a_message",
    ),
    "favours one member": (
        FavoursOneMember,
        "one_member_of_a_queue_group_gets_each_message",
    ),
    "waits for nobody": (
        WaitsForNobody,
        "a_request_that_nobody_hears_fails_at_once",
    ),
    "shares one inbox": (
        SharesOneInbox,
        """
        a_late_reply_is_dropped
        many_requests_at_once_get_their_own_answers
        """,
    ),
    "takes the last answer": (
        TakesTheLastAnswer,
        "a_request_gets_the_first_answer",
    ),
    "swallows refused appends": (
        swallows("append", answer=Appended("nowhere", 0)),
        "an_append_that_no_stream_takes_is_refused",
    ),
    "swallows refused consumptions": (
        swallows("consume"),
        "consuming_what_is_not_provisioned_is_refused",
    ),
    "shares headers": (
        hears(_share_headers),
        """
        received_messages_are_isolated_copies
        headers_arrive_as_they_were_set
        """,
    ),
    "tells nobody": (
        _Deaf,
        """
        a_lost_connection_is_announced_and_restored
        a_callback_that_raises_stops_nothing
        a_handler_that_raises_leaves_its_delivery_for_later
        """,
    ),
    "loses headers": (
        LosesHeaders,
        """
        a_header_value_is_stripped_and_stays_on_one_line
        a_header_key_that_cannot_be_sent_is_refused
        a_removed_key_is_absent_and_can_be_created_again
        headers_are_kept_with_a_record
        """,
    ),
    "never drops": (
        subscribes(pending=1_000_000),
        "a_slow_reader_loses_messages_and_is_told",
    ),
    "never ends a subscription": (
        subscribes(limit=0),
        "a_subscription_with_a_limit_ends_by_itself",
    ),
    "never unsubscribes": (
        NeverUnsubscribes,
        "an_unsubscribed_reader_gets_nothing_more",
    ),
    "drains by dropping": (
        DropsQueuedMessages,
        "a_drained_subscription_can_be_read_to_its_end",
    ),
    "closes abruptly": (
        ClosesAbruptly,
        "closing_with_drain_finishes_what_was_begun",
    ),
    "never closes": (
        does_nothing("close"),
        """
        a_closed_connection_refuses_everything
        closing_ends_the_iteration_of_subscriptions
        """,
    ),
}

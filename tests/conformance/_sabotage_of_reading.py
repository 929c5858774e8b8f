"""Ways in which reading and declaring can break their promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

from aixgo.broker import (
    Change,
    ConsumerConfig,
    StreamConfig,
)
from aixgo.errors import BrokerError

from ._sabotage import (
    Table,
    Wrapper,
    does_nothing,
    streams_with,
    swallows,
)


class SeesAnEmptyRecordAsNone(Wrapper):
    async def last(self, *args: Any, **options: Any) -> Any:
        record = await self.real.last(*args, **options)
        return record if record and record.data else None


class GetsTheOldest(Wrapper):
    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Any:
        records = await self.real.read(stream, subject, limit=1)
        return records[0] if records else None

    async def at(self, stream: str, sequence: int) -> Any:
        return await self.real.at(stream, max(1, sequence - 1))


class ReadsWhatHasNoName(Wrapper):
    """Takes an empty subject and sequence 0 for nothing."""

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Any:
        return await self.real.last(stream, subject) if subject else None

    async def at(self, stream: str, sequence: int) -> Any:
        return await self.real.at(stream, sequence) if sequence else None


class ReadsOneBatch(Wrapper):
    async def read(self, stream: str, subject: str, **options: Any) -> Any:
        return (await self.real.read(stream, subject))[:256]


class FollowsFromTheStart(Wrapper):
    def follow(self, stream: str, subject: str, *, start: int = 1) -> Any:
        return self.real.follow(stream, ">")


class FollowsWithGaps(Wrapper):
    @asynccontextmanager
    async def follow(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        async with self.real.follow(*args, **options) as records:
            yield (record async for record in records if record.sequence % 5)


class EndsTogether(Wrapper):
    """Ends every follower of the process when the first one leaves."""

    left: ClassVar[set[str]] = set()

    @asynccontextmanager
    async def follow(self, stream: str, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        async with self.real.follow(stream, *args, **options) as records:
            try:
                yield (record async for record in records if stream not in self.left)
            finally:
                self.left.add(stream)


class AlwaysSaysCreated(Wrapper):
    async def ensure_stream(self, config: StreamConfig) -> Any:
        await self.real.ensure_stream(config)
        return Change(what=config.name, action="created")

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Any:
        await self.real.ensure_consumer(stream, config)
        return Change(what=config.name, action="created")


class TakesOverSubjects(Wrapper):
    """Swallows the refusal of a declaration."""

    async def ensure_stream(self, config: StreamConfig) -> Any:
        try:
            return await self.real.ensure_stream(config)
        except BrokerError:
            return Change(what=config.name, action="unchanged")

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Any:
        try:
            return await self.real.ensure_consumer(stream, config)
        except BrokerError:
            return Change(what=config.name, action="unchanged")


class CountsWrong(Wrapper):
    async def stream_info(self, stream: str) -> Any:
        info = await self.real.stream_info(stream)
        return info and replace(info, first_sequence=1)

    async def consumer_info(self, stream: str, consumer: str) -> Any:
        info = await self.real.consumer_info(stream, consumer)
        return info and replace(info, pending=info.pending + info.ack_pending)


class ForgetsWhatIsOut(Wrapper):
    async def consumer_info(self, stream: str, consumer: str) -> Any:
        info = await self.real.consumer_info(stream, consumer)
        return info and replace(info, ack_floor=info.ack_floor + info.ack_pending)


class ListsInAnyOrder(Wrapper):
    async def stream_names(self) -> Sequence[str]:
        return list(reversed(await self.real.stream_names()))


class ListsEveryConsumer(Wrapper):
    async def consumer_names(self, stream: str) -> Sequence[str]:
        own = await self.real.consumer_names(stream)
        return [*own, "another"]


class PurgesEverything(Wrapper):
    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        return int(await self.real.purge(stream))


class PurgesWithoutRegardToAge(Wrapper):
    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        return int(await self.real.purge(stream, subject))


class SaysItWasThere(Wrapper):
    async def delete_stream(self, *args: Any) -> bool:
        await self.real.delete_stream(*args)
        return True

    async def delete_consumer(self, *args: Any) -> bool:
        await self.real.delete_consumer(*args)
        return True

    async def delete_record(self, *args: Any) -> bool:
        await self.real.delete_record(*args)
        return True


class ShowsSchedules(Wrapper):
    async def schedule(self, *args: Any, target: str, **options: Any) -> Any:
        answer = await self.real.schedule(*args, target=target, **options)
        await self.real.publish(target, b"too early")
        return answer


class TakesAnyTarget(Wrapper):
    """Stores a schedule that can never fire."""

    async def schedule(self, subject: str, data: bytes, **options: Any) -> Any:
        try:
            return await self.real.schedule(subject, data, **options)
        except BrokerError:
            return await self.real.append(subject, data)


class KeepsWhatFiredForEver(Wrapper):
    async def schedule(self, *args: Any, ttl: float = 0.0, **options: Any) -> Any:
        return await self.real.schedule(*args, **options)


READING: Table = {
    "sees an empty record as none": (
        SeesAnEmptyRecordAsNone,
        """
        a_lease_that_is_not_renewed_goes_to_another
        an_empty_record_is_a_record
        an_empty_value_is_a_value
        """,
    ),
    "gets the oldest": (
        GetsTheOldest,
        """
        a_work_queue_forgets_what_was_acknowledged
        a_record_can_be_read_by_its_sequence
        the_newest_record_of_a_filter_can_be_read
        the_newest_record_of_a_subject_can_be_read
        """,
    ),
    "reads what has no name": (
        ReadsWhatHasNoName,
        "reading_nothing_in_particular_is_refused",
    ),
    "takes any target for a schedule": (
        TakesAnyTarget,
        "a_schedule_without_a_place_to_fire_is_refused",
    ),
    "keeps what fired for ever": (
        KeepsWhatFiredForEver,
        "what_a_schedule_fired_is_kept_for_its_time",
    ),
    "reads one batch": (
        ReadsOneBatch,
        "a_long_stream_is_read_to_its_end",
    ),
    "reads nothing": (
        does_nothing("read", answer=[]),
        "keys_are_listed",
    ),
    "sees no missing stream": (
        swallows("last", "at", "read", answer=None),
        "reading_a_missing_stream_is_an_error",
    ),
    "follows from the start": (
        FollowsFromTheStart,
        """
        a_stream_can_be_followed_from_a_sequence
        a_stream_can_be_followed_from_now_on
        a_watch_of_an_empty_bucket_begins_with_the_mark
        """,
    ),
    "follows with gaps": (
        FollowsWithGaps,
        """
        a_follower_goes_on_where_the_connection_was_lost
        a_watch_gives_what_is_there_then_a_mark_then_changes
        a_stream_can_be_followed_from_its_start
        """,
    ),
    "ends all followers": (
        EndsTogether,
        "followers_do_not_disturb_each_other",
    ),
    "republishes nothing": (
        streams_with(republish=None),
        "only_what_is_stored_is_republished",
    ),
    "schedules nothing": (
        streams_with(allow_schedules=False),
        "a_stream_with_schedules_cannot_refuse_the_new",
    ),
    "shows schedules to everybody": (
        ShowsSchedules,
        """
        a_schedule_fires_into_its_target
        a_schedule_in_the_past_fires_at_once
        a_schedule_is_replaced_by_the_same_subject
        """,
    ),
    "writes at once what it should write behind": (
        streams_with(persist="default"),
        "a_stream_that_is_written_behind_is_declared_as_such",
    ),
    "says always created": (
        AlwaysSaysCreated,
        """
        a_changed_declaration_says_what_changed
        a_consumer_can_be_changed_while_it_runs
        the_whole_topology_can_be_provisioned_twice
        """,
    ),
    "swallows refused declarations": (
        TakesOverSubjects,
        """
        overlapping_consumers_of_a_work_queue_are_refused
        what_cannot_be_changed_is_refused
        how_a_stream_is_written_is_chosen_when_it_is_created
        two_streams_cannot_take_the_same_subject
        """,
    ),
    "counts wrong": (
        CountsWrong,
        """
        discarding_old_drops_the_oldest
        the_state_of_a_stream_is_exact
        the_counts_of_a_consumer_are_right_at_each_step
        """,
    ),
    "forgets what is out": (
        ForgetsWhatIsOut,
        "everything_up_to_the_floor_of_a_consumer_is_answered",
    ),
    "lists in any order": (
        ListsInAnyOrder,
        "streams_are_listed_in_order",
    ),
    "lists every consumer": (
        ListsEveryConsumer,
        "consumers_are_listed_in_order",
    ),
    "purges everything": (
        PurgesEverything,
        """
        a_schedule_is_cancelled_by_a_purge
        a_purge_removes_what_matches
        """,
    ),
    "purges what is newer too": (
        PurgesWithoutRegardToAge,
        "a_purge_removes_what_is_older_than_a_sequence",
    ),
    "purges nothing": (
        does_nothing("purge", answer=0),
        """
        what_was_removed_is_not_redelivered
        an_object_is_replaced_as_a_whole
        """,
    ),
    "says it was there": (
        SaysItWasThere,
        """
        a_record_can_be_removed
        a_removed_consumer_leaves_its_messages
        a_removed_stream_is_gone
        """,
    ),
}

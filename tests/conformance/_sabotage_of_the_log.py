"""Ways in which streams can break their promises."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from aixgo.broker import (
    Appended,
    BusMessage,
    Expect,
)
from aixgo.errors import WrongSequence

from ._sabotage import (
    Table,
    Wrapper,
    appends,
    hears,
    streams_with,
)


class CountsFromZero(Wrapper):
    async def append(self, *args: Any, **options: Any) -> Any:
        answer = await self.real.append(*args, **options)
        return Appended(answer.stream, answer.sequence - 1, answer.duplicate)


class LetsLaterAppendsOvertake(Wrapper):
    appended = 0

    async def append(self, *args: Any, **options: Any) -> Any:
        self.appended += 1
        await asyncio.sleep(0.1 / self.appended)
        return await self.real.append(*args, **options)


class CountsIdsPerSubject(Wrapper):
    async def append(self, subject: str, data: bytes, *, msg_id: str = "", **options: Any) -> Any:
        unique = msg_id and f"{subject}:{msg_id}"
        return await self.real.append(subject, data, msg_id=unique, **options)


class ForgetsIdsOfWhatIsGone(Wrapper):
    """Takes an id for new once its record was purged or acknowledged."""

    async def append(self, subject: str, data: bytes, *, msg_id: str = "", **options: Any) -> Any:
        answer = await self.real.append(subject, data, msg_id=msg_id, **options)
        kept = await self.real.at(answer.stream, answer.sequence)
        if answer.duplicate and kept is None:
            return await self.real.append(subject, data, **options)
        return answer


class BurnsIds(Wrapper):
    """Remembers the id of an append that lost, and looks at ids before conditions."""

    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self.burnt: set[str] = set()

    async def append(self, *args: Any, msg_id: str = "", **options: Any) -> Any:
        if msg_id in self.burnt:
            return Appended("burnt", 1, True)
        try:
            return await self.real.append(*args, msg_id=msg_id, **options)
        except WrongSequence:
            self.burnt.add(msg_id)
            raise


class ChecksIdsFirst(Wrapper):
    kept: ClassVar[dict[tuple[str, str], Appended]] = {}

    async def append(self, subject: str, data: bytes, *, msg_id: str = "", **options: Any) -> Any:
        if msg_id and (subject, msg_id) in self.kept:
            return msgspec.structs.replace(self.kept[subject, msg_id], duplicate=True)
        answer = await self.real.append(subject, data, msg_id=msg_id, **options)
        self.kept[subject, msg_id] = answer
        return answer


class LooksAtItsOwnSubjectOnly(Wrapper):
    async def append(self, *args: Any, expect: Expect | None = None, **options: Any) -> Any:
        if expect is not None:
            expect = msgspec.structs.replace(expect, subject_filter="")
        return await self.real.append(*args, expect=expect, **options)


class SaysNothingUseful(Wrapper):
    async def append(self, *args: Any, **options: Any) -> Any:
        try:
            return await self.real.append(*args, **options)
        except WrongSequence:
            raise WrongSequence("wrong last sequence") from None


def _not_of_a_stream(message: BusMessage) -> BusMessage | None:
    return None if message.subject.startswith("S-") else message


class DropsWhatNobodyConsumes(Wrapper):
    """Forgets what is appended while the stream has no consumer."""

    async def append(self, *args: Any, **options: Any) -> Any:
        answer = await self.real.append(*args, **options)
        info = await self.real.stream_info(answer.stream)
        if info.config.retention == "workqueue" and not info.consumers:
            await self.real.purge(answer.stream)
        return answer


LOG: Table = {
    "drops what nobody consumes": (
        DropsWhatNobodyConsumes,
        "a_work_queue_waits_for_its_first_consumer",
    ),
    "counts from zero": (
        CountsFromZero,
        """
        an_append_is_answered_with_stream_and_sequence
        a_value_has_the_revision_of_its_record
        """,
    ),
    "hides what is appended": (
        hears(_not_of_a_stream),
        "core_subscribers_see_what_is_appended",
    ),
    "lets later appends overtake": (
        LetsLaterAppendsOvertake,
        """
        appends_at_once_are_all_kept_in_order
        records_are_read_in_order_by_filter
        """,
    ),
    "ignores ids": (
        appends(msg_id=""),
        "the_same_message_id_is_stored_once",
    ),
    "counts ids per subject": (
        CountsIdsPerSubject,
        "message_ids_count_for_the_whole_stream",
    ),
    "forgets ids of what is gone": (
        ForgetsIdsOfWhatIsGone,
        """
        a_message_id_is_remembered_after_a_purge
        a_message_id_is_remembered_after_an_ack
        """,
    ),
    "never forgets ids": (
        streams_with(duplicate_window=3600.0),
        "a_message_id_is_forgotten_after_the_window",
    ),
    "burns ids": (
        BurnsIds,
        """
        a_failed_compare_and_set_does_not_burn_its_message_id
        a_record_is_replaced_only_by_who_knows_its_sequence
        of_many_writers_at_once_one_wins
        """,
    ),
    "checks ids first": (
        ChecksIdsFirst,
        "compare_and_set_is_checked_before_the_message_id",
    ),
    "ignores conditions": (
        appends(expect=None),
        """
        the_first_record_of_a_subject_wins
        a_key_is_created_once
        a_key_is_updated_by_who_knows_its_revision
        of_a_hundred_contenders_one_gets_the_lease
        """,
    ),
    "ignores the filter of a condition": (
        LooksAtItsOwnSubjectOnly,
        "a_condition_can_look_at_a_whole_filter",
    ),
    "says nothing useful": (
        SaysNothingUseful,
        "a_refusal_names_what_was_refused",
    ),
    "has no limits": (
        streams_with(
            max_messages=0, max_bytes=0, max_messages_per_subject=0, max_message_size=0, max_age=0.0
        ),
        """
        a_record_over_the_size_limit_of_its_stream_is_refused
        history_keeps_the_newest_of_a_key
        a_subject_keeps_its_newest_records
        one_record_per_subject_is_replaced_even_when_new_is_discarded
        a_stream_forgets_what_is_too_old
        """,
    ),
    "drops the oldest": (
        streams_with(discard="old", discard_new_per_subject=False),
        """
        a_full_stream_refuses_and_says_so
        a_stream_that_was_full_accepts_again_when_it_is_worked_off
        a_stream_full_of_bytes_refuses
        a_full_subject_can_refuse
        """,
    ),
    "refuses the new of a subject": (
        streams_with(discard="new", discard_new_per_subject=True),
        """
        an_object_comes_back_as_it_was_put
        a_large_object_is_read_in_linear_time
        a_removed_object_is_missing
        """,
    ),
    "ignores ttl": (
        appends(ttl=0.0),
        """
        a_ttl_below_a_second_is_refused
        a_record_with_a_ttl_is_forgotten
        a_delivered_message_expires_too
        an_expired_key_is_absent_and_watchers_are_told
        """,
    ),
    "keeps by limits": (
        streams_with(retention="limits"),
        "an_unconfirmed_ack_acts_too",
    ),
}

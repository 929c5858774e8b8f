"""Promises of `Log.append`: acknowledgement, deduplication, compare-and-set."""

from __future__ import annotations

import asyncio

from aixgo.broker import Appended, Expect
from aixgo.errors import AixgoError, WrongSequence
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import equal, expect, refused
from aixgo.testing.waiting import eventually

ABSENT = Expect(subject_sequence=0)
"""The subject must have no record."""


async def an_append_is_answered_with_stream_and_sequence(stage: Stage) -> None:
    """Promise 12: sequences count from 1 over the stream, whatever the subject."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    answers = [await broker.append(f"{stream.name}.{tail}", b"x") for tail in "abc"]
    wanted = [Appended(stream.name, sequence, False) for sequence in (1, 2, 3)]
    equal("answers", answers, wanted)


async def core_subscribers_see_what_is_appended(stage: Stage) -> None:
    """Promise 12: an append reaches plain subscribers of the subject as well."""
    broker, listener = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker)
    inbox = await stage.listen(listener, f"{stream.name}.>")
    await broker.append(f"{stream.name}.a", b"both")
    equal("seen", [message.data for message in await inbox.exactly(1)], [b"both"])


async def a_plain_publish_to_a_subject_of_a_stream_is_kept(stage: Stage) -> None:
    """Promise 12: the stream keeps it, only no publisher is told."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.publish(f"{stream.name}.a", b"unanswered")
    await broker.flush()
    await stage.until_messages(broker, stream, 1)
    record = await broker.at(stream.name, 1)
    equal("record", record and record.data, b"unanswered")


async def appends_at_once_are_all_kept_in_order(stage: Stage) -> None:
    """Promise 12: a hundred unanswered appends get a hundred sequences."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    answers = await asyncio.gather(
        *(broker.append(f"{stream.name}.a", b"%d" % number) for number in range(100))
    )
    equal("sequences", [answer.sequence for answer in answers], list(range(1, 101)))
    records = await broker.read(stream.name, f"{stream.name}.a")
    equal("records", [record.data for record in records], [b"%d" % n for n in range(100)])


async def the_same_message_id_is_stored_once(stage: Stage) -> None:
    """Promise 13: the repetition is answered with the first sequence, marked as duplicate."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    first = await broker.append(f"{stream.name}.a", b"1", msg_id="id")
    again = await broker.append(f"{stream.name}.a", b"2", msg_id="id")
    other = await broker.append(f"{stream.name}.a", b"3", msg_id="other")
    equal("first", first, Appended(stream.name, 1, False))
    equal("again", again, Appended(stream.name, 1, True))
    equal("other", other, Appended(stream.name, 2, False))


async def message_ids_count_for_the_whole_stream(stage: Stage) -> None:
    """Promise 13: the same id on another subject of the stream is a duplicate too."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"", msg_id="id")
    again = await broker.append(f"{stream.name}.b", b"", msg_id="id")
    equal("on another subject", again, Appended(stream.name, 1, True))
    elsewhere = await stage.stream(broker)
    stored = await broker.append(f"{elsewhere.name}.a", b"", msg_id="id")
    equal("in another stream", stored, Appended(elsewhere.name, 1, False))


async def a_message_id_is_remembered_after_a_purge(stage: Stage) -> None:
    """Promise 13: removing the record does not free its id inside the window."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"", msg_id="id")
    await broker.purge(stream.name)
    again = await broker.append(f"{stream.name}.a", b"", msg_id="id")
    equal("after a purge", again, Appended(stream.name, 1, True))
    equal("messages", await stage.messages_in(broker, stream), 0)


async def a_message_id_is_remembered_after_an_ack(stage: Stage) -> None:
    """Promise 13: a work queue swallows the repetition of a call that was already done."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    done, _ = await stage.acknowledged(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"", msg_id="id")
    await done.count(1)
    again = await broker.append(f"{stream.name}.a", b"", msg_id="id")
    equal("after an ack", again, Appended(stream.name, 1, True))
    await done.exactly(1)


async def a_message_id_is_forgotten_after_the_window(stage: Stage) -> None:
    """Promise 13: the duplicate window ends."""
    broker = await stage.connect()
    stream = await stage.stream(broker, duplicate_window=0.2)
    await broker.append(f"{stream.name}.a", b"", msg_id="id")

    async def again() -> Appended:
        return await broker.append(f"{stream.name}.a", b"", msg_id="id")

    stored = await eventually(again, lambda answer: not answer.duplicate, what="the id is free")
    equal("sequence", stored.sequence, 2)


async def a_failed_compare_and_set_does_not_burn_its_message_id(stage: Stage) -> None:
    """Promise 14: what was refused can be appended with the same id."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    subject = f"{stream.name}.a"
    await broker.append(subject, b"1")
    with refused(WrongSequence, what="append to a taken subject"):
        await broker.append(subject, b"2", msg_id="id", expect=ABSENT)
    stored = await broker.append(subject, b"2", msg_id="id")
    equal("with the same id", stored, Appended(stream.name, 2, False))


async def compare_and_set_is_checked_before_the_message_id(stage: Stage) -> None:
    """Promise 14: another process's repetition of a won compare-and-set has lost."""
    broker, other = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"mine", msg_id="id", expect=ABSENT)
    with refused(WrongSequence, what="the same id with a condition that no longer holds"):
        await other.append(f"{stream.name}.a", b"theirs", msg_id="id", expect=ABSENT)


async def the_first_record_of_a_subject_wins(stage: Stage) -> None:
    """Promise 15: `subject_sequence=0` holds only while the subject has no record."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    subject = f"{stream.name}.a"
    await broker.append(f"{stream.name}.b", b"another subject does not count")
    first = await broker.append(subject, b"first", expect=ABSENT)
    equal("first", first, Appended(stream.name, 2, False))
    with refused(WrongSequence, what="a second first record"):
        await broker.append(subject, b"second", expect=ABSENT)
    record = await broker.last(stream.name, subject)
    equal("record", record and record.data, b"first")


async def a_record_is_replaced_only_by_who_knows_its_sequence(stage: Stage) -> None:
    """Promise 15: the right sequence passes, an older or newer one is refused."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    subject = f"{stream.name}.a"
    one = await broker.append(subject, b"1")
    two = await broker.append(subject, b"2", expect=Expect(subject_sequence=one.sequence))
    for wrong in (one.sequence, two.sequence + 1, 0):
        with refused(WrongSequence, what=f"sequence {wrong} when {two.sequence} is the newest"):
            await broker.append(subject, b"3", expect=Expect(subject_sequence=wrong))
    equal("messages", await stage.messages_in(broker, stream), 2)


async def of_many_writers_at_once_one_wins(stage: Stage) -> None:
    """Promise 15: fifty writers on ten connections, one record."""
    brokers = [await stage.connect() for _ in range(10)]
    stream = await stage.stream(brokers[0])
    subject = f"{stream.name}.a"
    outcomes = await asyncio.gather(
        *(
            brokers[number % 10].append(subject, b"%d" % number, expect=ABSENT)
            for number in range(50)
        ),
        return_exceptions=True,
    )
    won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Appended)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, WrongSequence)]
    equal("winners and losers", (len(won), len(lost)), (1, 49))
    record = await brokers[1].last(stream.name, subject)
    equal("the winner's record", record and record.data, b"%d" % won[0])


async def a_condition_can_look_at_a_whole_filter(stage: Stage) -> None:
    """Promise 16: `subject_filter` with a wildcard, on any subject below it."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    root = f"{stream.name}.run"
    absent = Expect(subject_sequence=0, subject_filter=f"{root}.*")
    one = await broker.append(f"{root}.a", b"", expect=absent)
    with refused(WrongSequence, what="another subject below the filter"):
        await broker.append(f"{root}.b", b"", expect=absent)
    newest = Expect(subject_sequence=one.sequence, subject_filter=f"{root}.*")
    two = await broker.append(f"{root}.b", b"", expect=newest)
    equal("sequence", two.sequence, one.sequence + 1)


async def a_refusal_names_what_was_refused(stage: Stage) -> None:
    """Promise 15: the message of a lost compare-and-set carries the subject."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    subject = f"{stream.name}.a"
    await broker.append(subject, b"")
    try:
        await broker.append(subject, b"", expect=ABSENT)
    except AixgoError as error:
        expect(subject in str(error), f"the error names the subject, got: {error}")
    else:
        raise AssertionError("a second first record was accepted")

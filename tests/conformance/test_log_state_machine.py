"""Random operations against a log, a work queue, and a model of both that fits on a page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aixgo.broker import Appended, Broker, Delivery, Expect
from aixgo.errors import WrongSequence
from aixgo.testing.broker_checks import Backend, Stage
from aixgo.testing.broker_checks.memory_backend import MemoryBackend
from aixgo.testing.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.usefixtures("nothing_blocks_the_loop")

T = TypeVar("T")
ACK_WAIT = 30.0
DAY = 86_400.0
"""Longer than any example waits in virtual time, so that no message id is forgotten."""
subjects = st.sampled_from("abc")
filters = st.sampled_from(["a", "b", "c", ">"])
ids = st.sampled_from(["", "", "", "one", "two", "three"])
bodies = st.binary(max_size=8)


@dataclass
class ModelStream:
    """What a stream must keep: records by sequence, message ids for ever (the window is long)."""

    records: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    last: int = 0

    def newest(self, subject: str) -> int:
        return max((seq for seq, (kept, _) in self.records.items() if kept == subject), default=0)

    def append(
        self, subject: str, body: bytes, msg_id: str, expected: int | None
    ) -> tuple[int, bool] | None:
        """Return (sequence, duplicate), or None when compare-and-set loses."""
        if expected is not None and expected != self.newest(subject):
            return None
        if msg_id and msg_id in self.ids:
            return self.ids[msg_id], True
        self.last += 1
        self.records[self.last] = (subject, body)
        if msg_id:
            self.ids[msg_id] = self.last
        return self.last, False

    def matching(self, subject_filter: str) -> list[int]:
        return [
            seq
            for seq, (subject, _) in sorted(self.records.items())
            if subject_filter in (">", subject)
        ]


class LogMachine(RuleBasedStateMachine):
    """Does the same to a broker and to the model, and compares after every step."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop, *, virtual: bool) -> None:
        super().__init__()
        self.loop, self.virtual = loop, virtual
        self.stage = Stage(backend)
        self.log, self.queue = ModelStream(), ModelStream()
        self.deliveries = 0
        self.attempts: dict[int, int] = {}
        self.answered: set[int] = set()
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(60 if not self.virtual else None):
                return await work

        return self.loop.run_until_complete(bounded())

    async def _open(self) -> None:
        self.broker: Broker = await self.stage.connect()
        self.log_stream = await self.stage.stream(self.broker, duplicate_window=DAY)
        self.queue_stream = await self.stage.stream(
            self.broker, retention="workqueue", duplicate_window=DAY
        )
        consumer = await self.stage.consumer(self.broker, self.queue_stream, ack_wait=ACK_WAIT)
        self.inbox = await self.stage.deliveries(
            self.broker, self.queue_stream, consumer, slots=1000
        )

    def teardown(self) -> None:
        self.run(self.stage.__aexit__(None, None, None))

    async def _append(
        self,
        stream: str,
        model: ModelStream,
        tail: str,
        body: bytes,
        msg_id: str,
        guess: int | None,
    ) -> bool:
        """Append to both; returns whether something new was stored."""
        expect = None if guess is None else Expect(subject_sequence=guess)
        wanted = model.append(tail, body, msg_id, guess)
        try:
            seen = await self.broker.append(f"{stream}.{tail}", body, msg_id=msg_id, expect=expect)
        except WrongSequence:
            assert wanted is None, f"compare-and-set was refused, the model says {wanted}"
            return False
        assert wanted is not None, f"compare-and-set was accepted: {seen}"
        assert seen == Appended(stream, *wanted)
        return not seen.duplicate

    # -- the log -------------------------------------------------------------------------------

    @rule(tail=subjects, body=bodies, msg_id=ids)
    def append(self, tail: str, body: bytes, msg_id: str) -> None:
        self.run(self._append(self.log_stream.name, self.log, tail, body, msg_id, None))

    @rule(tail=subjects, body=bodies, msg_id=ids, off=st.sampled_from([0, 0, 0, 1, -1]))
    def compare_and_set(self, tail: str, body: bytes, msg_id: str, off: int) -> None:
        guess = max(0, self.log.newest(tail) + off)
        self.run(self._append(self.log_stream.name, self.log, tail, body, msg_id, guess))

    @rule(tail=subjects)
    def get_by_subject(self, tail: str) -> None:
        name = self.log_stream.name
        record = self.run(self.broker.last(name, f"{name}.{tail}"))
        newest = self.log.newest(tail)
        if record is None:
            assert newest == 0
        else:
            assert (record.sequence, record.data) == (newest, self.log.records[newest][1])

    @rule(data=st.data())
    def get_by_sequence(self, data: st.DataObject) -> None:
        sequence = data.draw(st.integers(min_value=1, max_value=self.log.last + 1))
        record = self.run(self.broker.at(self.log_stream.name, sequence))
        wanted = self.log.records.get(sequence)
        assert (record and record.data) == (wanted and wanted[1])

    @rule(data=st.data(), subject_filter=filters, limit=st.integers(min_value=0, max_value=5))
    def read(self, data: st.DataObject, subject_filter: str, limit: int) -> None:
        name = self.log_stream.name
        start = data.draw(st.integers(min_value=1, max_value=self.log.last + 1))
        records = self.run(
            self.broker.read(name, f"{name}.{subject_filter}", start=start, limit=limit)
        )
        wanted = [seq for seq in self.log.matching(subject_filter) if seq >= start]
        assert [record.sequence for record in records] == wanted[: limit or None]
        assert [record.data for record in records] == [
            self.log.records[record.sequence][1] for record in records
        ]

    @rule(subject_filter=filters, before=st.integers(min_value=0, max_value=20))
    def purge(self, subject_filter: str, before: int) -> None:
        name = self.log_stream.name
        removed = self.run(self.broker.purge(name, f"{name}.{subject_filter}", before=before))
        gone = [seq for seq in self.log.matching(subject_filter) if not before or seq < before]
        assert removed == len(gone)
        for sequence in gone:
            del self.log.records[sequence]

    @precondition(lambda self: self.log.last)
    @rule(data=st.data())
    def delete_record(self, data: st.DataObject) -> None:
        sequence = data.draw(st.integers(min_value=1, max_value=self.log.last))
        existed = self.log.records.pop(sequence, None) is not None
        assert self.run(self.broker.delete_record(self.log_stream.name, sequence)) == existed

    # -- the work queue ------------------------------------------------------------------------

    @rule(tail=subjects, body=bodies, msg_id=ids)
    def enqueue(self, tail: str, body: bytes, msg_id: str) -> None:
        name = self.queue_stream.name
        if self.run(self._append(name, self.queue, tail, body, msg_id, None)):
            self._expect_delivery_of(self.queue.last)

    def _expect_delivery_of(self, *sequences: int) -> None:
        """Wait for one more delivery of each, and check its attempt and its body."""
        seen = self.run(self.inbox.count(self.deliveries + len(sequences)))
        new = seen[self.deliveries :]
        assert sorted(delivery.sequence for delivery in new) == sorted(sequences)
        for delivery in new:
            attempt = self.attempts.get(delivery.sequence, 0) + 1
            self.attempts[delivery.sequence] = attempt
            assert delivery.attempt == attempt
            assert delivery.data == self.queue.records[delivery.sequence][1]
        self.deliveries += len(sequences)

    def _unanswered(self, data: st.DataObject) -> Delivery:
        """Draw a delivery that nobody answered; it may be older than the newest of its message."""
        free = [index for index in range(self.deliveries) if index not in self.answered]
        index = data.draw(st.sampled_from(free))
        self.answered.add(index)
        return self.inbox.items[index]

    @precondition(lambda self: len(self.answered) < self.deliveries)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        delivery = self._unanswered(data)
        self.run(delivery.ack())
        self.queue.records.pop(delivery.sequence, None)

    @precondition(lambda self: len(self.answered) < self.deliveries)
    @rule(data=st.data())
    def term(self, data: st.DataObject) -> None:
        delivery = self._unanswered(data)
        self.run(delivery.term("drawn"))
        self.queue.records.pop(delivery.sequence, None)

    @precondition(lambda self: len(self.answered) < self.deliveries)
    @rule(data=st.data())
    def nak(self, data: st.DataObject) -> None:
        delivery = self._unanswered(data)
        self.run(delivery.nak())
        if delivery.sequence in self.queue.records:
            self._expect_delivery_of(delivery.sequence)

    @precondition(lambda self: self.queue.records)
    @rule(data=st.data())
    def remove_what_is_out(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.queue.records)))
        assert self.run(self.broker.delete_record(self.queue_stream.name, sequence))
        del self.queue.records[sequence]

    @precondition(lambda self: self.virtual)
    @rule()
    def wait_for_ack_wait(self) -> None:
        self.run(asyncio.sleep(ACK_WAIT + 1))
        self._expect_delivery_of(*self.queue.records)

    # -- always --------------------------------------------------------------------------------

    @invariant()
    def both_streams_keep_what_the_model_keeps(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        for stream, model in ((self.log_stream, self.log), (self.queue_stream, self.queue)):
            info = await self.broker.stream_info(stream.name)
            assert info is not None
            assert (info.messages, info.last_sequence) == (len(model.records), model.last)
            if model.records:
                assert info.first_sequence == min(model.records)
        assert len(self.inbox.items) == self.deliveries, "a delivery that nothing explains"


def explore(make: Callable[[], LogMachine], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        make,  # type: ignore[arg-type]  # it calls it; a factory is as good as a class
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
        ),
    )


@pytest.mark.parametrize(
    "examples", [pytest.param(30, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)]
)
def test_the_memory_broker_does_what_the_model_does(examples: int) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        explore(
            lambda: LogMachine(MemoryBackend(), loop, virtual=True), examples=examples, steps=50
        )


@pytest.mark.nats
@pytest.mark.parametrize(
    ("adapter", "examples"),
    [
        pytest.param("nats", 8, id="nats-few"),
        pytest.param("nats", 40, id="nats-many", marks=pytest.mark.long),
        pytest.param("nats_without_fast_path", 40, marks=pytest.mark.long),
    ],
)
def test_a_real_server_does_what_the_model_does(
    request: pytest.FixtureRequest, adapter: str, examples: int
) -> None:
    backend: Backend = request.getfixturevalue(adapter)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        explore(lambda: LogMachine(backend, loop, virtual=False), examples=examples, steps=40)

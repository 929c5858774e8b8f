"""One durable consumer: what waits, what is out, who is served next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import msgspec

from aixgo.broker.memory import headers as h
from aixgo.broker.memory.delivery import MemoryDelivery
from aixgo.broker.memory.roles import Link, Shelf
from aixgo.broker.memory.timers import Deadlines
from aixgo.broker.port import ConsumerConfig, ConsumerInfo, Record
from aixgo.clock import rfc3339, timer

ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER"
SLACK = 1024
"""Sequences of removed records that may stay in the queue before it is rebuilt."""

NO_LIMIT = 1 << 62


class Puller(Protocol):
    """What takes deliveries while it has free slots."""

    waiting: bool
    """Whether it stands in the consumer's line; kept by the consumer."""

    @property
    def link(self) -> Link:
        """The connection that carries the answers."""
        ...

    @property
    def free(self) -> int:
        """Deliveries that it can take now."""
        ...

    def take(self, delivery: MemoryDelivery) -> bool:
        """Start to handle a delivery, later than now; whether another one can be taken too."""
        ...


class Consumer:
    """Hands the records of a stream to pullers, each until it is answered.

    A record is in one of these places: `_ready` (never delivered), `out` (delivered, unanswered;
    if it is due again also in `_again`), or done. Everything acts at once; handlers run later.
    """

    def __init__(self, stream: Shelf, config: ConsumerConfig) -> None:
        self._stream, self.config, self._faults = stream, config, stream.host.faults
        self.out: dict[int, MemoryDelivery] = {}
        self.paused_until: float | None = None
        self._again: deque[int] = deque()
        self._line: deque[Puller] = deque()
        self._waits: Deadlines[int] = Deadlines(stream.host.loop, self._overdue)
        self._time = timer(stream.host.loop)
        self._resume: asyncio.TimerHandle | None = None
        self._apply(config)
        self._begin()

    def _apply(self, config: ConsumerConfig) -> None:
        self.config = config
        self._window = NO_LIMIT if config.max_ack_pending < 0 else config.max_ack_pending
        self._attempts = NO_LIMIT if config.max_deliver < 0 else config.max_deliver
        self._ack_wait = config.ack_wait

    # -- what waits ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Queue the records that are there already, by the deliver policy."""
        records, config = self._stream.records, self.config
        found: dict[int, Record] = {}
        if config.deliver != "new":
            for pattern in config.filters or (">",):
                found.update((each.sequence, each) for each in records.select(pattern, 1))
        sequences = sorted(found)
        self._ready = deque(sequences)
        self._waiting = len(sequences)
        # up to here a record waits only if the policy chose it; everything newer waits
        self._chosen, self._chosen_to = set(sequences), records.last
        self._cursor = 0

    def offer(self, sequence: int) -> None:
        """Queue a new record of the stream."""
        self._ready.append(sequence)
        self._waiting += 1
        if len(self._ready) > SLACK and len(self._ready) > 2 * self._waiting + SLACK:
            kept = self._stream.records.by_sequence
            self._ready = deque(each for each in self._ready if each in kept)
        if self._line:
            self.serve()

    def _is_waiting(self, sequence: int) -> bool:
        if sequence <= self._cursor:
            return False
        return sequence > self._chosen_to or sequence in self._chosen

    def forget(self, sequence: int) -> None:
        """Take note that the stream removed a record that this consumer's filters match."""
        if self.out.pop(sequence, None) is not None:
            self._waits.discard(sequence)
            if self._line:
                self.serve()
        elif self._is_waiting(sequence):
            self._waiting -= 1

    def forget_all(self) -> None:
        """Take note that the stream removed everything."""
        self.out.clear()
        self._waits.clear()
        self._again.clear()
        self._ready.clear()
        self._waiting = 0

    # -- who is served -------------------------------------------------------------------------

    def enqueue(self, puller: Puller) -> None:
        """Let a puller with free slots stand in line."""
        if not puller.waiting and puller.free > 0:
            puller.waiting = True
            self._line.append(puller)
        if self._ready or self._again:
            self.serve()

    def leave(self, puller: Puller) -> None:
        """Take a puller out of the line; what it holds stays out until `ack_wait`."""
        if puller.waiting:
            puller.waiting = False
            self._line.remove(puller)

    def serve(self) -> None:
        """Deliver as long as a pull waits, something is due and the window is open."""
        line, out, faults = self._line, self.out, self._faults
        if faults.paused or self.paused_until is not None:
            return
        while line and (self._ready or self._again):
            record = self._next()
            if record is None:
                return
            puller, sequence = line[0], record.sequence
            before = out.get(sequence)
            attempt = 1 if before is None else before.attempt + 1
            delivery = MemoryDelivery(record, attempt, self._waiting, self, puller)
            out[sequence] = delivery
            self._waits.set(sequence, self._time() + self._ack_wait)
            if faults.duplicates:
                faults.duplicates -= 1
                self._again.append(sequence)
            if puller.take(delivery):
                line.rotate(-1)
            else:
                line.popleft()
                puller.waiting = False

    def _next(self) -> Record | None:
        """Return what is delivered next: redeliveries first, new ones while the window is open."""
        kept = self._stream.records.by_sequence
        while self._again:
            sequence = self._again.popleft()
            delivery = self.out.get(sequence)
            if delivery is None:
                continue
            record = kept.get(sequence)
            if record is not None and delivery.attempt < self._attempts:
                self._waits.discard(sequence)
                return record
            self._set_aside(delivery)
        ready = self._ready
        while ready and len(self.out) < self._window:
            sequence = ready.popleft()
            record = kept.get(sequence)
            if record is not None:
                self._cursor = sequence
                self._waiting -= 1
                return record
        return None

    # -- answers -------------------------------------------------------------------------------

    def ack(self, sequence: int) -> None:
        """Take a record as done; a stale answer counts as well."""
        if self.out.pop(sequence, None) is not None:
            self._waits.when.pop(sequence, None)
        elif self._is_waiting(sequence):
            return
        self._stream.settle(sequence)
        if self._line and (self._ready or self._again):
            self.serve()

    def nak(self, sequence: int, delay: float) -> None:
        """Deliver a record again: next, or after `delay` seconds in which it stays out."""
        if sequence not in self._waits.when:  # answered, or due again already
            return
        if delay > 0:
            self._waits.set(sequence, self._time() + delay)
        else:
            self._waits.discard(sequence)
            self._overdue(sequence)

    def term(self, sequence: int, reason: str) -> None:
        """Take a record as done for ever, with an advisory that says why."""
        delivery = self.out.get(sequence)
        self.ack(sequence)
        if delivery is not None:
            self._advise("MSG_TERMINATED", "terminated", delivery, reason=reason)

    def touch(self, sequence: int) -> None:
        """Start the wait of a record that is out anew."""
        if sequence in self._waits.when:
            self._waits.set(sequence, self._time() + self._ack_wait)

    def held_by(self, puller: Puller) -> list[MemoryDelivery]:
        """Return the unanswered deliveries that the puller got last."""
        return [delivery for delivery in self.out.values() if delivery.puller is puller]

    def _overdue(self, sequence: int) -> None:
        delivery = self.out.get(sequence)
        if delivery is None:
            return
        if delivery.attempt >= self._attempts:
            self._set_aside(delivery)
        else:
            self._again.append(sequence)
        if self._line:
            self.serve()

    def _set_aside(self, delivery: MemoryDelivery) -> None:
        """Stop delivering a record that was delivered too often; it stays in the stream."""
        del self.out[delivery.sequence]
        self._waits.discard(delivery.sequence)
        self._advise("MAX_DELIVERIES", "max_deliver", delivery)

    def _advise(self, event: str, kind: str, delivery: MemoryDelivery, **more: str) -> None:
        stream, consumer = self._stream.name, self.config.name
        advisory = {
            "type": f"io.nats.jetstream.advisory.v1.{kind}",
            "timestamp": rfc3339(self._stream.host.now()),
            "stream": stream,
            "consumer": consumer,
            "stream_seq": delivery.sequence,
            "deliveries": delivery.attempt,
            **more,
        }
        subject = f"{ADVISORY}.{event}.{stream}.{consumer}"
        self._stream.host.publish(subject, msgspec.json.encode(advisory), "", h.EMPTY)

    # -- changes -------------------------------------------------------------------------------

    def update(self, config: ConsumerConfig) -> None:
        """Take over a changed declaration; a shorter `ack_wait` holds for what is out, too."""
        before = self.config
        self._apply(config)
        if config.filters != before.filters:
            self._refilter()
        if config.ack_wait != before.ack_wait:
            latest = self._time() + config.ack_wait
            for sequence, when in list(self._waits.when.items()):
                self._waits.set(sequence, min(when, latest))
        self.serve()

    def _refilter(self) -> None:
        records = self._stream.records
        waiting = {
            record.sequence
            for pattern in self.config.filters or (">",)
            for record in records.select(pattern, self._cursor + 1)
        }
        self._ready = deque(sorted(waiting))
        self._waiting = len(waiting)
        self._chosen, self._chosen_to = waiting, records.last

    def pause(self, until: float) -> None:
        """Deliver nothing until Unix time `until`; a time in the past resumes."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        left = until - self._stream.host.now()
        if left > 0:
            self.paused_until = until
            self._resume = self._stream.host.loop.call_later(left, self.pause, 0.0)
        else:
            self.paused_until = None
            self.serve()

    def close(self) -> None:
        """Stop every timer and send the line away: the consumer is gone."""
        self.forget_all()
        for puller in self._line:
            puller.waiting = False
        self._line.clear()
        if self._resume is not None:
            self._resume.cancel()

    def info(self) -> ConsumerInfo:
        """Return the state at this moment."""
        return ConsumerInfo(
            stream=self._stream.name,
            config=self.config,
            pending=self._waiting,
            ack_pending=len(self.out),
            waiting=min(len(self._line), self.config.max_waiting),
            redelivered=sum(delivery.attempt > 1 for delivery in self.out.values()),
            ack_floor=min(self.out) - 1 if self.out else self._cursor,
            paused_until=self.paused_until,
        )

"""The broker port: small roles that a NATS JetStream server and the memory broker both play.

`Bus` is at-most-once publish/subscribe with request/reply. `Log` is durable streams: append with
deduplication and compare-and-set, consume with acknowledgement, direct reads. `Admin` declares
streams and consumers. Key-value buckets and object stores are conventions over a log and are
written once for every adapter (`keyvalue.py`, `objects.py`).

What an adapter promises is `aixgo.testing.broker_checks`, one function a promise. Durations are
seconds, sizes bytes, sequences start at 1. Errors are those of `aixgo.errors.BrokerError`; nothing
of a client library leaves an adapter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from aixgo.broker.declarations import (
    Change,
    ConsumerConfig,
    ConsumerInfo,
    StreamConfig,
    StreamInfo,
)
from aixgo.broker.messages import NO_HEADERS, Appended, BusMessage, Expect, Headers, Record

__all__ = [
    "NO_HEADERS",
    "Admin",
    "Appended",
    "Broker",
    "BrokerEvent",
    "Bus",
    "BusMessage",
    "Change",
    "ConsumerConfig",
    "ConsumerInfo",
    "Consumption",
    "Delivery",
    "Expect",
    "Headers",
    "Log",
    "Record",
    "StreamConfig",
    "StreamInfo",
    "Subscription",
    "Upkeep",
]


# -- what is held -----------------------------------------------------------------------------


class Delivery(Protocol):
    """One delivery of a stream's message to this consumer; answered exactly once.

    `attempt` counts deliveries and starts at 1. A server that crashed may forget what it counted,
    so it is a hint, never a proof. Answering waits for the broker's word (with retries over a
    reconnect, up to 10 s), unless `ack(confirm=False)`.
    """

    subject: str
    data: bytes
    stream: str
    sequence: int
    attempt: int
    pending: int

    @property
    def headers(self) -> Headers:
        """Headers of the message."""
        ...

    async def ack(self, *, confirm: bool = True) -> None:
        """Say that it is done: a work queue forgets it, a limits stream moves on."""
        ...

    async def nak(self, delay: float = 0.0) -> None:
        """Hand it back: at once, or after `delay` seconds (unacknowledged until then)."""
        ...

    async def term(self, reason: str = "") -> None:
        """Never deliver it again; a work queue forgets it and an advisory carries the reason."""
        ...

    async def in_progress(self) -> None:
        """Start the acknowledgement wait anew; not confirmed."""
        ...


class Subscription(Protocol):
    """A live subscription; iterate it unless a callback was given."""

    @property
    def dropped(self) -> int:
        """Messages dropped here because the reader was slower than its bound (slow consumer)."""
        ...

    def __aiter__(self) -> AsyncIterator[BusMessage]:
        """Yield messages until the subscription or the broker is closed."""
        ...

    async def unsubscribe(self) -> None:
        """Stop at once; what is queued is dropped."""
        ...

    async def drain(self) -> None:
        """Stop taking new messages; what is queued can still be read."""
        ...


class Consumption(Protocol):
    """A running pull on a durable consumer."""

    @property
    def busy(self) -> int:
        """Deliveries whose handler has not finished."""
        ...

    async def stop(self, grace: float = 0.0) -> None:
        """Stop pulling, give handlers `grace` seconds to finish, then cancel them.

        Every delivery that is unanswered is handed back (nak). Idempotent.
        """
        ...


# -- roles -------------------------------------------------------------------------------------


class Bus(Protocol):
    """At-most-once messages between the clients that are connected now."""

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Headers | None = None
    ) -> None:
        """Send without waiting for an answer. While disconnected it is buffered up to a bound.

        Raises:
            BadSubject, BadHeader, PayloadTooLarge: at once.
            Disconnected: the buffer is full.
            ConnectionClosed: after close.
        """
        ...

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Headers | None = None
    ) -> BusMessage:
        """Return the first answer within `timeout` seconds; later ones are dropped.

        Raises:
            NoResponders: no process listens; known at once.
            RequestTimeout: a process listens but did not answer.
        """
        ...

    async def subscribe(
        self,
        subject: str,
        on_message: Callable[[BusMessage], None] | None = None,
        *,
        queue: str = "",
        limit: int = 0,
        pending: int = 65_536,
        prompt: bool = False,
    ) -> Subscription:
        """Receive what is published from now on.

        Args:
            on_message: called for each message on the event loop; must be quick. What it raises is
                reported and stops nothing. Without it, iterate the subscription.
            queue: of the members of one queue group, one gets each message.
            limit: end after so many messages; 0 for no end.
            pending: messages that may wait to be read; more are dropped and counted.
            prompt: `on_message` only completes a future or notes the message, so a broker in this
                process may call it before `publish` returns; a turn of the event loop is saved.
        """
        ...

    async def flush(self, timeout: float = 5.0) -> None:
        """Return when the broker has read everything sent before, subscriptions included."""
        ...


class Log(Protocol):
    """Durable streams, addressed by subject."""

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str = "",
        expect: Expect | None = None,
        ttl: float = 0.0,
        headers: Headers | None = None,
        timeout: float = 10.0,
    ) -> Appended:
        """Store a message and return when the broker has said so.

        It is repeated with the same `msg_id` over lost connections and lost answers until
        `timeout`; a compare-and-set whose answer was lost is looked up, so that the writer never
        loses against itself.

        Args:
            msg_id: within the stream's duplicate window, stored once.
            ttl: whole seconds ≥ 1 after which the stream forgets it; 0 keeps it.

        Raises:
            StreamFull: the stream is at its limit and refuses new messages (backpressure).
            WrongSequence: `expect` does not hold.
            StreamRefused: this message never fits (TTL below 1 s, size, another stream).
            NoResponders: no stream takes the subject.
            RequestTimeout: no word from the broker; it may or may not be stored.
        """
        ...

    async def consume(
        self,
        stream: str,
        consumer: str,
        handler: Callable[[Delivery], Awaitable[None]],
        *,
        slots: int,
    ) -> Consumption:
        """Pull deliveries for ever, running at most `slots` handlers at once, a task each.

        A handler answers its delivery; what it raises is reported and leaves the delivery
        unanswered, so it comes back after the consumer's `ack_wait`. Survives reconnects.

        Raises:
            StreamNotFound, ConsumerNotFound: nothing of that name is provisioned.
        """
        ...

    async def schedule(
        self,
        subject: str,
        data: bytes,
        *,
        at: float,
        target: str,
        msg_id: str = "",
        ttl: float = 0.0,
        timeout: float = 10.0,
    ) -> Appended:
        """Store a message that is published to `target` at Unix time `at`, then forgotten.

        It fires once, over restarts of everything; a time in the past fires at once. A newer
        schedule on the same subject replaces it, and purging the subject cancels it. What fires is
        seen by consumers of the stream only, not by core subscribers.

        Args:
            target: another subject of the same stream, which allows schedules.
            ttl: whole seconds ≥ 1 for which what fired is kept; 0 keeps it.

        Raises:
            StreamRefused: the stream allows no schedules, or none to this target.
            BrokerError: as for `append`.
        """
        ...

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Record | None:
        """Return the newest record of `subject`; None: there is none.

        Args:
            subject: wildcards find the newest of all that match.
            decisive: something irreversible follows from the answer, so a replica that may be
                behind must not give it: the stream's leader does. Costs nothing without replicas.

        Raises:
            BadSubject: the subject is empty or cannot be one.
            StreamNotFound: nothing of that name is provisioned.
        """
        ...

    async def at(self, stream: str, sequence: int) -> Record | None:
        """Return the record at `sequence`; None: it is not there yet, or no longer.

        Raises:
            ValueError: the sequence is below 1.
            StreamNotFound: nothing of that name is provisioned.
        """
        ...

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        """Return the records that match the filter from sequence `start` on, in order.

        Args:
            limit: at most so many records; 0 for all that are there now.
        """
        ...

    def follow(
        self, stream: str, subject: str, *, start: int = 1
    ) -> AbstractAsyncContextManager[AsyncIterator[Record]]:
        """Yield the records that match the filter from `start` on, then new ones.

        Gapless and in order, over reconnects. A `start` of 0 begins after the newest.
        """
        ...


class Admin(Protocol):
    """Declares and inspects what is durable. Deployed services bind; only provisioning declares."""

    async def ensure_stream(self, config: StreamConfig) -> Change:
        """Create the stream, or update it to the declaration; says what changed."""
        ...

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Change:
        """Create the consumer, or update it to the declaration; says what changed.

        Raises:
            ConsumerConflict: filters overlap another consumer's of a work queue, or a field cannot
                be changed.
        """
        ...

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """Return the stream's state, or None if it does not exist."""
        ...

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo | None:
        """Return the consumer's state, or None if it (or the stream) does not exist."""
        ...

    async def stream_names(self) -> Sequence[str]:
        """Return the names of all streams, sorted."""
        ...

    async def consumer_names(self, stream: str) -> Sequence[str]:
        """Return the names of the stream's consumers, sorted.

        Raises:
            StreamNotFound: nothing of that name is provisioned.
        """
        ...


class Upkeep(Protocol):
    """Removes and pauses."""

    async def delete_stream(self, stream: str) -> bool:
        """Remove the stream with all it keeps; False if it was not there."""
        ...

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """Remove the consumer; its unanswered messages wait for another. False: not there."""
        ...

    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        """Remove the records that match the filter (all without one); returns how many.

        Args:
            before: only those whose sequence is lower; 0 for no such limit.
        """
        ...

    async def delete_record(self, stream: str, sequence: int) -> bool:
        """Remove one record; False if it was not there."""
        ...

    async def pause_consumer(self, stream: str, consumer: str, until: float) -> None:
        """Deliver nothing until Unix time `until`; a time in the past resumes."""
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerEvent:
    """Something that happened to the connection, for logs, metrics and readiness.

    `kind` is one of: disconnected, reconnected, closed, slow_consumer, permission_denied, error.
    """

    kind: str
    detail: str = ""


class Broker(Bus, Log, Admin, Upkeep, Protocol):
    """A connection to a broker that plays every role; an async context manager."""

    name: str
    """Technology, for logs and `messaging.system`: `memory` or `nats`. Decides nothing."""

    in_process: bool
    """Whether it lives in this process: a read copies nothing over a wire, and what streams keep
    takes this process's memory and ends with it."""

    max_payload: int
    """Largest message with headers, in bytes."""

    @property
    def connected(self) -> bool:
        """Whether the connection is up at this moment."""
        ...

    def on_event(self, listener: Callable[[BrokerEvent], None]) -> None:
        """Call `listener` for what happens to the connection; it must be quick and not raise."""
        ...

    async def close(self, *, drain: bool = True) -> None:
        """Stop consumptions, finish queued messages and replies when `drain`, disconnect."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

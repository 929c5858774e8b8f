"""Where a check runs: connections to one broker, unique names, and ways to break things."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from aixgo.broker import (
    Broker,
    BrokerEvent,
    BusMessage,
    ConsumerConfig,
    ConsumerInfo,
    Consumption,
    Delivery,
    StreamConfig,
)
from aixgo.errors import BrokerError
from aixgo.testing.expect import Collected
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually


class Backend(Protocol):
    """What the author of a broker adapter provides so that the checks can run against it.

    One backend serves many checks, one after another; names never collide, so it need not be
    emptied in between.
    """

    kind: str
    """Technology, which `not_on` refers to: `memory`, `nats` or your own."""

    def connect(self, *, breakable: bool = False) -> AbstractAsyncContextManager[Broker]:
        """Open a connection, and close it at once (no draining) when the block ends.

        `cut` will be called only for a `breakable` one.
        """
        ...

    def connect_limited(self) -> AbstractAsyncContextManager[Broker]:
        """Open a connection whose user may publish and subscribe only below `allowed.`.

        Answers to its own requests reach it. Not called where `not_on` says so.
        """
        ...

    def cut(self, broker: Broker) -> AbstractAsyncContextManager[None]:
        """Keep the connection down inside the block; it is restored without help afterwards."""
        ...

    async def restart(self) -> None:
        """Kill the server as `kill -9` does, and start it again with what it had stored."""
        ...


async def _answers(broker: Broker) -> bool:
    """Whether the broker answers on this connection now."""
    try:
        await broker.flush(timeout=1.0)
    except BrokerError:
        return False
    return broker.connected


class Stage:
    """A backend for one check: what is made here is unique and ends with the block.

    async with Stage(backend) as stage:
        await check(stage)
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._unique = f"{os.urandom(4).hex()}"
        self._names = 0
        self._open = AsyncExitStack()
        self._connections: list[Broker] = []
        self._streams: list[str] = []

    @property
    def kind(self) -> str:
        """Technology of the backend."""
        return self._backend.kind

    async def __aenter__(self) -> Self:
        """Open the stage; nothing is connected yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove every stream that the check made and close every connection, without draining."""
        async with self._open:
            if self._streams:
                cleaner = await self._open.enter_async_context(self._backend.connect())
                for name in self._streams:
                    await cleaner.delete_stream(name)

    # -- connections ---------------------------------------------------------------------------

    async def connect(self, *, breakable: bool = False) -> Broker:
        """Return a new connection; it is closed with the stage."""
        broker = await self._open.enter_async_context(self._backend.connect(breakable=breakable))
        self._connections.append(broker)
        return broker

    async def limited_connect(self) -> Broker:
        """Return a connection that may publish and subscribe only below `allowed.`."""
        broker = await self._open.enter_async_context(self._backend.connect_limited())
        self._connections.append(broker)
        return broker

    @asynccontextmanager
    async def disconnected(self, broker: Broker) -> AsyncGenerator[None, None]:
        """Keep a breakable connection down inside the block; it is up again when the block ends."""
        async with self._backend.cut(broker):
            await self._until_connected(broker, wanted=False)
            yield
        await self._until_connected(broker, wanted=True)

    async def disconnect(self, broker: Broker) -> None:
        """Cut a breakable connection for a moment."""
        async with self.disconnected(broker):
            pass

    async def restart_server(self) -> None:
        """Kill and restart the server; return when every connection of the stage is up again."""
        await self._backend.restart()
        for broker in self._connections:
            await eventually(partial(_answers, broker), bool, what="connection up after a restart")

    async def _until_connected(self, broker: Broker, *, wanted: bool) -> None:
        async def look() -> bool:
            return broker.connected

        await eventually(
            look,
            lambda up: up is wanted,
            what=f"connection {'up' if wanted else 'down'}",
        )

    # -- names and declarations ----------------------------------------------------------------

    def unique(self, prefix: str) -> str:
        """Return a token that nothing else uses, for subjects, streams, buckets and consumers."""
        self._names += 1
        return f"{prefix}-{self._unique}-{self._names}"

    async def stream(self, broker: Broker, **fields: Any) -> StreamConfig:
        """Declare a stream with these fields of `StreamConfig`; it keeps `<its name>.>`."""
        name = self.unique("S")
        config = replace(StreamConfig(name=name, subjects=(f"{name}.>",)), **fields)
        return await self.declare(broker, config)

    async def declare(self, broker: Broker, config: StreamConfig) -> StreamConfig:
        """Declare a stream that is removed with the stage."""
        self._streams.append(config.name)
        await broker.ensure_stream(config)
        return config

    def forget_later(self, stream: str) -> None:
        """Remove this stream, which is declared elsewhere, with the stage."""
        self._streams.append(stream)

    async def consumer(self, broker: Broker, stream: StreamConfig, **fields: Any) -> ConsumerConfig:
        """Declare a consumer with these fields of `ConsumerConfig`."""
        config = replace(ConsumerConfig(name=self.unique("c")), **fields)
        await broker.ensure_consumer(stream.name, config)
        return config

    async def fill(self, broker: Broker, stream: StreamConfig, tails: Sequence[str]) -> None:
        """Append a record for each subject tail; the bodies are their numbers, from 1 on."""
        for number, tail in enumerate(tails, 1):
            await broker.append(f"{stream.name}.{tail}", b"%d" % number)

    # -- watching ------------------------------------------------------------------------------

    async def listen(self, broker: Broker, subject: str, **options: Any) -> Collected[BusMessage]:
        """Subscribe and collect; the subscription is in force when this returns."""
        inbox = Collected[BusMessage](f"messages on {subject!r}")
        await broker.subscribe(subject, inbox, **options)
        await broker.flush()
        return inbox

    async def deliveries(
        self, broker: Broker, stream: StreamConfig, consumer: ConsumerConfig, *, slots: int = 64
    ) -> Collected[Delivery]:
        """Consume and collect without answering; the check answers, or time does."""
        inbox = Collected[Delivery](f"deliveries of {stream.name}/{consumer.name}")
        await broker.consume(stream.name, consumer.name, inbox.take, slots=slots)
        return inbox

    async def acknowledged(
        self, broker: Broker, stream: StreamConfig, consumer: ConsumerConfig, *, slots: int = 64
    ) -> tuple[Collected[Delivery], Consumption]:
        """Consume, acknowledge and then collect."""
        inbox = Collected[Delivery](f"acknowledged deliveries of {stream.name}/{consumer.name}")

        async def handle(delivery: Delivery) -> None:
            await delivery.ack()
            inbox(delivery)

        return inbox, await broker.consume(stream.name, consumer.name, handle, slots=slots)

    def events(self, broker: Broker) -> Collected[BrokerEvent]:
        """Collect what happens to the connection."""
        seen = Collected[BrokerEvent]("events of the connection")
        broker.on_event(seen)
        return seen

    async def event(self, seen: Collected[BrokerEvent], kind: str) -> BrokerEvent:
        """Return the first event of this kind, which must come."""

        async def look() -> list[BrokerEvent]:
            return [event for event in seen.items if event.kind == kind]

        found = await eventually(look, bool, what=f"event {kind!r}")
        return found[0]

    async def state(
        self, broker: Broker, stream: StreamConfig, consumer: ConsumerConfig
    ) -> ConsumerInfo:
        """Return the state of a consumer, which must exist."""
        info = await broker.consumer_info(stream.name, consumer.name)
        if info is None:
            raise AssertionError(f"consumer {consumer.name!r} is gone")
        return info

    async def until_waiting(
        self, broker: Broker, stream: StreamConfig, consumer: ConsumerConfig
    ) -> None:
        """Return when an idle pull waits at the broker."""
        await eventually(
            lambda: self.state(broker, stream, consumer),
            lambda info: info.waiting >= 1,
            what=f"a pull waits at consumer {consumer.name!r}",
        )

    async def messages_in(self, broker: Broker, stream: StreamConfig) -> int:
        """Return how many messages the stream keeps now."""
        info = await broker.stream_info(stream.name)
        if info is None:
            raise AssertionError(f"stream {stream.name!r} is gone")
        return info.messages

    async def until_messages(
        self, broker: Broker, stream: StreamConfig, wanted: int, *, within: float = PATIENCE_SECONDS
    ) -> None:
        """Return when the stream keeps `wanted` messages."""
        await eventually(
            lambda: self.messages_in(broker, stream),
            lambda count: count == wanted,
            what=f"messages in {stream.name!r} are {wanted}",
            within=within,
        )


Check = Callable[[Stage], Coroutine[Any, Any, None]]
"""A promise: returns when it is kept, raises AssertionError when it is not."""


@dataclass(frozen=True)
class _Exception:
    """Where a promise has no meaning, and why."""

    kinds: tuple[str, ...]
    because: str


_EXCEPTIONS: dict[Check, _Exception] = {}


def not_on(*kinds: str, because: str) -> Callable[[Check], Check]:
    """Say that a promise has no meaning on brokers of these kinds, and why."""

    def mark(check: Check) -> Check:
        _EXCEPTIONS[check] = _Exception(kinds, because)
        return check

    return mark


def no_meaning(check: Check, kind: str) -> str | None:
    """Return why the promise has no meaning on brokers of this kind; None when it has one."""
    exception = _EXCEPTIONS.get(check)
    return exception.because if exception and kind in exception.kinds else None


_ALONE: set[Check] = set()


def alone(check: Check) -> Check:
    """Say that a check breaks the server for everybody, so nothing may run beside it."""
    _ALONE.add(check)
    return check


def is_alone(check: Check) -> bool:
    """Whether nothing may run beside the check."""
    return check in _ALONE

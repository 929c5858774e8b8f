"""Brokers that break promises on purpose: wrappers that do one thing wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from aixgo.broker import (
    BusMessage,
    ConsumerConfig,
    Delivery,
    StreamConfig,
)
from aixgo.clock import now
from aixgo.errors import BrokerError


class Wrapper:
    """Passes everything on; a sabotage overrides the one thing that it breaks."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def streams_with(**fields: Any) -> type[Wrapper]:
    """Return a sabotage that declares streams with other fields than it was told."""

    class Redeclares(Wrapper):
        async def ensure_stream(self, config: StreamConfig) -> Any:
            return await self.real.ensure_stream(replace(config, **fields))

    return Redeclares


def consumers_with(**fields: Any) -> type[Wrapper]:
    """Return a sabotage that declares consumers with other fields than it was told."""

    class Redeclares(Wrapper):
        async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Any:
            return await self.real.ensure_consumer(stream, replace(config, **fields))

    return Redeclares


def hears(change: Callable[[BusMessage], BusMessage | None]) -> type[Wrapper]:
    """Return a sabotage that changes what callbacks receive."""

    class Hears(Wrapper):
        async def subscribe(self, subject: str, on_message: Any = None, **options: Any) -> Any:
            def heard(message: BusMessage) -> None:
                if (changed := change(message)) is not None:
                    on_message(changed)

            return await self.real.subscribe(subject, on_message and heard, **options)

    return Hears


def subscribes(**fields: Any) -> type[Wrapper]:
    """Return a sabotage that subscribes with other options than it was told."""

    class Subscribes(Wrapper):
        async def subscribe(self, subject: str, *args: Any, **options: Any) -> Any:
            return await self.real.subscribe(subject, *args, **{**options, **fields})

    return Subscribes


def appends(**fields: Any) -> type[Wrapper]:
    """Return a sabotage that appends with other options than it was told."""

    class Appends(Wrapper):
        async def append(self, subject: str, data: bytes, **options: Any) -> Any:
            return await self.real.append(subject, data, **{**options, **fields})

    return Appends


def does_nothing(*methods: str, answer: Any = None) -> type[Wrapper]:
    """Return a sabotage whose methods do nothing."""

    async def nothing(self: Wrapper, *args: Any, **options: Any) -> Any:
        return answer

    return type("DoesNothing", (Wrapper,), dict.fromkeys(methods, nothing))


def swallows(*methods: str, answer: Any = None) -> type[Wrapper]:
    """Return a sabotage that keeps every refusal to itself."""

    def swallowing(method: str) -> Callable[..., Awaitable[Any]]:
        async def swallow(self: Wrapper, *args: Any, **options: Any) -> Any:
            try:
                return await getattr(self.real, method)(*args, **options)
            except BrokerError:
                return answer

        return swallow

    return type("Swallows", (Wrapper,), {method: swallowing(method) for method in methods})


def delivers(change: Callable[[Any], Any]) -> type[Wrapper]:
    """Return a sabotage that changes what handlers receive; None hands nothing to them."""

    class Delivers(Wrapper):
        async def consume(self, stream: str, consumer: str, handler: Any, *, slots: int) -> Any:
            async def handle(delivery: Delivery) -> None:
                if (changed := change(delivery)) is not None:
                    await handler(changed)

            return await self.real.consume(stream, consumer, handle, slots=slots)

    return Delivers


BEHIND_SECONDS = 10.0
"""For which a replica of `Behind` does not know of a record."""


class Behind(Wrapper):
    """No sabotage: reads that are not decisive are answered by a replica that is behind."""

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Any:
        record = await self.real.last(stream, subject, decisive=decisive)
        if decisive or record is None or "RESULTS" not in stream:
            return record
        return record if record.time < now() - BEHIND_SECONDS else None


class Sabotaged:
    """The memory backend behind a sabotage."""

    kind = "memory"

    def __init__(self, sabotage: Callable[[Any], Any], backend: Any) -> None:
        self.sabotage, self.backend = sabotage, backend

    @asynccontextmanager
    async def connect(self, *, breakable: bool = False) -> AsyncGenerator[Any, None]:
        async with self.backend.connect(breakable=breakable) as broker:
            yield self.sabotage(broker)

    def connect_limited(self) -> AbstractAsyncContextManager[Any]:
        raise LookupError("no users")

    def cut(self, broker: Any) -> AbstractAsyncContextManager[None]:
        cut: AbstractAsyncContextManager[None] = self.backend.cut(getattr(broker, "real", broker))
        return cut

    async def restart(self) -> None:
        await self.backend.restart()


Table = dict[str, tuple[Callable[[Any], Any], str]]
"""By what it does wrong: the sabotage, and the checks that must notice it."""

"""Where a producer's events go: published until they are stored, at a bounded rate."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from aixgo.agents.role import Feed
from aixgo.calls.retry import backoff
from aixgo.config.agents import AgentSpec
from aixgo.errors import AixgoError, WrongSequence
from aixgo_services.producer.rate import Pace

log = logging.getLogger("aixgo.producer")

T = TypeVar("T")


class Stopping(Exception):
    """The agent should stop; what was being done is not done."""


class Outlet:
    """Publishes the events of one producer, and keeps what its instances remember.

    A broker that is away is waited for, without an end.

    Attributes:
        published: events since the start.
    """

    def __init__(self, spec: AgentSpec, feed: Feed, rate: float | None) -> None:
        self.agent, self.feed = spec.name, feed
        self._retry, self._pace = spec.retry, Pace(rate)
        self.published = 0

    async def publish(self, event: Any, key: str, meta: Mapping[str, Any] | None = None) -> None:
        """Publish until it is stored; the `key` makes a second try after a lost answer harmless.

        Raises:
            Stopping: before it was stored.
            AixgoError: that waiting cannot mend.
        """
        if wait := self._pace.take():
            await self.sleep(wait)
        try:
            await self._until_done(lambda: self.feed.emit(event, meta=meta, key=key))
        except Stopping:
            log.warning("producer.unpublished", extra={"agent": self.agent, "key": key})
            raise
        self.published += 1

    async def recall(self, kind: type[T]) -> tuple[T | None, int]:
        """Return what the instances remember, if it is of a kind, and its revision.

        Another kind is what the agent remembered before its declaration was changed.

        Raises:
            Stopping, AixgoError: as of `publish`.
        """
        known = await self._until_done(self.feed.recall)
        try:
            return msgspec.convert(known.value, kind), known.revision
        except msgspec.ValidationError:
            return None, known.revision

    async def remember(self, value: msgspec.Struct, revision: int) -> int | None:
        """Replace what was recalled; returns the new revision, None if another instance was faster.

        Raises:
            Stopping, AixgoError: as of `publish`.
        """
        try:
            return await self._until_done(lambda: self.feed.remember(value, revision=revision))
        except WrongSequence:
            return None

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopping: the agent should stop.
        """
        if not await self.feed.sleep(seconds):
            raise Stopping

    async def _until_done(self, act: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await act()
            except AixgoError as error:
                if not error.retryable:
                    raise
                attempt += 1
                delay = backoff(self._retry, attempt)
                log.warning(
                    "producer.delayed",
                    extra={
                        "agent": self.agent,
                        "error": error.code,
                        "attempt": attempt,
                        "retry_in": delay,
                    },
                )
                await self.sleep(delay)

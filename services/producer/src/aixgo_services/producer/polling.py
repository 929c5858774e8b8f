"""Events from a server that is asked again and again: each item once, over all instances."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from aixgo.calls.retry import backoff
from aixgo.clock import now
from aixgo.config.agents import AgentSpec
from aixgo.errors import AixgoError, ToolError
from aixgo_services.producer.outlet import Outlet
from aixgo_services.producer.pages import Page, Pages

log = logging.getLogger("aixgo.producer")

MAX_SEEN = 5_000
"""Items that are remembered, and most in one answer: 75 kB of the record of the agent."""

_BATCH_ITEMS, _BATCH_SECONDS = 100, 1.0
"""Between two notes of how far a long answer is published."""

LONGEST_SLEEP_SECONDS = 600.0
"""Between two looks at the clock, which may be set meanwhile."""


class Schedule(Protocol):
    """When polls are due; all instances agree on it."""

    def after(self, moment: float) -> float:
        """Return the first poll after a moment; both Unix seconds."""
        ...

    def newest(self, since: float, until: float, most: int) -> tuple[list[float], bool]:
        """Return the polls after one moment up to another, at most so many, the newest ones.

        Also whether there are older ones.
        """
        ...


class Every:
    """A poll every so many seconds, on a grid that all instances share."""

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def after(self, moment: float) -> float:
        """See `Schedule.after`."""
        return (moment // self._interval + 1) * self._interval

    def newest(self, since: float, until: float, most: int) -> tuple[list[float], bool]:
        """See `Schedule.newest`."""
        last = until // self._interval * self._interval
        return ([last], last - self._interval > since) if last > since else ([], False)


class Polled(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """What the instances of an agent that polls remember.

    Attributes:
        at: Unix seconds; polls up to here are done, or being done.
        number: events so far.
        cursor: where the server is asked to go on; None for the beginning.
        seen: digests of the newest items that were published.
        etag: of the last answer.
    """

    at: float
    number: int = 0
    cursor: Any = None
    seen: tuple[str, ...] = ()
    etag: str = ""


class Polling:
    """Asks a server at every time of a schedule, and publishes what is new in its answers.

    One instance asks: the one that notes first that it does. Items are published before they are
    noted, so an instance that dies leaves the rest to the next poll, and what is published again
    has the same key.

    Args:
        by_id: items have ids, and are new when theirs are.
        count: events after which it ends; 0 for no such end.
    """

    def __init__(
        self, spec: AgentSpec, pages: Pages, schedule: Schedule, *, by_id: bool, count: int
    ) -> None:
        self.agent, self.retry = spec.name, spec.retry
        self.pages, self.schedule = pages, schedule
        self.by_id, self.count = by_id, count

    async def run(self, outlet: Outlet) -> None:
        """Poll until there were enough events."""
        async with self.pages.open():
            while True:
                known, revision = await outlet.recall(Polled)
                moment = now()
                if known is None:
                    claim = Polled(at=moment)
                elif self.count and known.number >= self.count:
                    return
                else:
                    due, _ = self.schedule.newest(known.at, moment, 1)
                    if not due:
                        wait = self.schedule.after(moment) - moment
                        await outlet.sleep(min(wait, LONGEST_SLEEP_SECONDS))
                        continue
                    claim = msgspec.structs.replace(known, at=due[0])
                claimed = await outlet.remember(claim, revision)
                if claimed is not None:
                    await _Poll(self, outlet, claim, claimed).run()


class _Poll:
    """One poll, of the instance that claimed it."""

    def __init__(self, polling: Polling, outlet: Outlet, known: Polled, revision: int) -> None:
        self._of, self._outlet = polling, outlet
        self._known, self._revision = known, revision
        self._noted = asyncio.get_running_loop().time()
        self._unnoted: list[str] = []

    async def run(self) -> None:
        pages = self._of.pages
        for _ in range(pages.most):
            page = await self._ask()
            if page is None or not await self._publish(page):
                return
            moved = page.cursor is not None and page.cursor != self._known.cursor
            cursor = page.cursor if moved else self._known.cursor
            # the next request is another one when the cursor has moved
            if not await self._note(cursor=cursor, etag="" if moved else page.etag):
                return
            if not moved or not page.items or self._enough:
                return

    @property
    def _enough(self) -> bool:
        count = self._of.count
        return bool(count) and self._known.number + len(self._unnoted) >= count

    async def _ask(self) -> Page | None:
        """Return an answer; None when there is none, or nothing new in it."""
        retry, attempt = self._of.retry, 0
        while True:
            attempt += 1
            try:
                page = await self._of.pages.ask(self._known.cursor, self._known.etag)
                if page is not None and len(page.items) > MAX_SEEN:
                    raise ToolError(
                        f"agent {self._of.agent!r}: the answer has {len(page.items):,} items, "
                        f"over the {MAX_SEEN:,} of one answer; ask for fewer, with a `cursor`"
                    )
                return page
            except AixgoError as error:
                again = error.retryable and attempt < retry.max_attempts
                delay = max(backoff(retry, attempt), getattr(error, "retry_after", None) or 0.0)
                log.log(
                    logging.WARNING if again else logging.ERROR,
                    "producer.poll_delayed" if again else "producer.poll_failed",
                    extra={
                        "agent": self._of.agent,
                        "error": error.code,
                        "detail": str(error),
                        "attempt": attempt,
                    },
                )
                if not again:
                    return None
                await self._outlet.sleep(delay)

    async def _publish(self, page: Page) -> bool:
        """Publish what is new in an answer; False when another instance has taken over."""
        for digest, key, item in self._new(page):
            await self._outlet.publish(item, key)
            self._unnoted.append(digest)
            if self._enough:
                break
            late = asyncio.get_running_loop().time() - self._noted >= _BATCH_SECONDS
            if (late or len(self._unnoted) >= _BATCH_ITEMS) and not await self._note():
                return False
        return True

    def _new(self, page: Page) -> Iterator[tuple[str, str, Any]]:
        """Yield digest, key and item of what was not published before."""
        if page.whole:
            # a value that comes back after another one is news
            (item,) = page.items
            digest = _digest("", page.ids[0])
            if self._known.seen[-1:] != (digest,):
                yield digest, f"http-{self._known.number}-{digest}", item
            return
        seen = set(self._known.seen)
        for place, (name, item) in enumerate(zip(page.ids, page.items, strict=True)):
            # without ids and with a cursor, two equal items of an answer are two items
            placed = not self._of.by_id and self._of.pages.has_cursor
            digest = _digest(self._known.cursor, place, name) if placed else _digest("", name)
            if digest not in seen:
                seen.add(digest)
                yield digest, f"http-{digest}", item

    async def _note(self, **changed: Any) -> bool:
        """Note how far it is, and that it is still at it; False when another has taken over."""
        known, added = self._known, self._unnoted
        moment = now()
        due, _ = self._of.schedule.newest(known.at, moment, 1)
        self._known = msgspec.structs.replace(
            known,
            at=due[0] if due else known.at,
            number=known.number + len(added),
            seen=(*known.seen, *added)[-MAX_SEEN:],
            **changed,
        )
        self._unnoted, self._noted = [], asyncio.get_running_loop().time()
        if self._known == known:
            return True
        revision = await self._outlet.remember(self._known, self._revision)
        if revision is None:
            return False
        self._revision = revision
        return True


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()

"""Room for events: what every subscriber has handled goes when room is short, nothing else does.

While there is room events stay for their age, so that an agent that subscribes later sees those of
before. An event is needed as long as one of the consumers that are provisioned for its source has
not answered it. Whether its subscriber is slow, absent or gone for good is not known here: it is
named in a warning, and publishers wait or are refused.

Any process may do this, at any time, more than one at once: whatever is removed was answered.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from aixgo.broker.port import StreamInfo
from aixgo.calls.backlog import Backlog, backlogs
from aixgo.calls.space import Space
from aixgo.calls.upkeep.lease import lease
from aixgo.calls.upkeep.rounds import make_rounds
from aixgo.clock import now
from aixgo.subjects import EVENTS

log = logging.getLogger("aixgo.calls")

CALM_SECONDS, BUSY_SECONDS = 2.0, 0.25
"""Between two looks: below half of the room, and above it."""

PRESSED = 0.75
"""Share of the room above which handled events go early."""

WARNING_SECONDS = 60.0
"""Between two warnings of one process that subscribers are behind."""

OLD_PART = 1 / 7
"""Of the age at which events go: a subscriber that is behind for that long is named."""

LEASE, LEASE_SECONDS = "handled", 60
"""Key in the `leases` bucket, and the time for which one process does it for all."""


class Handled:
    """Removes events of a namespace that no subscriber needs.

    Args:
        sources: agents that publish; events of one without subscribers are not needed.
    """

    what, calm = "events", CALM_SECONDS

    def __init__(self, space: Space, sources: Iterable[str] = ()) -> None:
        self._space, self._broker, self._names = space, space.broker, space.names
        self._stream, self._sources = space.names.stream(EVENTS), frozenset(sources)
        self.pause = CALM_SECONDS
        self._warned = float("-inf")
        self._looked = float("-inf")

    async def run(self) -> None:
        """Make room whenever it is short, until cancelled."""
        await make_rounds(self)

    async def look(self) -> int:
        """Remove what may go if room is short; cheap when it is not. Returns how many.

        Raises:
            BrokerError: it could not, and nothing that is needed is gone.
        """
        info = await self._broker.stream_info(self._stream)
        if info is None:
            self.pause = CALM_SECONDS
            return 0
        most = info.config.max_bytes
        self.pause = BUSY_SECONDS if most and info.bytes * 2 > most else CALM_SECONDS
        if not most or info.bytes <= most * PRESSED:
            await self._name_the_absent(info)
            return 0
        async with lease(self._space.leases, LEASE, LEASE_SECONDS) as ours:
            return await self.make_room(info) if ours else 0

    async def make_room(self, info: StreamInfo | None = None) -> int:
        """Remove what every subscriber has handled; returns how many. For who finds no room too.

        Args:
            info: of EVENTS, from just now; without it it is asked for.

        Raises:
            BrokerError: it could not, and nothing that is needed is gone.
        """
        info = info or await self._broker.stream_info(self._stream)
        if info is None:
            return 0
        most = info.config.max_bytes
        # the end was looked up first: what is published from now on is not touched
        end, behind = info.last_sequence + 1, await backlogs(self._space)
        removed = await self._remove("", [one.first for one in behind], info.first_sequence, end)
        for source in sorted(self._sources.union(*(one.sources for one in behind))):
            waiting = [one.first for one in behind if source in one.sources or not one.sources]
            subject = self._names.event(source)
            removed += await self._remove(subject, waiting, info.first_sequence, end)
        if removed:
            log.info("events.swept", extra={"removed": removed})
        left = await self._broker.stream_info(self._stream)
        if left is not None and left.bytes > most * PRESSED:
            self._warn("events.short_of_room", behind, bytes=left.bytes, max_bytes=most)
        return removed

    async def _remove(self, subject: str, waiting: list[int], first: int, end: int) -> int:
        """Remove the events of a subject, or all, before the first that a subscriber waits for."""
        before = min(waiting, default=end)
        if before <= first:
            return 0
        return await self._broker.purge(self._stream, subject, before=before)

    async def _name_the_absent(self, info: StreamInfo) -> None:
        """Warn of a subscriber whose events will go by their age before it has handled them."""
        limit = info.config.max_age * OLD_PART
        if not limit or not info.messages or now() < self._looked + limit / 24:
            return
        self._looked = now()
        behind = [one for one in await backlogs(self._space) if now() - one.since > limit]
        if behind:
            self._warn("events.will_be_lost", behind, max_age=info.config.max_age)

    def _warn(self, what: str, behind: list[Backlog], **fields: object) -> None:
        if now() < self._warned + WARNING_SECONDS:
            return
        self._warned = now()
        names = {one.agent: one.events for one in behind}
        oldest = now() - min((one.since for one in behind), default=now())
        log.warning(what, extra={"behind": names, "oldest_seconds": round(oldest), **fields})

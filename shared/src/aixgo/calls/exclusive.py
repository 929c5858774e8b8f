"""Holds on exclusive calls: while a worker executes one, no other worker does.

A delivery comes back while its worker still runs the handler when heartbeats do not arrive: the
worker is frozen, or its connection is. The first result wins, so nothing breaks; but what is costly
is paid twice. An exclusive call is therefore held before it is executed: a key of the `leases`
bucket with a time to live, renewed with every heartbeat by compare-and-set on its revision. A
worker that finds the call held hands the delivery back for a second; one that loses its hold stops
and writes nothing.

A hold whose time ran out while no other worker was there to take it (the server was away) is taken
again, because to stop the handler would mean to pay for it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket

from aixgo.calls.space import Space
from aixgo.envelope import Envelope, new_id
from aixgo.errors import BrokerError, WrongSequence

log = logging.getLogger("aixgo.calls")

REFUSED_SECONDS = 1.0
"""A delivery whose call is held comes back after this long; the finest grain of a hold's life."""

_RELEASE_SECONDS = 2.0
"""For giving a hold up; when the broker is away, the end of its life does it."""

_RELEASED_SECONDS = 60.0
"""A released hold stays visible for this long, as an expired one does, so that a worker that was
frozen sees that another one had it; the record must not stay for ever."""


class Holds:
    """The holds that one worker has on calls of its agent.

    Args:
        ack_wait: seconds after which a hold that is not renewed is free; at least 1 s and whole
            seconds, which is what the server can do.
    """

    def __init__(self, space: Space, agent: str, ack_wait: float) -> None:
        self._names, self._agent = space.names, agent
        self.bucket = space.leases
        self.ttl = float(max(1, math.ceil(ack_wait)))
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-12:]}".encode()

    async def take(self, request: Envelope) -> Hold | None:
        """Take hold of a call; None when another worker has it."""
        key = self._names.step_id(self._agent, request.run, request.step)
        taken = asyncio.get_running_loop().time()
        revision = await self._create(key)
        return None if revision is None else Hold(self, key, revision, taken)

    async def _create(self, key: str) -> int | None:
        try:
            return await self.bucket.create(key, self.owner, ttl=self.ttl)
        except WrongSequence:
            entry = await self.bucket.get(key)
        if entry is None or entry.value != self.owner:
            holder = "" if entry is None else entry.value.decode(errors="replace")
            log.info("hold.refused", extra={"agent": self._agent, "step": key, "owner": holder})
            return None
        # left by this worker when it could not release it: it works on a call once at a time
        try:
            return await self.bucket.update(key, self.owner, entry.revision, ttl=self.ttl)
        except WrongSequence:
            return None


class Hold:
    """A hold that this worker has, until it is lost or released.

    Attributes:
        lost: another worker has it, or has finished the call.
    """

    __slots__ = (
        "_holds",
        "_key",
        "_released",
        "_revision",
        "_until",
        "lost",
    )

    def __init__(
        self,
        holds: Holds,
        key: str,
        revision: int,
        taken: float,
    ) -> None:
        self._holds, self._key = holds, key
        self._revision, self._until = revision, taken + holds.ttl
        self.lost, self._released = False, False

    async def renew(self) -> bool:
        """Start the hold's time anew; False when it is lost.

        Raises:
            BrokerError: the broker does not say.
        """
        if self._released:
            return True
        began = asyncio.get_running_loop().time()
        revision = await self._put(self._revision)
        if revision is None:
            revision = await self._regain()
        if revision is None:
            self.lost = True
            return False
        self._revision, self._until = revision, began + self._holds.ttl
        return True

    async def holds(self) -> bool:
        """Return whether it is still this worker's; asks only when its time is over.

        An unreachable broker does not prove that it is lost, and the first result wins anyway.
        """
        if self.lost:
            return False
        if asyncio.get_running_loop().time() < self._until:
            return True
        try:
            return await self.renew()
        except BrokerError:
            return True

    async def release(self) -> None:
        """Let the next worker have it; never fails. Idempotent."""
        if self._released:
            return
        self._released = True
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._release()
        except (BrokerError, TimeoutError) as error:
            log.info("hold.not_released", extra={"step": self._key}, exc_info=error)

    async def _release(self) -> None:
        bucket = self._holds.bucket
        while not self.lost:
            try:
                await bucket.delete(self._key, revision=self._revision, ttl=_RELEASED_SECONDS)
                return
            except WrongSequence:
                # a heartbeat may have renewed it at this moment
                entry = await bucket.get(self._key)
                if entry is None or entry.value != self._holds.owner:
                    return
                self._revision = entry.revision

    async def _put(self, revision: int) -> int | None:
        holds = self._holds
        try:
            return await holds.bucket.update(self._key, holds.owner, revision, ttl=holds.ttl)
        except WrongSequence:
            return None

    async def _regain(self) -> int | None:
        """Return a new revision if no other worker has the hold.

        A worker that has had it and has finished left a result, for which this one looks itself.
        """
        kept = await self._holds.bucket.history(self._key)
        if not kept:
            return None
        newest = kept[-1]
        # a renewal whose answer did not arrive
        mine = newest.operation == "PUT" and newest.value == self._holds.owner
        expired = newest.operation == "PURGE"
        return await self._put(newest.revision) if mine or expired else None

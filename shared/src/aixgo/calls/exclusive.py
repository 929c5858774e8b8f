"""Claims of exclusive calls: while a worker executes one, nobody else does.

A delivery comes back while its worker still runs the handler when heartbeats do not arrive: the
worker is frozen, or its connection is. The first result wins, so nothing breaks; but what is costly
is paid twice. An exclusive call is therefore claimed before it is executed: a key of the `claims`
bucket with a time to live, renewed with every heartbeat by compare-and-set on its revision. Who
finds it taken hands the delivery back for a second; who finds it lost stops and writes nothing.

A claim whose time ran out while nobody was there to take it (the server was away) is taken again,
because to stop the handler would mean to pay for it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket

from aixgo.broker.keyvalue import Bucket
from aixgo.broker.port import Broker
from aixgo.clock import now
from aixgo.envelope import Envelope, new_id
from aixgo.errors import BrokerError, WrongSequence
from aixgo.subjects import CLAIMS, Names

log = logging.getLogger("aixgo.calls")

REFUSED_SECONDS = 1.0
"""A delivery whose call is claimed comes back after so long; the finest grain of a claim's life."""

RELEASE_SECONDS = 2.0
"""For giving a claim up; when the broker is away, the end of its life does it."""

RELEASED_SECONDS = 60.0
"""A released claim stays visible so long, as an expired one does, so that who was frozen sees that
somebody else had it; the record must not stay for ever."""

REFUSALS_SLACK_SECONDS = 60.0
"""Refusals are remembered so long past the call's deadline, as the call itself is."""

REFUSALS_SECONDS = 7 * 86_400.0
"""How long the refusals of a call without a deadline are remembered: longer than an execution."""


class Claims:
    """The claims that one worker has on calls of its agent.

    Args:
        ack_wait: seconds after which a claim that is not renewed is free; at least 1 s and whole
            seconds, which is what the server can do.
    """

    def __init__(self, broker: Broker, names: Names, agent: str, ack_wait: float) -> None:
        self._names, self._agent = names, agent
        self.bucket = Bucket(broker, names.bucket(CLAIMS))
        self.ttl = float(max(1, math.ceil(ack_wait)))
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-12:]}".encode()

    async def take(self, request: Envelope, deliveries: int) -> Claim | None:
        """Claim a call; None when somebody else has it.

        Args:
            deliveries: of this publication of the call, this one included.
        """
        key = self._names.step_id(self._agent, request.run, request.step)
        taken = asyncio.get_running_loop().time()
        revision = await self._create(key)
        if revision is None:
            await self._count_refusal(key, request)
            return None
        refused = await self._refusals(key, request) if deliveries > 1 else 0
        return Claim(self, key, revision, taken, min(refused, deliveries - 1))

    async def _create(self, key: str) -> int | None:
        try:
            return await self.bucket.create(key, self.owner, ttl=self.ttl)
        except WrongSequence:
            entry = await self.bucket.get(key)
        if entry is None or entry.value != self.owner:
            holder = "" if entry is None else entry.value.decode(errors="replace")
            log.info("claim.refused", extra={"agent": self._agent, "step": key, "owner": holder})
            return None
        # left by this worker when it could not release it: it works on a call once at a time
        try:
            return await self.bucket.update(key, self.owner, entry.revision, ttl=self.ttl)
        except WrongSequence:
            return None

    # -- refusals ------------------------------------------------------------------------------

    async def _count_refusal(self, key: str, request: Envelope) -> None:
        """Remember that a delivery was no execution; deliveries of a call come one at a time."""
        life = REFUSALS_SECONDS
        if request.deadline is not None:
            life = max(0.0, request.deadline - now()) + REFUSALS_SLACK_SECONDS
        count = await self._refusals(key, request) + 1
        await self.bucket.put(_refusals(key, request), b"%d" % count, ttl=float(math.ceil(life)))

    async def _refusals(self, key: str, request: Envelope) -> int:
        entry = await self.bucket.get(_refusals(key, request))
        return 0 if entry is None else int(entry.value)


class Claim:
    """A claim that this worker has, until it is lost or released.

    Attributes:
        refused: deliveries of the call that found it claimed, so they were no executions.
        lost: somebody else has it, or has finished the call.
    """

    __slots__ = (
        "_claims",
        "_key",
        "_released",
        "_revision",
        "_until",
        "lost",
        "refused",
    )

    def __init__(
        self,
        claims: Claims,
        key: str,
        revision: int,
        taken: float,
        refused: int,
    ) -> None:
        self._claims, self._key = claims, key
        self._revision, self._until = revision, taken + claims.ttl
        self.refused, self.lost, self._released = refused, False, False

    async def renew(self) -> bool:
        """Start the claim's time anew; False when it is lost.

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
        self._revision, self._until = revision, began + self._claims.ttl
        return True

    async def holds(self) -> bool:
        """Return whether the claim is still this worker's; asks only when its time is over.

        An unreachable broker is no proof that it is lost, and the first result wins anyway.
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
        """Let whoever comes next have it; never fails. Idempotent."""
        if self._released:
            return
        self._released = True
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._release()
        except (BrokerError, TimeoutError) as error:
            log.info("claim.not_released", extra={"step": self._key}, exc_info=error)

    async def _release(self) -> None:
        bucket = self._claims.bucket
        while not self.lost:
            try:
                await bucket.delete(self._key, revision=self._revision, ttl=RELEASED_SECONDS)
                return
            except WrongSequence:
                # a heartbeat may have renewed it at this moment
                entry = await bucket.get(self._key)
                if entry is None or entry.value != self._claims.owner:
                    return
                self._revision = entry.revision

    async def _put(self, revision: int) -> int | None:
        claims = self._claims
        try:
            return await claims.bucket.update(self._key, claims.owner, revision, ttl=claims.ttl)
        except WrongSequence:
            return None

    async def _regain(self) -> int | None:
        """Return a new revision if nobody else has the claim.

        Somebody who has had it and has finished left a result, for which the worker looks itself.
        """
        kept = await self._claims.bucket.history(self._key)
        if not kept:
            return None
        newest = kept[-1]
        # a renewal whose answer did not arrive
        mine = newest.operation == "PUT" and newest.value == self._claims.owner
        expired = newest.operation == "PURGE"
        return await self._put(newest.revision) if mine or expired else None


def _refusals(key: str, request: Envelope) -> str:
    """Key of a call's refusals: deliveries are counted anew for each publication."""
    return f"{key}.{request.epoch}-{request.attempt}-{request.parks}"

"""`Log.follow`: records in order and without a gap, whatever happens to the consumer behind it.

A consumer of its own serves it, whose count of deliveries tells a gap. After a lost connection,
missing heartbeats or a gap another one begins after the last record that was seen.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from aixgo.broker.headers import PENDING_MESSAGES
from aixgo.broker.nats.api import Api, ConsumerAnswer
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.deliveries import ACK_PREFIX, NatsDelivery
from aixgo.broker.nats.link import Listener
from aixgo.broker.nats.pull import (
    EXPIRED,
    EXPIRES_SECONDS,
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    MISSING_HEARTBEATS,
    pull_request,
)
from aixgo.broker.nats.refusals import refused_api
from aixgo.broker.nats.wire import STATUS, check_filter
from aixgo.broker.port import BusMessage, Record
from aixgo.errors import BrokerError, Disconnected

AHEAD = 256
"""Records that may wait for the reader; it is what bounds the memory of a slow one."""

FORGOTTEN_SECONDS = 60
"""After which the server forgets a consumer without pulls."""

PAUSE_SECONDS = 0.2
"""Between two attempts to begin again."""

_NANO = 1_000_000_000


class Follower:
    """An async context manager and iterator; see `Log.follow`."""

    def __init__(
        self, connection: Connection, api: Api, stream: str, subject: str, start: int
    ) -> None:
        check_filter(subject)
        self._connection = connection
        self._api = api
        self._stream = stream
        self._subject = subject
        self._following: int | None = start if start > 0 else None
        """Sequence at which the next consumer begins; None: after the newest."""
        self._loop = asyncio.get_running_loop()
        self._records: deque[Record] = deque()
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()
        self._failure: BrokerError | None = None
        self._closed = False
        self._inbox: Listener | None = None
        self._consumer = ""
        self._place = 0
        self._asked = 0
        self._heard = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncIterator[Record]:
        self._connection.check_open()
        await self._begin()
        self._connection.restored.append(self._broken.set)
        self._keeper = asyncio.create_task(self._keep(), name=f"follow-{self._stream}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        self._changed.set()
        with suppress(ValueError):
            self._connection.restored.remove(self._broken.set)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._end()
        if self._connection.connected and self._consumer:
            # the answer is not waited for; the server forgets it by itself later
            with suppress(BrokerError):
                self._connection.link.send(
                    f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", b""
                )

    # -- reading -------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Record]:
        return self

    async def __anext__(self) -> Record:
        while not self._records:
            if self._closed or self._connection.closed:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            self._changed.clear()
            await self._changed.wait()
        record = self._records.popleft()
        self._ask()
        return record

    def end(self) -> None:
        """The connection is closed: let the reader finish what waits."""
        self._closed = True
        self._changed.set()

    # -- one consumer after another ------------------------------------------------------------

    async def _begin(self) -> None:
        """Declare a consumer that begins where the last one ended, and ask it."""
        self._end()
        name = f"follow-{os.urandom(8).hex()}"
        config: dict[str, Any] = {
            "name": name,
            "filter_subjects": [] if self._subject == ">" else [self._subject],
            "deliver_policy": "new",
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": FORGOTTEN_SECONDS * _NANO,
            "mem_storage": True,
            "num_replicas": 1,
            "max_waiting": 16,
        }
        if self._following is not None:
            config["deliver_policy"] = "by_start_sequence"
            config["opt_start_seq"] = self._following
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        answer, _ = await self._api.ask(
            f"CONSUMER.CREATE.{self._stream}.{name}", body, ConsumerAnswer
        )
        if answer.error is not None:
            raise refused_api(answer.error, self._stream)
        if self._following is None:
            self._following = answer.delivered.stream_seq + 1
        self._consumer = name
        self._place, self._asked, self._heard = 0, 0, self._loop.time()
        self._inbox = Listener(self._connection.replies.new_inbox("follow"), self._arrive)
        self._connection.link.listen(self._inbox)
        self._ask()

    def _end(self) -> None:
        if self._inbox is not None:
            self._connection.link.unlisten(self._inbox)
            self._inbox = None

    async def _keep(self) -> None:
        """Begin again whenever the consumer is lost."""
        while True:
            silent = await self._until_broken()
            self._broken.clear()
            if silent and not self._is_silent():
                continue
            try:
                await self._connection.until_up()
                await self._begin()
            except BrokerError as error:
                if not error.retryable:
                    self._failure = error
                    self._changed.set()
                    return
                self._broken.set()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _until_broken(self) -> bool:
        """Return when something is wrong: True after a silence, False when it was noticed."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._broken.wait()
        except TimeoutError:
            return True
        return False

    def _is_silent(self) -> bool:
        silent = self._loop.time() - self._heard
        return bool(self._asked) and silent > MISSING_HEARTBEATS * HEARTBEAT_SECONDS

    # -- one consumer --------------------------------------------------------------------------

    def _ask(self) -> None:
        free = AHEAD - len(self._records) - self._asked
        if self._inbox is None or 2 * free < AHEAD:
            return
        self._asked += free
        body = pull_request(free, EXPIRES_SECONDS, HEARTBEAT_SECONDS)
        next_of = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        with suppress(Disconnected):
            self._connection.link.send(next_of, body, self._inbox.subject)

    def _arrive(self, message: BusMessage) -> None:
        self._heard = self._loop.time()
        if not message.reply.startswith(ACK_PREFIX):
            self._status(message)
            return
        delivery = NatsDelivery(self._connection, message)
        if delivery.place != self._place + 1:
            self._end()
            self._broken.set()
            return
        self._place = delivery.place
        self._asked -= 1
        self._following = delivery.sequence + 1
        self._records.append(
            Record(
                self._stream,
                delivery.subject,
                delivery.sequence,
                delivery.data,
                delivery.time,
                delivery.headers,
            )
        )
        self._changed.set()

    def _status(self, message: BusMessage) -> None:
        status = message.headers.get(STATUS, "")
        if status == HEARTBEAT:
            return
        left = message.headers.get(PENDING_MESSAGES)
        self._asked = max(self._asked - int(left), 0) if left else 0
        if status in EXPIRED:
            self._ask()
        else:
            self._broken.set()

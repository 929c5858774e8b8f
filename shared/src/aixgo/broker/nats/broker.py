"""`NatsBroker`: every role of the broker port over one connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from aixgo.broker.checks import check_slots, check_timeout
from aixgo.broker.headers import scheduled
from aixgo.broker.nats.api import Api
from aixgo.broker.nats.appends import Appends
from aixgo.broker.nats.connecting import ConnectOptions
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.follow import Follower
from aixgo.broker.nats.pull import Pull
from aixgo.broker.nats.reads import Reads
from aixgo.broker.nats.streams import Streams
from aixgo.broker.nats.subscriptions import Called, Iterated
from aixgo.broker.nats.wire import check_filter, check_subject, encode_headers
from aixgo.broker.port import (
    Appended,
    BrokerEvent,
    BusMessage,
    Change,
    ConsumerConfig,
    ConsumerInfo,
    Consumption,
    Delivery,
    Expect,
    Headers,
    Record,
    StreamConfig,
    StreamInfo,
    Subscription,
)
from aixgo.config.servers import parse_servers
from aixgo.errors import BrokerError, ConfigError, PayloadTooLarge

DRAIN_SECONDS = 25.0
"""For running handlers when a connection is closed with `drain`; Kubernetes kills after 30 s."""

FLUSH_SECONDS = 2.0
"""For the server to read the last messages of a connection that is closed."""


class NatsBroker:
    """A connection to a nats-server; see `Broker` for what it promises."""

    name = "nats"
    in_process = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._link = connection.link
        self._replies = connection.replies
        api = Api(connection)
        self._api = api
        self._streams = Streams(api)
        self._reads = Reads(connection, api)
        self._appends = Appends(connection, self._reads, self._streams)
        self._pulls: set[Pull] = set()
        self._readers: WeakSet[Iterated | Follower] = WeakSet()
        self.max_payload: int = connection.max_payload
        connection.restored.append(self._follow_limits)

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        name: str = "aixgo",
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        nkeys_seed: str | Path | None = None,
        credentials: str | Path | None = None,
        tls: ssl.SSLContext | None = None,
        tls_hostname: str | None = None,
        inbox_prefix: str = "_INBOX",
        connect_timeout: float = 5.0,
        wait: float = 0.0,
        fast: bool = True,
    ) -> Self:
        """Connect, and stay connected until closed.

        Args:
            address: `nats://host:port` or `tls://host:port`, several separated by commas;
                `user:password@` or `token@` may stand before a host.
            name: of this client, in the server's monitoring.
            nkeys_seed: the seed itself, or the path of a file with it.
            credentials: path of a file with a user JWT and its seed.
            tls: certificates; the system's authorities without it.
            tls_hostname: name to verify in the server's certificate, if not the address's.
            inbox_prefix: what answers to this client begin with, so that permissions can tell its
                inbox from others'.
            connect_timeout: seconds for one attempt.
            wait: seconds for which a server that is not there yet is tried again, for what is
                started next to it; 0 gives up at the first failure.
            fast: use what is known of nats-py's internals, if its version is the known one.

        Raises:
            ConfigError: the address or an option cannot be used.
            Unreachable: no server answers, for as long as `wait`.
            AuthenticationFailed: wrong credentials or certificates.
            ServerTooOld, JetStreamDisabled: this server cannot do it.
        """
        if connect_timeout <= 0:
            raise ConfigError(f"connect_timeout is {connect_timeout:g} s; it must be above 0 s")
        if wait < 0:
            raise ConfigError(f"wait is {wait:g} s; it must be 0 s or more")
        check_filter(inbox_prefix)
        options = ConnectOptions(
            name=name,
            user=user,
            password=password,
            token=token,
            nkeys_seed=nkeys_seed,
            credentials=credentials,
            tls=tls,
            tls_hostname=tls_hostname,
            inbox_prefix=inbox_prefix,
            connect_timeout=connect_timeout,
            wait=wait,
            fast=fast,
        )
        servers = parse_servers(address)
        given = (user, password, token, nkeys_seed, credentials)
        if servers.sign_in and all(each is None for each in given):
            options = replace(options, **servers.sign_in)
        connection = Connection(list(servers.urls), options)
        await connection.open()
        return cls(connection)

    # -- connection ----------------------------------------------------------------------------

    def _follow_limits(self) -> None:
        """Another server may have another limit."""
        self.max_payload = self._connection.max_payload

    @property
    def connected(self) -> bool:
        """See `Broker.connected`."""
        return self._connection.connected

    def on_event(self, listener: Callable[[BrokerEvent], None]) -> None:
        """See `Broker.on_event`."""
        self._connection.events.on_event(listener)

    async def close(self, *, drain: bool = True) -> None:
        """See `Broker.close`; `DRAIN_SECONDS` for handlers, a few more for the rest."""
        if self._connection.closed:
            return
        try:
            grace = DRAIN_SECONDS if drain else 0.0
            await asyncio.gather(*(pull.stop(grace) for pull in self._pulls))
            if drain and self._connection.connected:
                with suppress(BrokerError):
                    await self._connection.flush(FLUSH_SECONDS)
        finally:
            await self._connection.close()
            for reader in list(self._readers):
                reader.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(drain=error is None)

    # -- Bus -----------------------------------------------------------------------------------

    def _checked(self, subject: str, data: bytes, headers: Headers | None) -> bytes:
        """Return the header block of a message that can be sent."""
        self._connection.check_open()
        check_subject(subject)
        block = encode_headers(headers) if headers else b""
        size = len(block) + len(data)
        if size > self._connection.max_payload:
            raise PayloadTooLarge(subject, size, self._connection.max_payload)
        return block

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Headers | None = None
    ) -> None:
        """See `Bus.publish`."""
        block = self._checked(subject, data, headers)
        if reply:
            check_subject(reply)
        self._link.send(subject, data, reply, block)
        if self._link.congested:
            await self._link.relieved()

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Headers | None = None
    ) -> BusMessage:
        """See `Bus.request`."""
        check_timeout(timeout)
        block = self._checked(subject, data, headers)
        return await self._replies.request(subject, data, timeout=timeout, headers=block)

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
        """See `Bus.subscribe`; a missing permission is told by the next `flush` and by an event."""
        self._connection.check_open()
        check_filter(subject)
        if queue:
            check_subject(queue)
        if on_message is not None:
            return Called(self._connection, subject, on_message, queue, limit)
        iterated = Iterated(self._connection, subject, queue, limit, pending)
        self._readers.add(iterated)
        return iterated

    async def flush(self, timeout: float = 5.0) -> None:
        """See `Bus.flush`.

        Raises:
            PermissionDenied: the server has refused a subscription since the last flush.
            RequestTimeout: no confirmation in time.
        """
        self._connection.check_open()
        await self._connection.flush(timeout)

    # -- Log -----------------------------------------------------------------------------------

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
        """See `Log.append`."""
        return await self._appends.append(
            subject,
            data,
            msg_id=msg_id,
            expect=expect,
            ttl=ttl,
            headers=headers,
            timeout=timeout,
        )

    async def consume(
        self,
        stream: str,
        consumer: str,
        handler: Callable[[Delivery], Awaitable[None]],
        *,
        slots: int,
    ) -> Consumption:
        """See `Log.consume`."""
        self._connection.check_open()
        check_slots(slots)
        ack_wait = await self._streams.ack_wait(stream, consumer)
        pull = Pull(
            self._connection, stream, consumer, handler, slots, ack_wait, self._pulls.discard
        )
        self._pulls.add(pull)
        pull.start()
        return pull

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
        """See `Log.schedule`."""
        check_subject(target)
        return await self._appends.append(
            subject,
            data,
            msg_id=msg_id,
            expect=None,
            ttl=0.0,
            headers=scheduled(at, target, ttl),
            timeout=timeout,
        )

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Record | None:
        """See `Log.last`."""
        return await self._reads.last(stream, subject, decisive=decisive)

    async def at(self, stream: str, sequence: int) -> Record | None:
        """See `Log.at`."""
        return await self._reads.at(stream, sequence)

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        """See `Log.read`."""
        return await self._reads.read(stream, subject, start=start, limit=limit)

    def follow(
        self, stream: str, subject: str, *, start: int = 1
    ) -> AbstractAsyncContextManager[AsyncIterator[Record]]:
        """See `Log.follow`."""
        follower = Follower(self._connection, self._api, stream, subject, start)
        self._readers.add(follower)
        return follower

    # -- Admin and Upkeep ----------------------------------------------------------------------

    async def ensure_stream(self, config: StreamConfig) -> Change:
        """See `Admin.ensure_stream`."""
        self._connection.check_open()
        return await self._streams.ensure_stream(config)

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Change:
        """See `Admin.ensure_consumer`."""
        self._connection.check_open()
        return await self._streams.ensure_consumer(stream, config)

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Admin.stream_info`."""
        self._connection.check_open()
        return await self._streams.stream_info(stream)

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo | None:
        """See `Admin.consumer_info`."""
        self._connection.check_open()
        return await self._streams.consumer_info(stream, consumer)

    async def stream_names(self) -> Sequence[str]:
        """See `Admin.stream_names`."""
        self._connection.check_open()
        return await self._streams.stream_names()

    async def consumer_names(self, stream: str) -> Sequence[str]:
        """See `Admin.consumer_names`."""
        self._connection.check_open()
        return await self._streams.consumer_names(stream)

    async def delete_stream(self, stream: str) -> bool:
        """See `Upkeep.delete_stream`."""
        self._connection.check_open()
        return await self._streams.delete_stream(stream)

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """See `Upkeep.delete_consumer`."""
        self._connection.check_open()
        return await self._streams.delete_consumer(stream, consumer)

    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        """See `Upkeep.purge`."""
        self._connection.check_open()
        return await self._streams.purge(stream, subject, before)

    async def delete_record(self, stream: str, sequence: int) -> bool:
        """See `Upkeep.delete_record`."""
        self._connection.check_open()
        return await self._streams.delete_record(stream, sequence)

    async def pause_consumer(self, stream: str, consumer: str, until: float) -> None:
        """See `Upkeep.pause_consumer`."""
        self._connection.check_open()
        await self._streams.pause_consumer(stream, consumer, until)

"""A link over the public API of nats-py alone: slower, and good for any version of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from aixgo.broker.nats.link import BUFFER_BYTES, CONGESTED_BYTES, Listener, buffer_is_full
from aixgo.broker.nats.wire import adopt_headers, parse_headers
from aixgo.broker.port import BusMessage
from aixgo.errors import Disconnected

FLUSH_SECONDS = 3600
"""A flush of nats-py must never time out or be cancelled: its late PONG would end the read loop.
It is left to end with its connection instead."""

_Action = Callable[[Client], Awaitable[None]]


class PlainLink:
    """See `Link`; one task speaks to the client, so that everything keeps its order."""

    def __init__(self, on_bug: Callable[[BaseException, str], None]) -> None:
        self.on_bug = on_bug
        self._client: Client | None = None
        self._up = False
        self._actions: deque[tuple[_Action, int]] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._sid = 0
        self._listeners: dict[int, Listener] = {}
        self._subscriptions: dict[int, Subscription] = {}

    # -- life ----------------------------------------------------------------------------------

    def new_client(self) -> Client:
        """See `Link.new_client`."""
        return Client()

    def attach(self, client: Client) -> None:
        """See `Link.attach`."""
        self._client = client
        self._subscriptions.clear()

    def restored(self) -> None:
        """See `Link.restored`."""
        # nats-py restores the subscriptions that this client has made; another client has none
        for listener in self._listeners.values():
            if listener.sid not in self._subscriptions:
                self._actions.appendleft((self._subscribe(listener), 0))
        self._up = True
        self._wake.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="nats-sender")

    def lost(self) -> None:
        """See `Link.lost`."""
        self._up = False
        self._wake.clear()
        self._idle.set()
        for flush in self._flushes:
            flush.cancel()  # its PONG can no longer come

    def close(self) -> None:
        """See `Link.close`."""
        self.lost()
        self._client = None
        self._actions.clear()
        self._listeners.clear()
        self._size = 0
        if self._sender is not None:
            self._sender.cancel()

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            client = self._client
            if not self._actions or client is None:
                self._wake.clear()
                self._idle.set()
                continue
            action, size = self._actions.popleft()
            self._size -= size
            try:
                await action(client)
            except (Error, OSError) as error:
                self.on_bug(error, "")

    def _do(self, action: _Action, size: int = 0) -> None:
        self._actions.append((action, size))
        self._size += size
        self._idle.clear()
        if self._up:
            self._wake.set()

    # -- out -----------------------------------------------------------------------------------

    def send(self, subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> None:
        """See `Link.send`."""
        size = len(subject) + len(reply) + len(headers) + len(data)
        if not self._up and self._size + size > BUFFER_BYTES:
            raise buffer_is_full(subject, self._size)
        fields = parse_headers(headers) if headers else None

        async def publish(client: Client) -> None:
            await client.publish(subject, data, reply=reply, headers=fields)

        self._do(publish, size)

    @property
    def congested(self) -> bool:
        """See `Link.congested`."""
        return self._up and self._size > CONGESTED_BYTES

    async def relieved(self) -> None:
        """See `Link.relieved`."""
        await self._idle.wait()

    # -- in ------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """See `Link.listen`."""
        self._sid += 1
        listener.sid = self._sid
        self._listeners[listener.sid] = listener
        if self._up:
            self._do(self._subscribe(listener))

    def _subscribe(self, listener: Listener) -> _Action:
        async def arrive(received: Msg) -> None:
            if listener.sid not in self._listeners:
                return
            message = BusMessage(
                received.subject,
                received.data,
                received.reply,
                adopt_headers(received.headers, received.data),
            )
            try:
                if listener.take(message):
                    self._end(listener)
            except Exception as error:  # noqa: BLE001 # whatever it is, it stays out of nats-py
                self.on_bug(error, message.subject)

        async def subscribe(client: Client) -> None:
            if listener.sid not in self._listeners or listener.sid in self._subscriptions:
                return
            subscription = await client.subscribe(listener.subject, listener.queue, cb=arrive)
            self._subscriptions[listener.sid] = subscription
            if listener.limit:
                await subscription.unsubscribe(listener.limit - listener.received)

        return subscribe

    def unlisten(self, listener: Listener) -> None:
        """See `Link.unlisten`."""
        if self._listeners.pop(listener.sid, None) is not None:
            self._do(self._unsubscribe(listener.sid))

    def _unsubscribe(self, sid: int) -> _Action:
        async def unsubscribe(client: Client) -> None:
            subscription = self._subscriptions.pop(sid, None)
            if subscription is not None:
                await subscription.unsubscribe()

        return unsubscribe

    async def retire(self, listener: Listener) -> None:
        """See `Link.retire`."""
        if not self._up:
            self.unlisten(listener)
            return
        subscription = self._subscriptions.pop(listener.sid, None)
        try:
            if subscription is not None:
                await self._kept(subscription.drain())  # type: ignore[no-untyped-call] # of nats-py
        finally:
            self._listeners.pop(listener.sid, None)

    def _end(self, listener: Listener) -> None:
        self._listeners.pop(listener.sid, None)
        self._subscriptions.pop(listener.sid, None)
        if listener.ended is not None:
            listener.ended()

    async def flush(self) -> None:
        """See `Link.flush`."""
        if not self._up or self._client is None:
            raise Disconnected("the connection to the broker is down")
        await self._idle.wait()
        client = self._client
        # nats-py writes its PING before what it still holds back, so let it write that first
        while client is not None and client.is_connected and client.pending_data_size:  # noqa: ASYNC110 # it has no event for it
            await asyncio.sleep(0.001)
        if client is None or not self._up:
            raise Disconnected("the connection was lost during a flush")
        await self._kept(client.flush(timeout=FLUSH_SECONDS))

    async def _kept(self, work: Awaitable[None]) -> None:
        """Wait for work that goes on when the waiting is cancelled."""

        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name="nats-flush")
        self._flushes.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait([task])
        if task.cancelled():
            raise Disconnected("the connection was lost during a flush")
        error = task.exception()
        if error is not None:
            raise Disconnected(f"the connection was lost during a flush: {error}") from error

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._flushes.discard(task)
        if not task.cancelled():
            task.exception()  # no task may be waiting for it

    def listeners(self) -> list[Listener]:
        """See `Link.listeners`."""
        return list(self._listeners.values())

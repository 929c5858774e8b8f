"""One connection to a memory server: up, down or closed, and what waits meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable

from aixgo.broker.memory import headers as h
from aixgo.broker.memory.consumption import MemoryConsumption
from aixgo.broker.memory.server import MAX_PAYLOAD, MemoryServer
from aixgo.broker.memory.subscription import MemorySubscription
from aixgo.broker.memory.timers import Deadlines
from aixgo.broker.port import BrokerEvent, BusMessage, Headers
from aixgo.errors import ConnectionClosed, Disconnected, PayloadTooLarge, RequestTimeout, cut

log = logging.getLogger("aixgo.broker")

OUTBOX_BYTES = 8 * 1024 * 1024
"""What may wait to be sent while the connection is down; more is refused."""

ANSWER_SECONDS = 10.0
"""How long an answer to a delivery is repeated before it is given up."""

ANSWER_BYTES = 64
"""What an answer that waits for the connection counts in the outbox; about its size on a wire."""

API_SECONDS = 5.0
"""How long a question to the server waits for a connection that is down."""

_TEXT_CHARACTERS = 1_000
"""Of what code raised that listeners are told."""

RETRY_SECONDS = 0.1
"""Between two tries of what got no answer."""

BURST = 128
"""Operations that complete at once before the event loop gets a turn, so that a loop of publishes
cannot starve the readers."""


class Connection:
    """State of a connection. The roles of the broker are built on it.

    Attributes:
        direct: whether an operation can act on the server at once: the connection is up and no
            fault stands in between. The fast paths look only at this.
    """

    name = "memory"
    in_process = True

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        name: str = "",
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self.server = server or MemoryServer()
        self.title = name or f"memory-{self.server.number()}"
        self.max_payload = max_payload
        self.direct = False
        self.up = True
        self.closed = False
        self.requests: dict[str, asyncio.Future[BusMessage]] = {}
        self.deadlines: Deadlines[str]  # of the requests; made with the first operation
        self.followers: dict[Callable[[], None], None] = {}
        self.numbers = itertools.count(1)
        self.inbox = f"_INBOX.{self.server.number()}."
        self._burst = 0
        self._bound = False
        self._listeners: list[Callable[[BrokerEvent], None]] = []
        self._outbox: deque[Callable[[], object]] = deque()
        self._outbox_bytes = 0
        self._passing: asyncio.Future[None] | None = None
        self._subscriptions: dict[MemorySubscription, None] = {}
        self._consumptions: dict[MemoryConsumption, None] = {}
        self.server.attach(self)

    @property
    def connected(self) -> bool:
        """See `Broker.connected`."""
        return self.up and not self.closed

    # -- events --------------------------------------------------------------------------------

    def on_event(self, listener: Callable[[BrokerEvent], None]) -> None:
        """See `Broker.on_event`."""
        self._listeners.append(listener)

    def emit(self, kind: str, detail: str = "") -> None:
        """Tell the listeners; one that raises is logged and stops nothing."""
        event = BrokerEvent(kind=kind, detail=detail)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("listener of connection %r raised", self.title)

    def report(self, detail: str, error: BaseException) -> None:
        """Log what a callback raised, and tell the listeners."""
        log.error("%s: %s", self.title, detail, exc_info=error)
        self.emit("error", f"{detail}: {cut(repr(error), _TEXT_CHARACTERS)}")

    # -- getting through to the server ---------------------------------------------------------

    def refresh(self) -> None:
        """Look again at what stands between this connection and the server."""
        if not self._bound:
            return
        faults = self.server.faults
        self.direct = self.up and not self.closed and not faults.on_the_way
        if self.up and not faults.paused:
            self._send_outbox()
            if self._passing is not None and not self._passing.done():
                self._passing.set_result(None)

    def _bind(self) -> None:
        if self.closed:
            raise ConnectionClosed(
                f"connection {self.title!r} is closed; open a new one with `open_broker`"
            )
        if not self._bound:
            self.deadlines = Deadlines(self.server.bind(), self._expire)
            self._bound = True
            self.refresh()

    async def passable(self) -> None:
        """Return when the connection is up and the server reads.

        Raises:
            ConnectionClosed: it is closed, or was while waiting.
        """
        self._bind()
        while not self.up or self.server.faults.paused:
            if self._passing is None or self._passing.done():
                self._passing = self.server.loop.create_future()
            await asyncio.shield(self._passing)
            self._bind()

    async def ready(self, timeout: float = API_SECONDS) -> None:
        """Return when the server can be asked.

        Raises:
            ConnectionClosed: it is closed.
            RequestTimeout: not within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.passable()
        except TimeoutError:
            raise RequestTimeout(
                f"memory server did not answer {self.title!r} within {timeout:g} s; the connection "
                f"is {'frozen' if self.up else 'down'}, try again"
            ) from None

    def _expire(self, reply: str) -> None:
        future = self.requests.get(reply)
        if future is not None and not future.done():
            future.set_exception(TimeoutError())

    def send(self, size: int, act: Callable[[], object]) -> None:
        """Act on the server now, or once the connection is back, in order.

        Raises:
            ConnectionClosed: it is closed.
            Disconnected: too much waits already.
        """
        self._bind()
        if self.up and not self.server.faults.paused:
            act()
            return
        if self._outbox_bytes + size > OUTBOX_BYTES:
            raise Disconnected(
                f"connection {self.title!r} is down and {self._outbox_bytes:,} bytes wait to be "
                f"sent, so {size:,} more are over the limit of {OUTBOX_BYTES:,} bytes; try again "
                "when it is back"
            )
        self._outbox_bytes += size
        self._outbox.append(act)

    def _send_outbox(self) -> None:
        self._outbox_bytes = 0
        while self._outbox:
            self._outbox.popleft()()

    async def answer(self, act: Callable[[], None], *, confirm: bool) -> None:
        """Let `act` happen on the server; with `confirm` it is repeated until the server says so.

        Raises:
            ConnectionClosed: it is closed.
            RequestTimeout: the server said nothing within `ANSWER_SECONDS`.
        """
        faults = self.server.faults
        if not confirm:
            self.send(ANSWER_BYTES, lambda: None if faults.lose_ack() else act())
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.passable()
                while faults.lose_ack():
                    await asyncio.sleep(RETRY_SECONDS)
                    await self.passable()
                act()
        except TimeoutError:
            raise RequestTimeout(
                f"memory server did not confirm an answer of {self.title!r} within "
                f"{ANSWER_SECONDS:g} s; the delivery may come back"
            ) from None

    # -- messages ------------------------------------------------------------------------------

    def fitting(self, subject: str, data: bytes, headers: Headers) -> bytes:
        """Return the body as it is sent.

        Raises:
            PayloadTooLarge: with these headers it is over the limit.
        """
        size = len(data) + h.size(headers)
        if size > self.max_payload:
            raise PayloadTooLarge(subject, size, self.max_payload)
        return data if type(data) is bytes else bytes(data)

    async def breathe(self) -> None:
        """Give the event loop a turn."""
        self._burst = 0
        await asyncio.sleep(0)

    # -- what belongs to the connection --------------------------------------------------------

    def add_subscription(self, subscription: MemorySubscription) -> None:
        """Keep a subscription in force over lost connections."""
        self._subscriptions[subscription] = None
        if self.up:
            self.server.interest.subscribe(subscription)

    def forget_subscription(self, subscription: MemorySubscription) -> None:
        """Let go of a subscription that ended."""
        if self._subscriptions.pop(subscription, self) is None and self.up:
            self.server.interest.unsubscribe(subscription)

    def add_consumption(self, consumption: MemoryConsumption) -> None:
        """Keep a pull running over lost connections."""
        self._consumptions[consumption] = None

    def forget_consumption(self, consumption: MemoryConsumption) -> None:
        """Let go of a pull that was stopped."""
        self._consumptions.pop(consumption, None)

    def attach_consumptions(self) -> None:
        """Let the pulls find their consumers, as far as these exist."""
        if not self.up:
            return
        for consumption in self._consumptions:
            stream = self.server.streams.get(consumption.stream)
            consumer = stream.consumers.get(consumption.name) if stream else None
            if consumer is not None:
                consumption.attach(consumer)

    # -- loss ----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Lose the connection until `restore`; what is unanswered comes back after `ack_wait`."""
        if self.closed or not self.up:
            return
        self._leave()
        self.up = False
        self.refresh()
        self.emit("disconnected", f"connection {self.title!r} was lost")

    def restore(self) -> None:
        """Bring a lost connection back: subscriptions, then what waited, then pulls."""
        if self.closed or self.up:
            return
        self.up = True
        for subscription in self._subscriptions:
            self.server.interest.subscribe(subscription)
        self.server.inboxes.update(self.requests)
        self.refresh()
        self.attach_consumptions()
        self.emit("reconnected", f"connection {self.title!r} is back")

    def _leave(self) -> None:
        """Take everything of this connection out of the server."""
        for subscription in self._subscriptions:
            self.server.interest.unsubscribe(subscription)
        for reply in self.requests:
            self.server.inboxes.pop(reply, None)
        for consumption in self._consumptions:
            consumption.detach()

    def kill(self) -> None:
        """End like the connection of a process that was killed: nothing is handed back or sent.

        Handlers are cancelled, requests fail, and every later operation raises ConnectionClosed.
        """
        if self.closed:
            return
        self._end()
        for consumption in self._consumptions:
            consumption.kill()
        self._consumptions.clear()

    def _end(self) -> None:
        """Close for good, at once."""
        if self.up:
            self._leave()
        self.closed, self.up = True, False
        self.direct = False
        self._outbox.clear()
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions:
            subscription.end()
        for future in self.requests.values():
            if not future.done():
                future.set_exception(
                    ConnectionClosed(f"connection {self.title!r} was closed during a request")
                )
        if self._bound:
            self.deadlines.clear()
        if self._passing is not None and not self._passing.done():
            self._passing.set_result(None)
        for wake in self.followers:
            wake()
        self.server.detach(self)

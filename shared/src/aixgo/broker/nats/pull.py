"""`Log.consume`: a pull that never pauses, one task a delivery, never more than its slots.

One request for the free slots is always out; when half of the slots are free beyond what was asked,
another follows. The inbox belongs to one generation of requests: after a lost connection, missing
heartbeats or a refusal the next generation begins, and stragglers of the old one are still handled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from aixgo.broker.headers import PENDING_MESSAGES
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.deliveries import ACK_PREFIX, NatsDelivery
from aixgo.broker.nats.link import Listener
from aixgo.broker.nats.subscriptions import retire
from aixgo.broker.nats.wire import DESCRIPTION, STATUS
from aixgo.broker.port import BusMessage, Delivery
from aixgo.errors import BrokerError, ConnectionClosed, Disconnected
from aixgo.pauses import Pauses

EXPIRES_SECONDS, HEARTBEAT_SECONDS = 30.0, 2.0
"""An idle request ends after the former, and says at intervals of the latter that it lives."""

FRESH_EXPIRES_SECONDS, FRESH_HEARTBEAT_SECONDS = 5.0, 0.5
"""For the first request of a generation: a server that is just starting, or a consumer that is just
being declared again, loses requests without a word."""

MISSING_HEARTBEATS = 2.5
"""Silence for so many heartbeats means that the request is lost."""

STRAGGLER_SECONDS = 2.0
"""For which the inbox of an older generation is still read."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 1.0
"""Back-off after a request that the server has refused."""

CANCEL_SECONDS = 5.0
"""For a cancelled handler to end; one that does not is left behind."""

HANDED_BACK_SECONDS = 1.0
"""For the server to read what is handed back when a worker stops."""

HEARTBEAT = "100"
EXPIRED = {"404", "408"}


def pull_request(batch: int, expires: float, heartbeat: float) -> bytes:
    """Return the request for so many deliveries; times in seconds."""
    return b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
        batch,
        expires * 1_000_000_000,
        heartbeat * 1_000_000_000,
    )


class Pull:
    """A running consumption; see `Consumption`."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        handler: Callable[[Delivery], Awaitable[None]],
        slots: int,
        ack_wait: float,
        stopped: Callable[[Pull], None],
    ) -> None:
        self._connection = connection
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._what = f"consumer {consumer!r} of stream {stream!r}"
        self._handler = handler
        self._slots = slots
        self._ack_wait = ack_wait
        self._on_stopped = stopped
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[NatsDelivery] = set()
        """Unanswered deliveries whose handler runs."""
        self._left: dict[int, tuple[NatsDelivery, float]] = {}
        """Deliveries by sequence that their handler has left unanswered, and since when."""
        self._held: deque[tuple[NatsDelivery, float]] = deque()
        """Deliveries over the slots: a lost connection makes the server forget what is out."""
        self._asked = 0
        self._heard = 0.0
        self._heartbeat = FRESH_HEARTBEAT_SECONDS
        self._fresh = True
        self._generation = 0
        self._inbox: Listener | None = None
        self._older: set[Listener] = set()
        self._pauses = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=True)
        self._later: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._refused = False
        self._stopping = False
        self._stopped: asyncio.Future[None] | None = None

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to pull."""
        self._connection.restored.append(self._renew)
        self._renew()
        self._look()

    @property
    def busy(self) -> int:
        """See `Consumption.busy`."""
        return len(self._tasks)

    async def stop(self, grace: float = 0.0) -> None:
        """See `Consumption.stop`."""
        if self._stopped is not None:
            await asyncio.shield(self._stopped)
            return
        self._stopped = self._loop.create_future()
        try:
            await self._stop(grace)
        finally:
            self._stopped.set_result(None)
            self._on_stopped(self)

    async def _stop(self, grace: float) -> None:
        self._stopping = True
        with suppress(ValueError):
            self._connection.restored.remove(self._renew)
        for timer in (self._later, self._watch):
            if timer is not None:
                timer.cancel()
        while self._held:
            self._hand_back(self._held.popleft()[0])
        for inbox in (self._inbox, *self._older):
            if inbox is not None:
                await retire(self._connection, inbox)
        try:
            if self._tasks and grace > 0:
                await asyncio.wait(self._tasks, timeout=grace)
        finally:
            running = list(self._tasks)
            for task in running:
                task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_SECONDS)
        self._forget_left()
        unanswered = [*self._open, *(delivery for delivery, _ in self._left.values())]
        for delivery in unanswered:
            self._hand_back(delivery)
        self._open.clear()
        self._left.clear()
        if unanswered:
            with suppress(TimeoutError, BrokerError):
                async with asyncio.timeout(HANDED_BACK_SECONDS):
                    await self._connection.link.flush()

    def _hand_back(self, delivery: NatsDelivery) -> None:
        with suppress(Disconnected, ConnectionClosed):
            delivery.hand_back()

    # -- asking --------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Begin a generation: nothing is asked for, on an inbox of its own."""
        if self._stopping:
            return
        if self._inbox is not None:
            older = self._inbox
            self._older.add(older)
            self._loop.call_later(STRAGGLER_SECONDS, self._forget, older)
        self._generation += 1
        self._inbox = Listener(
            self._connection.replies.new_inbox("pull"), partial(self._arrive, self._generation)
        )
        self._connection.link.listen(self._inbox)
        self._asked = 0
        self._heard = self._loop.time()
        self._fresh = True
        self._ask()

    def _forget(self, inbox: Listener) -> None:
        self._older.discard(inbox)
        self._connection.link.unlisten(inbox)

    def _ask(self) -> None:
        """Ask for what is free, unless enough was asked for already."""
        free = self._slots - len(self._tasks) - len(self._held) - self._asked
        if (
            free <= 0
            or self._stopping
            or self._later is not None
            or (self._asked and 2 * free < self._slots)
            or not self._connection.connected
            or self._inbox is None
        ):
            return
        self._asked += free
        expires = FRESH_EXPIRES_SECONDS if self._fresh else EXPIRES_SECONDS
        self._heartbeat = FRESH_HEARTBEAT_SECONDS if self._fresh else HEARTBEAT_SECONDS
        self._fresh = False
        with suppress(Disconnected):
            self._connection.link.send(
                self._next, pull_request(free, expires, self._heartbeat), self._inbox.subject
            )

    def _look(self) -> None:
        """Notice a request that the server has forgotten: its heartbeats are missing."""
        silent = self._loop.time() - self._heard
        if (
            self._asked
            and self._connection.connected
            and silent > MISSING_HEARTBEATS * self._heartbeat
        ):
            self._renew()
        else:
            self._ask()
        self._forget_left()
        self._watch = self._loop.call_later(self._heartbeat, self._look)

    # -- receiving -----------------------------------------------------------------------------

    def _arrive(self, generation: int, message: BusMessage) -> None:
        """Take what came to the inbox of a generation.

        A delivery carries the subject of its stream, so only its inbox tells which request it
        answers.
        """
        current = generation == self._generation
        if not message.reply.startswith(ACK_PREFIX):
            if current:
                self._status(message)
            return
        delivery = NatsDelivery(self._connection, message, self._open.discard)
        if current:
            self._heard = self._loop.time()
            self._pauses.reset()
            self._refused = False
            self._asked = max(self._asked - 1, 0)
        if self._stopping:
            self._hand_back(delivery)
        elif len(self._tasks) >= self._slots:
            self._held.append((delivery, self._loop.time()))
        else:
            self._begin(delivery)
            self._ask()

    def _status(self, message: BusMessage) -> None:
        """Handle what the server says about a request."""
        self._heard = self._loop.time()
        status = message.headers.get(STATUS, "")
        if status == HEARTBEAT or self._inbox is None or self._stopping:
            return
        left = message.headers.get(PENDING_MESSAGES)
        self._asked = max(self._asked - int(left), 0) if left else 0
        if status in EXPIRED:
            self._ask()
            return
        if status == "503" and not self._refused:
            self._refused = True
            self._connection.events.emit(
                "error",
                f"{self._what} is gone: {message.headers.get(DESCRIPTION) or 'no server answers'}; "
                "its worker goes on as soon as it is declared again (`aixgo provision`)",
            )
        if self._later is None:
            self._later = self._loop.call_later(self._pauses.take(), self._ask_again)

    def _ask_again(self) -> None:
        self._later = None
        self._ask()

    # -- handling ------------------------------------------------------------------------------

    def _begin(self, delivery: NatsDelivery) -> None:
        self._open.add(delivery)
        task = self._loop.create_task(self._handle(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _handle(self, delivery: NatsDelivery) -> None:
        try:
            await self._handler(delivery)
        except Exception as error:  # noqa: BLE001 # reported; the delivery comes back after ack_wait
            self._connection.events.bug(error, delivery.subject)
        if delivery in self._open and not self._stopping:
            self._open.discard(delivery)
            self._left[delivery.sequence] = (delivery, self._loop.time())

    def _forget_left(self) -> None:
        """Forget what was answered after all, or is redelivered by now."""
        now = self._loop.time()
        self._left = {
            sequence: (delivery, since)
            for sequence, (delivery, since) in self._left.items()
            if not delivery.answered and now - since < self._ack_wait
        }

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._stopping:
            return
        while self._held and len(self._tasks) < self._slots:
            delivery, since = self._held.popleft()
            # one that waited too long is being redelivered to another client
            if self._loop.time() - since < self._ack_wait / 2:
                self._begin(delivery)
        self._ask()

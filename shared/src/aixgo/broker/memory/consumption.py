"""A running pull: deliveries become handler tasks, at most `slots` at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from aixgo.broker.memory.consumer import Consumer
from aixgo.broker.memory.delivery import MemoryDelivery
from aixgo.broker.memory.roles import Link, Server
from aixgo.broker.port import Delivery

CANCEL_SECONDS = 5.0
"""For a cancelled handler to end; one that does not is left behind."""

Handler = Callable[[Delivery], Awaitable[None]]


class ConsumptionLink(Link, Protocol):
    """What a consumption needs of its connection."""

    up: bool

    @property
    def server(self) -> Server:
        """What the connection is to."""
        ...

    def report(self, detail: str, error: BaseException) -> None:
        """Log what a handler raised, and tell the listeners."""
        ...

    def forget_consumption(self, consumption: MemoryConsumption) -> None:
        """Let go of a pull that was stopped."""
        ...


class MemoryConsumption:
    """Implements `Consumption`; stands in the consumer's line whenever it has a free slot."""

    def __init__(
        self, link: ConsumptionLink, stream: str, name: str, handler: Handler, slots: int
    ) -> None:
        self.link, self.stream, self.name = link, stream, name
        self.waiting = False
        self._handler, self._slots = handler, slots
        self._loop, self._faults = link.server.loop, link.server.faults
        self._running: dict[MemoryDelivery, asyncio.Task[None]] = {}
        self._later: set[asyncio.TimerHandle] = set()
        self._consumer: Consumer | None = None
        self._pulling = False
        self._stopped = False
        self._task_name = f"{stream}/{name}"

    @property
    def busy(self) -> int:
        """See `Consumption.busy`."""
        return len(self._running)

    @property
    def free(self) -> int:
        """Deliveries that it can take now."""
        return 0 if self._stopped else self._slots - len(self._running) - len(self._later)

    # -- pulling -------------------------------------------------------------------------------

    def attach(self, consumer: Consumer) -> None:
        """Begin to pull from this consumer, or go on after it was away."""
        if self._stopped:
            return
        self.detach()
        self._consumer, self._pulling = consumer, True
        consumer.enqueue(self)

    def detach(self) -> None:
        """Stop pulling; what is held stays held."""
        if self._pulling and self._consumer is not None:
            self._consumer.leave(self)
        self._pulling = False

    def take(self, delivery: MemoryDelivery) -> bool:
        """Start the handler of a delivery; it runs after the current callback."""
        delay = self._faults.delivery_delay
        if delay:
            self._take_later(delivery, delay)
        else:
            self._start(delivery)
        return self.free > 0

    def _take_later(self, delivery: MemoryDelivery, delay: float) -> None:
        def begin() -> None:
            self._later.discard(handle)
            if not self._stopped:
                self._start(delivery)

        handle = self._loop.call_later(delay, begin)
        self._later.add(handle)

    def _start(self, delivery: MemoryDelivery) -> None:
        self._running[delivery] = self._loop.create_task(
            self._handle(delivery), name=self._task_name
        )

    async def _handle(self, delivery: MemoryDelivery) -> None:
        try:
            await self._handler(delivery)
        except Exception as error:  # noqa: BLE001 - a handler's bug must not end the pull
            self.link.report(f"handler of {delivery!r} raised", error)
        finally:
            self._running.pop(delivery, None)
            if self._pulling and self._consumer is not None:
                self._consumer.enqueue(self)

    # -- stopping ------------------------------------------------------------------------------

    async def stop(self, grace: float = 0.0) -> None:
        """See `Consumption.stop`."""
        self.halt()
        me = asyncio.current_task()  # a handler may stop its own consumption
        tasks = [task for task in self._running.values() if task is not me]
        if grace > 0 and tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        # a task that was cancelled before its first step never came to its `finally`
        self._running.clear()
        self.link.forget_consumption(self)
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self.link.up:
            for delivery in consumer.held_by(self):
                consumer.nak(delivery.sequence, 0.0)

    def halt(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self.detach()
        for handle in self._later:
            handle.cancel()
        self._later.clear()

    def kill(self) -> None:
        """End like a killed process: handlers are cancelled and nothing is handed back."""
        self.halt()
        for task in self._running.values():
            task.cancel()

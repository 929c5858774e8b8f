"""The eyes and the brake in a service process: what it executes, and where it shall stand still.

`WatchedBroker` is the broker of the process with a look at what passes. A boundary is the moment
before or after a durable operation of a delivery at work: an append, a read, an answer. At the
armed boundary the whole process waits, so that the test can kill it, or somebody else, there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aixgo.broker.port import Appended, Broker, Consumption, Delivery, Record
from aixgo.envelope import Envelope
from aixgo.hosting.agent_service import AgentService
from aixgo.hosting.app import System
from aixgo.subjects import CALLS, Names

from .ledger import Ledger

HALT_POLL_SECONDS = 0.002


@dataclass
class Work:
    """A delivery at work: whose result it shall bring, and when that was looked for last."""

    subject: str
    looked: float = 0.0


_work: ContextVar[Work | None] = ContextVar("work", default=None)


class Brake:
    """Stops the process at the armed boundary until it is killed or released.

    Args:
        kind: of service that this process is.
        orders: file that says `KIND RUN NUMBER`; empty or absent while nothing is armed.
    """

    def __init__(self, kind: str, orders: Path, ledger: Ledger) -> None:
        self._kind, self._orders, self._ledger = kind, orders, ledger
        self._passed: Counter[str] = Counter()

    def boundary(self, subject: str, where: str) -> None:
        """Pass the next boundary of a run, or stand still there."""
        run = subject.split(".")[4]
        self._passed[run] += 1
        order = f"{self._kind} {run} {self._passed[run]}"
        if self._read() == order:
            self._ledger.note("reached", subject, detail=where)
            while self._read() == order:
                time.sleep(HALT_POLL_SECONDS)  # the whole process: nothing else may go on

    def _read(self) -> str:
        try:
            return self._orders.read_text()
        except FileNotFoundError:
            return ""


class WatchedBroker:
    """A broker whose durable operations of a delivery at work are watched."""

    def __init__(self, broker: Broker, names: Names, ledger: Ledger, brake: Brake | None) -> None:
        self._broker, self._ledger, self._brake = broker, ledger, brake
        self._calls, self._prefix = names.stream(CALLS), f"{names.prefix}call."
        self._results = f"{names.prefix}res."

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def consume(
        self,
        stream: str,
        consumer: str,
        handler: Callable[[Delivery], Awaitable[None]],
        *,
        slots: int,
    ) -> Consumption:
        """Note when a delivery of a call comes and when it is done with."""

        async def watched(delivery: Delivery) -> None:
            work = Work(self._results + delivery.subject.removeprefix(self._prefix))
            _work.set(work)
            self._ledger.note("taken", work.subject)
            try:
                await handler(WatchedDelivery(delivery, self, work))
            finally:
                self._ledger.note("ended", work.subject)

        return await self._broker.consume(
            stream, consumer, watched if stream == self._calls else handler, slots=slots
        )

    async def append(self, subject: str, data: bytes, **options: Any) -> Appended:
        """Pass two boundaries."""
        self.boundary(f"before append {subject}")
        appended = await self._broker.append(subject, data, **options)
        self.boundary(f"after append {subject}")
        return appended

    async def schedule(self, subject: str, data: bytes, **options: Any) -> Appended:
        """Pass two boundaries."""
        self.boundary(f"before schedule {subject}")
        appended = await self._broker.schedule(subject, data, **options)
        self.boundary(f"after schedule {subject}")
        return appended

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Record | None:
        """Pass two boundaries; remember when the worker looked for the result of its own call."""
        self.boundary(f"before last {subject}")
        work = _work.get()
        if work is not None and work.subject == subject:
            work.looked = time.time()
        record = await self._broker.last(stream, subject, decisive=decisive)
        self.boundary(f"after last {subject}")
        return record

    async def read(self, stream: str, subject: str, **options: Any) -> Any:
        """Pass two boundaries."""
        self.boundary(f"before read {subject}")
        records = await self._broker.read(stream, subject, **options)
        self.boundary(f"after read {subject}")
        return records

    def boundary(self, where: str) -> None:
        """Pass a boundary of the delivery at work, if there is one."""
        work = _work.get()
        if work is not None and self._brake is not None:
            self._brake.boundary(work.subject, where)


class WatchedDelivery:
    """A delivery whose answers are boundaries."""

    def __init__(self, delivery: Delivery, broker: WatchedBroker, work: Work) -> None:
        self._delivery, self._broker, self._work = delivery, broker, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    async def ack(self, *, confirm: bool = True) -> None:
        """Pass two boundaries."""
        self._broker.boundary("before ack")
        await self._delivery.ack(confirm=confirm)
        self._broker.boundary("after ack")

    async def nak(self, delay: float = 0.0) -> None:
        """Pass two boundaries."""
        self._broker.boundary("before nak")
        await self._delivery.nak(delay)
        self._broker.boundary("after nak")


def watch_process(ledger: Ledger) -> None:
    """Note when this process is ready, and every execution of an agent of whatever kind in it."""
    handle, start = AgentService.handle, System.start

    async def watched(self: AgentService, request: Envelope, attempt: int) -> Envelope:
        work = _work.get()
        assert work is not None
        ledger.note("began", work.subject, looked=work.looked or time.time())
        return await handle(self, request, attempt)

    async def started(self: System) -> None:
        await start(self)
        ledger.note("ready", "")

    AgentService.handle = watched  # type: ignore[method-assign]  # only in this process
    System.start = started  # type: ignore[method-assign]

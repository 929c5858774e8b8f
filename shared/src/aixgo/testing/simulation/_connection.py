"""The connection of a simulated process: every operation is a place where something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aixgo.broker.memory.broker import MemoryBroker
from aixgo.broker.memory.consumption import Handler, MemoryConsumption
from aixgo.broker.memory.delivery import MemoryDelivery
from aixgo.broker.memory.server import MemoryServer
from aixgo.broker.memory.subscription import MemorySubscription
from aixgo.broker.port import (
    Appended,
    BusMessage,
    Delivery,
    Expect,
    Headers,
    Record,
)
from aixgo.testing.simulation._ledger import Ledger
from aixgo.testing.simulation._witness import Witness


class WatchedServer(MemoryServer):
    """A memory server whose books are kept."""

    ledger: Ledger | None = None

    def append(
        self,
        subject: str,
        data: bytes,
        headers: Headers,
        msg_id: str,
        expect: Expect | None,
        ttl: float,
    ) -> Appended:
        """See `MemoryServer.append`."""

        def store() -> Appended:
            return super(WatchedServer, self).append(subject, data, headers, msg_id, expect, ttl)

        return store() if self.ledger is None else self.ledger.watch(subject, store)


class ProcessConnection(MemoryBroker):
    """A `MemoryBroker` whose operations belong to a process, and may be its last."""

    def __init__(self, server: MemoryServer, process: Witness) -> None:
        self._process = process
        super().__init__(server, name=process.name)

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Headers | None = None
    ) -> None:
        """See `Bus.publish`; a message that gets no answer may be lost."""
        process = self._process
        number = await process.before("publish", subject)
        if reply or not process.happens("drop", subject):
            await super().publish(subject, data, reply=reply, headers=headers)
        await process.after(number, "publish", subject)

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Headers | None = None
    ) -> BusMessage:
        """See `Bus.request`."""
        number = await self._process.before("request", subject)
        answer = await super().request(subject, data, timeout=timeout, headers=headers)
        await self._process.after(number, "request", subject)
        return answer

    async def subscribe(
        self,
        subject: str,
        on_message: Callable[[BusMessage], None] | None = None,
        *,
        queue: str = "",
        limit: int = 0,
        pending: int = 65_536,
        prompt: bool = False,
    ) -> MemorySubscription:
        """See `Bus.subscribe`; a message that gets no answer may be lost."""
        process, callback = self._process, on_message

        def arrive(message: BusMessage) -> None:
            assert on_message is not None
            if process.life.dead:
                return
            if not message.reply and process.happens("drop", message.subject):
                return
            with process.loop.as_process(process.life):
                on_message(message)

        if on_message is not None:
            callback = arrive
        return await super().subscribe(
            subject, callback, queue=queue, limit=limit, pending=pending, prompt=prompt
        )

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
        """See `Log.append`; the answer may be lost, then it is repeated."""
        process = self._process
        number = await process.before("append", subject)
        if process.happens("drop", f"the answer to append {subject}"):
            self.server.faults.drop_publish_acks(1)
        appended = await super().append(
            subject,
            data,
            msg_id=msg_id,
            expect=expect,
            ttl=ttl,
            headers=headers,
            timeout=timeout,
        )
        await process.after(number, "append", subject)
        return appended

    async def consume(
        self, stream: str, consumer: str, handler: Handler, *, slots: int
    ) -> MemoryConsumption:
        """See `Log.consume`."""
        process = self._process

        async def observed(delivery: Delivery) -> None:
            process.arrives(f"{delivery.subject} ({delivery.attempt})")
            await handler(ProcessDelivery(delivery, process))

        await self.ready()
        found = self.server.stream(stream).consumers.get(consumer)
        if found is None:  # say what the broker says
            return await super().consume(stream, consumer, handler, slots=slots)
        consumption = _ProcessConsumption(process, self, stream, consumer, observed, slots)
        self.add_consumption(consumption)
        consumption.attach(found)
        return consumption

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Record | None:
        """See `Log.last`."""
        process = self._process
        number = await process.before("last", subject)
        record = await super().last(stream, subject, decisive=decisive)
        if record is None:
            process.looked(subject)
        await process.after(number, "last", subject)
        return record

    async def at(self, stream: str, sequence: int) -> Record | None:
        """See `Log.at`."""
        process, what = self._process, f"{stream}:{sequence}"
        number = await process.before("at", what)
        record = await super().at(stream, sequence)
        await process.after(number, "at", what)
        return record

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        """See `Log.read`."""
        number = await self._process.before("read", subject)
        records = await super().read(stream, subject, start=start, limit=limit)
        await self._process.after(number, "read", subject)
        return records

    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        """See `Upkeep.purge`."""
        number = await self._process.before("purge", subject or stream)
        purged = await super().purge(stream, subject, before=before)
        await self._process.after(number, "purge", subject or stream)
        return purged


class ProcessDelivery:
    """A delivery whose answer may be the last thing that a process does, or may be lost."""

    def __init__(self, delivery: Delivery, process: Witness) -> None:
        self._delivery, self._process = delivery, process
        self.subject, self.data, self.headers = delivery.subject, delivery.data, delivery.headers
        self.stream, self.sequence = delivery.stream, delivery.sequence
        self.attempt, self.pending = delivery.attempt, delivery.pending

    async def ack(self, *, confirm: bool = True) -> None:
        """See `Delivery.ack`."""
        await self._answer("ack", lambda: self._delivery.ack(confirm=confirm))

    async def nak(self, delay: float = 0.0) -> None:
        """See `Delivery.nak`."""
        await self._answer("nak", lambda: self._delivery.nak(delay))

    async def term(self, reason: str = "") -> None:
        """See `Delivery.term`."""
        await self._answer("term", lambda: self._delivery.term(reason))

    async def in_progress(self) -> None:
        """See `Delivery.in_progress`."""
        await self._answer("heartbeat", self._delivery.in_progress)

    async def _answer(self, what: str, send: Callable[[], Awaitable[None]]) -> None:
        process = self._process
        number = await process.before(what, self.subject)
        if process.happens("drop", f"{what} {self.subject}"):
            process.server.faults.drop_acks(1)
        await send()
        await process.after(number, what, self.subject)


class _ProcessConsumption(MemoryConsumption):
    """A pull whose handlers are tasks of its process; deliveries may come late or twice."""

    def __init__(
        self,
        process: Witness,
        link: ProcessConnection,
        stream: str,
        name: str,
        handler: Handler,
        slots: int,
    ) -> None:
        super().__init__(link, stream, name, handler, slots)
        self._process = process

    def take(self, delivery: MemoryDelivery) -> bool:
        """Start the handler of a delivery, now or later, here or elsewhere too."""
        process = self._process
        if process.happens("duplicate", f"what is delivered after {delivery.subject}"):
            process.server.faults.duplicate_deliveries(1)
        late = process.late(delivery.subject)
        if late:
            self._take_later(delivery, late)
        else:
            self._start(delivery)
        return self.free > 0

    def _start(self, delivery: MemoryDelivery) -> None:
        with self._process.loop.as_process(self._process.life):
            super()._start(delivery)


async def nothing_more(loop: asyncio.AbstractEventLoop) -> None:
    """Wait for ever: the process that awaits this is dead."""
    await loop.create_future()

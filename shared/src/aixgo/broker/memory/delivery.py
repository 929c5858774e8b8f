"""One delivery of a record, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aixgo.broker.memory.roles import Answerable, Holder
from aixgo.broker.port import Record


class MemoryDelivery:
    """Implements `Delivery`; an answer passes the connection that received it."""

    __slots__ = (
        "attempt",
        "consumer",
        "data",
        "headers",
        "pending",
        "puller",
        "sequence",
        "stream",
        "subject",
    )

    def __init__(
        self,
        record: Record,
        attempt: int,
        pending: int,
        consumer: Answerable,
        puller: Holder,
    ) -> None:
        self.subject, self.data, self.headers = record.subject, record.data, record.headers
        self.stream, self.sequence = record.stream, record.sequence
        self.attempt, self.pending = attempt, pending
        self.consumer, self.puller = consumer, puller

    def __repr__(self) -> str:
        return f"<delivery {self.attempt} of {self.stream}:{self.sequence} {self.subject!r}>"

    async def ack(self, *, confirm: bool = True) -> None:
        """See `Delivery.ack`."""
        if self.puller.link.direct:
            self.consumer.ack(self.sequence)
        else:
            await self._answer(partial(self.consumer.ack, self.sequence), confirm=confirm)

    async def nak(self, delay: float = 0.0) -> None:
        """See `Delivery.nak`."""
        await self._answer(partial(self.consumer.nak, self.sequence, delay))

    async def term(self, reason: str = "") -> None:
        """See `Delivery.term`."""
        await self._answer(partial(self.consumer.term, self.sequence, reason))

    async def in_progress(self) -> None:
        """See `Delivery.in_progress`."""
        await self._answer(partial(self.consumer.touch, self.sequence), confirm=False)

    async def _answer(self, act: Callable[[], None], *, confirm: bool = True) -> None:
        link = self.puller.link
        if link.direct:
            act()
        else:
            await link.answer(act, confirm=confirm)

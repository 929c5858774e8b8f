"""One delivery: what its reply subject says, and the four answers to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from aixgo.broker.nats.api import ELECTION_SECONDS, PAUSE_SECONDS
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.reads import without_writer
from aixgo.broker.port import BusMessage, Headers
from aixgo.errors import NoResponders

ANSWER_SECONDS = 10.0
"""For a confirmed answer with all repetitions; then the message is redelivered anyway."""

ATTEMPT_SECONDS = 1.0

ACK_PREFIX = "$JS.ACK."

_TOKENS_WITHOUT_DOMAIN = 9


class NatsDelivery:
    """See `Delivery`."""

    __slots__ = (
        "_answered",
        "_connection",
        "_done",
        "_headers",
        "_reply",
        "attempt",
        "data",
        "pending",
        "place",
        "sequence",
        "stream",
        "subject",
        "time",
    )

    def __init__(
        self,
        connection: Connection,
        message: BusMessage,
        done: Callable[[NatsDelivery], None] | None = None,
    ) -> None:
        tokens = message.reply.split(".")
        # with a domain: two more tokens after $JS.ACK, and a random one at the end
        first = 2 if len(tokens) == _TOKENS_WITHOUT_DOMAIN else 4
        self.subject: str = message.subject
        self.data: bytes = message.data
        self._headers = message.headers
        self.stream: str = tokens[first]
        self.attempt: int = int(tokens[first + 2])
        self.sequence: int = int(tokens[first + 3])
        self.place: int = int(tokens[first + 4])
        """Count of deliveries of this consumer; what follows it is one more."""
        self.time: float = int(tokens[first + 5]) / 1_000_000_000
        self.pending: int = int(tokens[first + 6])
        self._reply = message.reply
        self._connection = connection
        self._done = done
        self._answered = False

    def __repr__(self) -> str:
        return f"<NatsDelivery {self.subject} {self.stream}:{self.sequence} attempt {self.attempt}>"

    @property
    def headers(self) -> Headers:
        """See `Delivery`."""
        return without_writer(self._headers)

    @property
    def answered(self) -> bool:
        """Whether it was said what became of it."""
        return self._answered

    async def ack(self, *, confirm: bool = True) -> None:
        """See `Delivery.ack`."""
        if confirm:
            await self._answer(b"+ACK")
        else:
            self._connection.check_open()
            self._connection.link.send(self._reply, b"+ACK")
            self._settle()

    async def nak(self, delay: float = 0.0) -> None:
        """See `Delivery.nak`."""
        nanoseconds = math.ceil(delay * 1_000_000_000)
        await self._answer(b'-NAK {"delay":%d}' % nanoseconds if nanoseconds > 0 else b"-NAK")

    async def term(self, reason: str = "") -> None:
        """See `Delivery.term`."""
        await self._answer(f"+TERM {' '.join(reason.split())}".strip().encode())

    async def in_progress(self) -> None:
        """See `Delivery.in_progress`."""
        self._connection.check_open()
        self._connection.link.send(self._reply, b"+WPI")

    async def _answer(self, word: bytes) -> None:
        """Answer and return when the server has acted.

        Raises:
            RequestTimeout: no word from the server; the message may be redelivered.
            NoResponders: its consumer is gone.
        """
        self._connection.check_open()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            left = ANSWER_SECONDS - (loop.time() - begun)
            try:
                await self._connection.ask(self._reply, word, within=left, attempt=ATTEMPT_SECONDS)
            except NoResponders:
                if loop.time() - begun > ELECTION_SECONDS:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                break
        self._settle()

    def _settle(self) -> None:
        self._answered = True
        if self._done is not None:
            self._done(self)

    def hand_back(self) -> None:
        """Send a nak and do not wait; for a worker that leaves."""
        self._connection.link.send(self._reply, b"-NAK")
        self._answered = True

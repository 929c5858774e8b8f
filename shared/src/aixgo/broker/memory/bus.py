"""At-most-once messages of a memory connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from aixgo.broker.checks import check_timeout
from aixgo.broker.memory import headers as h
from aixgo.broker.memory.connection import BURST, Connection
from aixgo.broker.memory.matching import check_filter, check_subject
from aixgo.broker.memory.subscription import MemorySubscription
from aixgo.broker.port import BusMessage, Headers
from aixgo.errors import NoResponders, RequestTimeout


class MemoryBus(Connection):
    """Implements `Bus`."""

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Headers | None = None
    ) -> None:
        """See `Bus.publish`."""
        if headers or type(data) is not bytes or len(data) > self.max_payload:
            headers = h.sealed(h.clean(headers)) if headers else h.EMPTY
            data = self.fitting(subject, data, headers)
        else:
            headers = h.EMPTY
        if self.direct:
            self.server.publish(subject, data, reply, headers)
        else:
            check_subject(subject)
            size = len(subject) + len(data) + h.size(headers)
            self.send(size, partial(self.server.publish, subject, data, reply, headers))
        self._burst += 1
        if self._burst > BURST:
            await self.breathe()

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Headers | None = None
    ) -> BusMessage:
        """See `Bus.request`."""
        if headers or type(data) is not bytes or len(data) > self.max_payload:
            headers = h.sealed(h.clean(headers)) if headers else h.EMPTY
            data = self.fitting(subject, data, headers)
        else:
            headers = h.EMPTY
        server = self.server
        if not timeout >= 0:
            check_timeout(timeout)
        if not self.direct:
            check_subject(subject)
            await self.ready(timeout)
        loop = server.loop
        future: asyncio.Future[BusMessage] = loop.create_future()
        reply = f"{self.inbox}{next(self.numbers)}"
        server.inboxes[reply] = self.requests[reply] = future
        try:
            if not server.publish(subject, data, reply, headers):
                raise NoResponders(
                    f"no process listens on {subject!r}; is the service up? Look with "
                    "`aixgo doctor`"
                )
            self.deadlines.set(reply, loop.time() + timeout)
            return await future
        except TimeoutError:
            raise RequestTimeout(
                f"no answer on {subject!r} within {timeout:g} s; raise the timeout, or see whether "
                "the service is overloaded"
            ) from None
        finally:
            self.deadlines.discard(reply)
            del self.requests[reply]
            server.inboxes.pop(reply, None)

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
        """See `Bus.subscribe`."""
        if not self.direct:
            self._bind()
        if self.server.interest.known(subject) is None:
            check_filter(subject)
        subscription = MemorySubscription(
            self, subject, on_message, queue=queue, limit=limit, pending=pending, prompt=prompt
        )
        self.add_subscription(subscription)
        return subscription

    async def flush(self, timeout: float = 5.0) -> None:
        """See `Bus.flush`."""
        await self.ready(timeout)
        await self.breathe()

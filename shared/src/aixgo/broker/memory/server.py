"""The state that connections share: who listens, and what is stored."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from aixgo.broker import headers as names
from aixgo.broker.memory import declare
from aixgo.broker.memory import headers as h
from aixgo.broker.memory.dispatcher import Dispatcher
from aixgo.broker.memory.faults import Faults
from aixgo.broker.memory.interest import Interest
from aixgo.broker.memory.roles import Cuttable, Host
from aixgo.broker.memory.stream import Stream
from aixgo.broker.port import Appended, BusMessage, Expect, Headers, Record, StreamConfig
from aixgo.errors import BrokerError, NoResponders, StreamFull, StreamNotFound, WrongSequence

log = logging.getLogger("aixgo.broker")


MAX_PAYLOAD = 1024 * 1024
"""Bytes of a message with its headers; the default of a nats-server."""


class Attached(Cuttable, Protocol):
    """What a server needs of its connections."""

    def refresh(self) -> None:
        """Look again at what stands between it and the server."""
        ...

    def emit(self, kind: str, detail: str = "") -> None:
        """Tell the listeners of an event."""
        ...

    def attach_consumptions(self) -> None:
        """Let the pulls find their consumers, as far as these exist."""
        ...


class MemoryServer:
    """A NATS server with JetStream, reduced to one process and no sockets.

    It belongs to the event loop that uses it first. Everything stored is gone with it. `faults`
    breaks it on purpose.
    """

    def __init__(self) -> None:
        self.interest = Interest()
        self.inboxes: dict[str, asyncio.Future[BusMessage]] = {}
        """Requests that wait for an answer, by their reply subject."""
        self.streams: dict[str, Stream] = {}
        self.faults = Faults(self)
        self.now: Callable[[], float] = time.time
        self._links: list[Attached] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: Dispatcher | None = None
        self._numbers = itertools.count(1)

    # -- event loop and connections ------------------------------------------------------------

    def bind(self) -> asyncio.AbstractEventLoop:
        """Take the running event loop as the server's, or check that it is.

        Raises:
            BrokerError: another loop used this server before.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._dispatcher = loop, Dispatcher(loop)
            self.now = getattr(loop, "wall_time", time.time)
        elif self._loop is not loop:
            raise BrokerError(
                "this MemoryServer belongs to another event loop; make one MemoryServer for "
                "each loop (each test, each asyncio.run)"
            )
        return loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the server lives on."""
        return self._loop or self.bind()

    @property
    def dispatcher(self) -> Dispatcher:
        """What runs the callbacks of all subscriptions."""
        if self._dispatcher is None:
            self.bind()
        assert self._dispatcher is not None
        return self._dispatcher

    def freeze(self, frozen: bool) -> None:
        """Run no callback while frozen."""
        self.dispatcher.freeze(frozen)

    def number(self) -> int:
        """Return a number that this server has not given away before."""
        return next(self._numbers)

    def attach(self, link: Attached) -> None:
        """Take note of a connection."""
        self._links.append(link)

    def detach(self, link: Attached) -> None:
        """Forget a connection that was closed."""
        if link in self._links:
            self._links.remove(link)

    def refresh_links(self) -> None:
        """Let every connection look again at what stands between it and the server."""
        for link in list(self._links):
            link.refresh()

    def serve_all(self) -> None:
        """Let every consumer deliver what it can."""
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                consumer.serve()

    async def restart(self, *, lose_memory: bool = True, down: float = 0.0) -> None:
        """Die as by `kill -9` and come back after `down` seconds.

        Streams with memory storage are gone with `lose_memory`; those with file storage and
        their consumers are kept. A work queue forgets the message ids of what was consumed.
        Connections are lost and restored.
        """
        links = list(self._links)
        for link in links:
            link.cut()
        for stream in list(self.streams.values()):
            if stream.config.storage == "file":
                stream.restart()
            elif lose_memory:
                self.drop_stream(stream.name)
        await asyncio.sleep(down)
        for link in links:
            link.restore()

    # -- messages ------------------------------------------------------------------------------

    def publish(self, subject: str, data: bytes, reply: str, headers: Headers) -> bool:
        """Give a message to everyone who listens and to its stream; returns whether any did.

        Raises:
            BadSubject: the subject cannot be published to.
        """
        waiter = self.inboxes.get(subject)
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(BusMessage(subject, data, reply, headers))
            if not self.interest.spied:
                return True
        interest = self.interest
        route = interest.routes.get(subject) or interest.known(subject) or interest.find(subject)
        heard = False
        if subject in interest.literal or route.wild is not None:
            heard = interest.deliver(BusMessage(subject, data, reply, headers), route.wild)
        if route.stream is not None:
            self._keep(route.stream, subject, data, reply, headers)
            return True
        return heard

    def _republish(self, subject: str, record: Record, previous: int) -> None:
        """Pass what a stream just stored to the listeners on another subject, if there are any.

        Args:
            previous: sequence of the record that its subject had before, 0 for none.
        """
        interest = self.interest
        route = interest.lead(subject)
        if route.wild is None and route.stream is None and subject not in interest.literal:
            return
        headers = h.RepublishedHeaders(record, previous)
        interest.deliver(BusMessage(subject, record.data, "", headers), route.wild)
        if route.stream is not None:
            self._keep(route.stream, subject, record.data, "", headers)

    def append(
        self, subject: str, data: bytes, headers: Headers, msg_id: str, expect: Expect | None,
        ttl: float,
    ) -> Appended:  # fmt: skip
        """Give a message to everyone who listens and store it.

        Raises:
            BadSubject, NoResponders, and what `Stream.append` raises.
        """
        interest = self.interest
        route = interest.routes.get(subject) or interest.known(subject) or interest.find(subject)
        if subject in interest.literal or route.wild is not None:
            interest.deliver(BusMessage(subject, data, "", headers), route.wild)
        if route.stream is None:
            raise NoResponders(
                f"no stream keeps {subject!r}; run `aixgo provision FILE` against this broker "
                "once, or correct the subject"
            )
        return route.stream.append(subject, data, headers, msg_id, expect, ttl)

    def _keep(
        self, stream: Stream, subject: str, data: bytes, reply: str, headers: Headers
    ) -> None:
        """Store what was published plainly; answer on `reply` as a server does."""
        try:
            ttl = headers.get(names.TTL)
            appended = stream.append(
                subject,
                data,
                headers,
                headers.get(names.MSG_ID, ""),
                ttl=h.seconds_of(ttl) if ttl else 0.0,
            )
        except BrokerError as error:
            if not reply:
                log.debug("publish.not_stored", extra={"subject": subject, "error": error.code})
            answer = _refusal(stream.name, error)
        else:
            answer = {"stream": appended.stream, "seq": appended.sequence}
            if appended.duplicate:
                answer["duplicate"] = True
        if reply:
            self.publish(reply, msgspec.json.encode(answer), "", h.EMPTY)

    # -- streams -------------------------------------------------------------------------------

    def stream(self, name: str) -> Stream:
        """Return a stream.

        Raises:
            StreamNotFound: it does not exist.
        """
        stream = self.streams.get(name)
        if stream is None:
            raise StreamNotFound(name)
        return stream

    def create_stream(self, config: StreamConfig) -> Stream:
        """Create a stream.

        Raises:
            StreamRefused: the declaration contradicts itself, or subjects overlap another stream's.
        """
        declare.check_stream(config, [kept.config for kept in self.streams.values()])
        host = Host(
            self.loop,
            self.faults,
            self.now,
            self.publish,
            self._republish,
            self._report,
        )
        stream = self.streams[config.name] = Stream(config, host)
        self.interest.add_stream(stream, config.subjects)
        return stream

    def update_stream(self, stream: Stream, config: StreamConfig) -> None:
        """Change a stream's declaration.

        Raises:
            StreamRefused: as `create_stream`, or a field cannot be changed.
        """
        others = [each.config for each in self.streams.values() if each is not stream]
        declare.check_stream(config, others)
        declare.check_stream_change(stream.config, config)
        self.interest.remove_stream(stream, stream.config.subjects)
        self.interest.add_stream(stream, config.subjects)
        stream.update(config)

    def drop_stream(self, name: str) -> bool:
        """Remove a stream; False if it was not there."""
        stream = self.streams.pop(name, None)
        if stream is None:
            return False
        self.interest.remove_stream(stream, stream.config.subjects)
        stream.close()
        return True

    def reattach(self) -> None:
        """Let running pulls find consumers that were declared (again)."""
        for link in self._links:
            link.attach_consumptions()

    def _report(self, detail: str, error: BaseException) -> None:
        log.error(detail, exc_info=error)
        for link in list(self._links):
            link.emit("error", f"{detail}: {error!r}")


def _refusal(stream: str, error: BrokerError) -> dict[str, Any]:
    code, number = 400, 10051  # "general stream failure"; the text says which
    if isinstance(error, WrongSequence):
        number = 10071
    elif isinstance(error, StreamFull):
        code, number = 503, 10077
    refused = {"code": code, "err_code": number, "description": str(error)}
    return {"error": refused, "stream": stream, "seq": 0}

"""What the parts of a memory server know of the whole that they belong to.

A record's delivery answers to its consumer, a consumer serves from its stream, a subscription hears
from its connection. Each names here what it needs of the other, so that no module imports one that
is built on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aixgo.broker.memory.records import Records
from aixgo.broker.port import Appended, Expect, Headers, Record, StreamConfig


class Faulty(Protocol):
    """What may go wrong on the way of a delivery; see `Faults`."""

    delivery_delay: float
    duplicates: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Host:
    """What a stream needs of its server: the loop, Unix time, and ways to publish and report."""

    loop: asyncio.AbstractEventLoop
    faults: Faulty
    now: Callable[[], float]
    publish: Callable[[str, bytes, str, Headers], bool]
    republish: Callable[[str, Record, int], None]
    report: Callable[[str, BaseException], None]


# -- of a stream -------------------------------------------------------------------------------


class Shelf(Protocol):
    """The stream, for those that deliver from it, let it expire or follow it."""

    name: str
    config: StreamConfig
    host: Host
    records: Records
    followers: dict[Callable[[], None], None]
    closed: bool

    @property
    def allows_ttl(self) -> bool:
        """Whether a single message may have a time to live."""
        ...

    def append(
        self,
        subject: str,
        data: bytes,
        headers: Headers,
        msg_id: str = "",
        expect: Expect | None = None,
        ttl: float = 0.0,
    ) -> Appended:
        """Store a message."""
        ...

    def settle(self, sequence: int) -> None:
        """Forget a record that a consumer is done with, if the retention says so."""
        ...

    def remove(self, sequence: int) -> Record | None:
        """Forget a record everywhere."""
        ...

    def drop_older(self, record: Record) -> None:
        """Forget the older records of a subject."""
        ...

    def mark_expired(self, subject: str) -> None:
        """Leave a marker where the last record of a subject expired, if the stream wants them."""
        ...


# -- of a consumer -----------------------------------------------------------------------------


class Answerable(Protocol):
    """The consumer, for its deliveries."""

    def ack(self, sequence: int) -> None:
        """Be done with a record."""
        ...

    def nak(self, sequence: int, delay: float) -> None:
        """Deliver a record again, after `delay` seconds."""
        ...

    def term(self, sequence: int, reason: str) -> None:
        """Never deliver a record again."""
        ...

    def touch(self, sequence: int) -> None:
        """Start the acknowledgement wait of a record anew."""
        ...


class Link(Protocol):
    """The connection, for the deliveries that came over it."""

    direct: bool
    """Whether nothing stands between the connection and the server at this moment."""

    async def answer(self, act: Callable[[], None], *, confirm: bool) -> None:
        """Let `act` happen on the server once the answer arrives there."""
        ...


class Holder(Protocol):
    """The receiver of a delivery."""

    @property
    def link(self) -> Link:
        """The connection that carries the answers."""
        ...


class Server(Protocol):
    """The server, for what belongs to its connections."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it lives on."""
        ...

    @property
    def faults(self) -> Faulty:
        """What may go wrong."""
        ...

    def stream(self, name: str) -> Shelf:
        """Return a stream.

        Raises:
            StreamNotFound: there is none of that name.
        """
        ...


# -- of a connection and its server --------------------------------------------------------------


class Cuttable(Protocol):
    """The connection, for faults."""

    def cut(self) -> None:
        """Lose the connection."""
        ...

    def restore(self) -> None:
        """Bring it back."""
        ...


class Breakable(Protocol):
    """The server, for faults."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it lives on."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Run no callback while frozen."""
        ...

    def refresh_links(self) -> None:
        """Let every connection look again at what stands between it and the server."""
        ...

    def serve_all(self) -> None:
        """Let every consumer deliver what it can."""
        ...

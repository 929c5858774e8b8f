"""How the rest of the adapter sees a connection: commands go out, messages come in, both at once.

Two links play this role: `FastLink` (private attributes of a checked version of nats-py) and
`PlainLink` (public API of any). Both outlive the client: after a loss they restore subscriptions,
then send what was buffered, in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nats.aio.client import Client

from aixgo.broker.port import BusMessage
from aixgo.errors import BrokerError, Disconnected

BUFFER_BYTES = 8 * 1024 * 1024
"""What may wait for a lost connection; over it `Disconnected` tells the publisher."""

CONGESTED_BYTES = 1024 * 1024
"""Unwritten bytes over which a publisher waits for the socket."""


class Listener:
    """A subscription: what to restore after a loss, and whom to call.

    `on_message` runs inside the read loop, so it must be quick; the link keeps what it raises away
    from the client and hands it to `on_bug`.
    """

    __slots__ = ("ended", "limit", "on_message", "queue", "received", "refusal", "sid", "subject")

    def __init__(
        self,
        subject: str,
        on_message: Callable[[BusMessage], None],
        *,
        queue: str = "",
        limit: int = 0,
    ) -> None:
        self.subject = subject
        self.on_message = on_message
        self.queue = queue
        self.limit = limit
        self.received = 0
        self.sid = 0
        self.ended: Callable[[], None] | None = None
        """Called once when the subscription ends by its limit or is refused."""
        self.refusal: BrokerError | None = None

    def take(self, message: BusMessage) -> bool:
        """Hand over one message; whether it was the last one of the limit."""
        self.received += 1
        self.on_message(message)
        return bool(self.limit) and self.received >= self.limit


class Link(Protocol):
    """The sending and the receiving end of a connection."""

    on_bug: Callable[[BaseException, str], None]
    """Hears what a listener raised, and on which subject."""

    def new_client(self) -> Client:
        """Return a client that is not connected yet and will deliver to this link's listeners."""
        ...

    def attach(self, client: Client) -> None:
        """Use this client from now on; `restored` follows when it is up."""
        ...

    def restored(self) -> None:
        """The client is up (again): subscribe to everything, then send what was buffered."""
        ...

    def lost(self) -> None:
        """The client is down: buffer, and fail flushes that wait for an answer."""
        ...

    def close(self) -> None:
        """Drop what is buffered and forget all listeners."""
        ...

    def send(self, subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Send or buffer a message that was checked before.

        Raises:
            Disconnected: the buffer for a lost connection is full.
        """
        ...

    @property
    def congested(self) -> bool:
        """Whether a publisher should wait for `relieved` before the next message."""
        ...

    async def relieved(self) -> None:
        """Return when the socket has taken most of what waited, or the connection is down."""
        ...

    def listen(self, listener: Listener) -> None:
        """Subscribe; in force on the server before any later `send` is."""
        ...

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe at once."""
        ...

    async def retire(self, listener: Listener) -> None:
        """Unsubscribe, but hand over what the server has sent before it read that."""
        ...

    async def flush(self) -> None:
        """Return when the server has read everything sent before; unbounded, may be cancelled.

        Raises:
            Disconnected: the connection was lost meanwhile.
        """
        ...

    def listeners(self) -> list[Listener]:
        """Return every subscription in force."""
        ...


def buffer_is_full(subject: str, waiting: int) -> Disconnected:
    """Return the error of a publisher whose message no longer fits the buffer."""
    return Disconnected(
        f"the connection to the broker is down and {waiting:,} bytes wait to be sent, near the "
        f"limit of {BUFFER_BYTES:,} bytes; the message for {subject!r} was not taken. Try again "
        "when the broker is back"
    )

"""Everything that touches private attributes of nats-py, for speed and for its defects.

Messages go from the socket's bytes to a listener without a queue or a task between them, and
commands of one turn of the event loop leave in one write. Connecting, authentication, TLS and
reconnecting stay with nats-py. `available` says whether the installed version is the one that this
was written for; if not, `PlainLink` does the same work through the public API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client, __version__
from nats.aio.transport import TcpTransport, Transport
from nats.errors import ProtocolError

from aixgo.broker.nats.link import BUFFER_BYTES, CONGESTED_BYTES, Listener, buffer_is_full
from aixgo.broker.nats.wire import ReceivedHeaders, pub, sub, unsub
from aixgo.broker.port import NO_HEADERS, BusMessage
from aixgo.errors import Disconnected

CHECKED_VERSION = "2.16.0"

MAX_CONTROL_LINE = 64 * 1024
"""Bytes; only the INFO of a large cluster is over 4096, so a longer line is not the protocol."""

WRITE_BYTES = 64 * 1024
"""Unwritten bytes over which a command is not held back for the next turn of the loop."""

_PRIVATE = (
    "_ps",
    "_pongs",
    "_pings_outstanding",
    "_transport",
    "_status",
    "_reading_task",
    "_server_info",
    "_process_ping",
    "_process_pong",
    "_process_err",
    "_process_info",
)

_MSG, _HMSG = ord("M"), ord("H")


def missing_attributes() -> list[str]:
    """Return the private attributes of nats-py that are needed and not there."""
    client = Client()
    missing = [name for name in _PRIVATE if not hasattr(client, name)]
    return missing + [name for name in ("_io_writer",) if not hasattr(TcpTransport(), name)]  # type: ignore[no-untyped-call] # of nats-py


def available() -> bool:
    """Say whether the installed nats-py is the one whose private attributes are known."""
    return __version__ == CHECKED_VERSION and not missing_attributes()


def reader_is_dead(client: Client) -> bool:
    """Say whether a client that calls itself connected has stopped reading.

    nats-py's read loop ends on an exception in a callback, and nothing restarts it.
    """
    task = getattr(client, "_reading_task", None)
    return client.is_connected and task is not None and task.done()


def server_info(client: Client) -> dict[str, Any]:
    """Return what the server said about itself when it was connected to."""
    info: dict[str, Any] = getattr(client, "_server_info", {})
    return info


def is_encrypted(client: Client) -> bool:
    """Say whether the connection is TLS; nats-py takes a `tls://` address without it too."""
    transport = _socket_transport(client)
    return transport is not None and transport.get_extra_info("ssl_object") is not None


def abort(client: Client) -> None:
    """Drop the socket with what it has not sent.

    A reconnecting nats-py waits for a socket to close that waits for a dead peer to read.
    """
    transport = _socket_transport(client)
    if transport is not None:
        transport.abort()


def _socket_transport(client: Client | None) -> asyncio.WriteTransport | None:
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    return None if writer is None else writer.transport


class FastClient(Client):
    """A client whose late PONG finds a future that is done already and survives it."""

    async def _process_pong(self) -> None:
        if self._pongs:
            answered = self._pongs.pop(0)
            if not answered.done():
                answered.set_result(True)
        self._pings_outstanding = 0


class FastLink:
    """See `Link`; writes to the socket of a `FastClient` and parses what comes from it."""

    def __init__(self, on_bug: Callable[[BaseException, str], None]) -> None:
        self.on_bug = on_bug
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._up = False
        self._out: list[bytes] = []
        self._size = 0
        self._scheduled = False
        self._sid = 0
        self._listeners: dict[int, Listener] = {}
        self._flushes: set[asyncio.Future[bool]] = set()
        self.congested = False

    # -- life ----------------------------------------------------------------------------------

    def new_client(self) -> Client:
        client = FastClient()
        parser = _Parser(client, self._listeners, self._end, self.on_bug)
        client._ps = parser  # type: ignore[assignment] # the same methods, without a common base
        return client

    def attach(self, client: Client) -> None:
        self._client = client

    def restored(self) -> None:
        subscriptions = b"".join(
            sub(listener.subject, listener.queue, sid)
            + (unsub(sid, listener.limit - listener.received) if listener.limit else b"")
            for sid, listener in self._listeners.items()
        )
        self._out.insert(0, subscriptions)
        self._size += len(subscriptions)
        self._up = True
        self._write()

    def lost(self) -> None:
        self._up = False
        self.congested = False
        for flush in self._flushes:
            if not flush.done():
                flush.set_exception(Disconnected("the connection was lost during a flush"))

    def close(self) -> None:
        self.lost()
        self._client = None
        self._out.clear()
        self._listeners.clear()
        self._size = 0

    # -- out -----------------------------------------------------------------------------------

    def send(self, subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> None:
        command = pub(subject, reply, headers, data)
        if self._size + len(command) > BUFFER_BYTES and not self._writable():
            raise buffer_is_full(subject, self._size)
        self._push(command)

    def _push(self, command: bytes) -> None:
        self._out.append(command)
        self._size += len(command)
        if self._size > WRITE_BYTES:
            self._write()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._write()

    def _writable(self) -> Transport | None:
        """Return where to write; None while the connection is down."""
        client = self._client
        if not self._up or client is None or client._status != Client.CONNECTED:
            return None
        return client._transport

    def _write(self) -> None:
        transport = self._writable()
        if transport is None or not self._out:
            return
        waiting = self._out
        self._out, self._size = [], 0
        try:
            transport.write(b"".join(waiting))
            socket = _socket_transport(self._client)
            self.congested = socket is not None and socket.get_write_buffer_size() > CONGESTED_BYTES
        except (OSError, RuntimeError) as error:  # a socket that broke just now; as if sent
            self.on_bug(error, "")

    async def relieved(self) -> None:
        self.congested = False
        transport = self._writable()
        if transport is not None:
            try:
                await transport.drain()  # type: ignore[no-untyped-call] # of nats-py
            except OSError:
                return  # lost; what was written is gone, as with any publish

    # -- in ------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._sid += 1
        sid = listener.sid = self._sid
        self._listeners[sid] = listener
        if self._up:
            command = sub(listener.subject, listener.queue, sid)
            self._push(command + unsub(sid, listener.limit) if listener.limit else command)

    def unlisten(self, listener: Listener) -> None:
        if self._listeners.pop(listener.sid, None) is not None and self._up:
            self._push(unsub(listener.sid))

    async def retire(self, listener: Listener) -> None:
        if listener.sid not in self._listeners:
            return
        try:
            if self._up:
                self._push(unsub(listener.sid))
                await self.flush()
        finally:
            self._listeners.pop(listener.sid, None)

    def _end(self, listener: Listener) -> None:
        self._listeners.pop(listener.sid, None)
        if listener.ended is not None:
            listener.ended()

    async def flush(self) -> None:
        client, transport = self._client, self._writable()
        if client is None or transport is None:
            raise Disconnected("the connection to the broker is down")
        self._write()
        answered: asyncio.Future[bool] = self._loop.create_future()
        # the order of the list is the order on the socket, so nothing may come between these two
        client._pongs.append(answered)
        transport.write(b"PING\r\n")
        self._flushes.add(answered)
        try:
            await answered
        finally:
            self._flushes.discard(answered)

    def listeners(self) -> list[Listener]:
        return list(self._listeners.values())


class _Parser:
    """Reads the protocol; takes the place of nats-py's parser in a client."""

    def __init__(
        self,
        client: Client,
        listeners: dict[int, Listener],
        end: Callable[[Listener], None],
        on_bug: Callable[[BaseException, str], None],
    ) -> None:
        self._client = client
        self._listeners = listeners
        self._end = end
        self._on_bug = on_bug
        self._resets = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was half read: another connection begins."""
        self._resets += 1
        self._parts: list[bytes] = []
        self._missing = 0

    async def parse(self, data: bytes = b"") -> None:
        """Handle the bytes that have arrived; keep an incomplete rest for the next call."""
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts = []
        place = 0
        while place < len(data):
            end = data.find(b"\r\n", place)
            if end < 0:
                if len(data) - place > MAX_CONTROL_LINE:
                    raise ProtocolError
                self._keep(data, place, 1)
                return
            if data[place] in (_MSG, _HMSG):
                try:
                    after = self._message(data, place, end)
                except (ValueError, IndexError) as error:
                    raise ProtocolError from error  # nats-py reconnects on this one
                if after > len(data):
                    self._keep(data, place, after - len(data))
                    return
                place = after
            else:
                resets = self._resets
                await self._control(data[place:end])
                if self._resets != resets:
                    return
                place = end + 2

    def _keep(self, data: bytes, place: int, missing: int) -> None:
        self._parts = [data[place:]]
        self._missing = missing

    def _message(self, data: bytes, place: int, end: int) -> int:
        """Hand over the message at `place`; returns the place after it, even if not there yet."""
        words = data[place:end].split()
        size = int(words[-1])
        begin = end + 2
        after = begin + size + 2
        if after > len(data):
            return after
        listener = self._listeners.get(int(words[2]))
        if listener is None:
            return after
        if words[0] == b"MSG":
            reply = words[3].decode() if len(words) == 5 else ""
            message = BusMessage(words[1].decode(), data[begin : begin + size], reply, NO_HEADERS)
        else:
            body = begin + int(words[-2])
            reply = words[3].decode() if len(words) == 6 else ""
            message = BusMessage(
                words[1].decode(),
                data[body : begin + size],
                reply,
                ReceivedHeaders(data[begin:body]),
            )
        try:
            if listener.take(message):
                self._end(listener)
        except Exception as error:  # noqa: BLE001 # it would end the read loop of nats-py
            self._on_bug(error, message.subject)
        return after

    async def _control(self, line: bytes) -> None:
        word = line[:4].upper()
        if word == b"PING":
            await self._client._process_ping()
        elif word == b"PONG":
            await self._client._process_pong()
        elif word == b"-ERR":
            await self._client._process_err(line[4:].strip().decode("utf-8", "replace").lower())
        elif word == b"INFO":
            await self._client._process_info(json.loads(line[4:]))
        elif not line.startswith(b"+OK"):
            raise ProtocolError

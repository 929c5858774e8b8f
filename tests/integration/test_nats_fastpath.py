"""The fast path stands on private attributes of one version of nats-py; here is each of them."""

from __future__ import annotations

import asyncio
import inspect
from itertools import pairwise

import nats.aio.client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.transport import TcpTransport, Transport
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from aixgo.broker import BusMessage
from aixgo.broker.nats import NatsBroker, _fastpath
from aixgo.broker.nats._fastpath import FastClient, FastLink
from aixgo.broker.nats.link import Listener
from aixgo.broker.nats.plain import PlainLink
from aixgo.broker.nats.wire import DESCRIPTION, STATUS
from aixgo.testing.nats_server import NatsServer

# -- what is assumed about nats-py ---------------------------------------------------------------


def test_the_installed_nats_py_is_the_one_that_the_fast_path_was_made_for() -> None:
    assert nats.aio.client.__version__ == _fastpath.CHECKED_VERSION
    assert _fastpath.missing_attributes() == []
    assert _fastpath.available()


def test_every_private_attribute_is_missed_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        pass

    monkeypatch.setattr(_fastpath, "Client", Bare)
    monkeypatch.setattr(_fastpath, "TcpTransport", Bare)
    assert set(_fastpath.missing_attributes()) == {*_fastpath._PRIVATE, "_io_writer"}
    assert not _fastpath.available()


def test_the_parser_that_is_replaced_has_two_methods_that_the_client_calls() -> None:
    source = inspect.getsource(nats.aio.client)
    called = {part.split("(")[0] for part in source.split("self._ps.")[1:]}
    assert called == {"parse", "reset"}
    assert inspect.iscoroutinefunction(Parser.parse)
    assert not inspect.iscoroutinefunction(Parser.reset)


def test_the_handlers_of_control_lines_are_coroutines_with_the_known_arguments() -> None:
    for name, arguments in {
        "_process_ping": [],
        "_process_pong": [],
        "_process_err": ["err_msg"],
        "_process_info": ["info", "initial_connection"],
    }.items():
        handler = getattr(Client, name)
        assert inspect.iscoroutinefunction(handler), name
        assert list(inspect.signature(handler).parameters)[1:] == arguments, name


def test_a_client_keeps_its_pongs_in_a_list_and_its_state_in_the_known_places() -> None:
    client = Client()
    assert client._pongs == []
    assert client._pings_outstanding == 0
    assert client._transport is None
    assert client._reading_task is None
    assert client._server_info == {}
    assert client._status == Client.DISCONNECTED != Client.CONNECTED
    for name in ("write", "drain"):
        assert hasattr(Transport, name)
    assert TcpTransport()._io_writer is None  # type: ignore[no-untyped-call] # of nats-py


@pytest.mark.nats
async def test_a_connected_client_has_what_the_fast_path_reads(server: NatsServer) -> None:
    async with await NatsBroker.connect(server.url) as broker:
        client = broker._connection._client
        assert isinstance(client, FastClient)
        assert client._status == Client.CONNECTED
        assert _fastpath.server_info(client)["jetstream"] is True
        assert _fastpath.reader_is_dead(client) is False
        assert _fastpath.is_encrypted(client) is False
        assert _fastpath._socket_transport(client) is not None


@pytest.mark.nats
async def test_another_version_falls_back_to_the_public_api(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_fastpath, "__version__", "2.17.0")
    async with await NatsBroker.connect(server.url) as broker:
        assert isinstance(broker._link, PlainLink)
        assert type(broker._connection._client) is Client
        await broker.flush()
    assert "nats.slow_path" in caplog.text


# -- the parser ----------------------------------------------------------------------------------


class Heard:
    """A fast link without a socket: bytes in, messages and control lines out."""

    def __init__(self) -> None:
        self.bugs: list[BaseException] = []
        self.messages: list[BusMessage] = []
        self.control: list[str] = []
        self.link = FastLink(lambda error, _: self.bugs.append(error))
        self.client = self.link.new_client()
        for word in ("ping", "pong", "err", "info"):
            setattr(self.client, f"_process_{word}", self._noting(word))
        self.listener = Listener("a", self.messages.append)
        self.link.listen(self.listener)

    def _noting(self, word: str) -> object:
        async def note(*arguments: object) -> None:
            self.control.append(" ".join([word, *map(str, arguments)]))

        return note

    async def feed(self, data: bytes) -> None:
        await self.client._ps.parse(data)


WIRE = b"".join(
    [
        b"PING\r\n",
        b"MSG a.b 1 5\r\nhello\r\n",
        b"MSG a.b 1 reply.to 0\r\n\r\n",
        b"+OK\r\n",
        b"HMSG a 1 28 33\r\nNATS/1.0\r\nK: v:w\r\nEmpty:\r\n\r\nhello\r\n",
        b"-ERR 'Permissions Violation for Publish to \"X.y\"'\r\n",
        b"HMSG a 1 r 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n",
        b"MSG other 99 2\r\nxx\r\n",
        b'INFO {"ldm":true}\r\n',
        b"MSG a 1 12\r\nMSG a 1 2\r\n\r\r\n",
        b"PONG\r\n",
    ]
)
"""Everything that a server sends, with bodies that look like the protocol."""

MESSAGES = [
    BusMessage("a.b", b"hello"),
    BusMessage("a.b", b"", "reply.to"),
    BusMessage("a", b"hello", "", {"K": "v:w", "Empty": ""}),
    BusMessage("a", b"", "r", {STATUS: "503", DESCRIPTION: "No Responders"}),
    BusMessage("a", b"MSG a 1 2\r\n\r"),
]
CONTROL = [
    "ping",
    "err 'permissions violation for publish to \"x.y\"'",
    "info {'ldm': True}",
    "pong",
]


@given(st.lists(st.integers(1, len(WIRE) - 1), max_size=12))
def test_however_the_bytes_are_cut_the_same_messages_arrive(cuts: list[int]) -> None:
    async def feed() -> Heard:
        heard = Heard()
        places = [0, *sorted(cuts), len(WIRE)]
        for begin, end in pairwise(places):
            await heard.feed(WIRE[begin:end])
        return heard

    heard = asyncio.run(feed())
    assert heard.messages == MESSAGES
    assert heard.control == CONTROL
    assert heard.bugs == []


async def test_bytes_that_come_one_by_one_are_understood() -> None:
    heard = Heard()
    for place in range(len(WIRE)):
        await heard.feed(WIRE[place : place + 1])
    assert (heard.messages, heard.control) == (MESSAGES, CONTROL)


async def test_a_large_message_is_not_copied_for_every_piece_of_it() -> None:
    heard = Heard()
    body = bytes(4_000_000)
    await heard.feed(b"MSG a 1 %d\r\n" % len(body))
    pieces = 0
    for begin in range(0, len(body), 32_768):
        await heard.feed(body[begin : begin + 32_768])
        pieces = len(heard.client._ps._parts)  # type: ignore[attr-defined] # our own parser
    assert pieces > 100
    await heard.feed(b"\r\n")
    assert [len(message.data) for message in heard.messages] == [len(body)]


async def test_a_reset_forgets_what_was_half_read() -> None:
    heard = Heard()
    await heard.feed(b"MSG a 1 100\r\nhalf")
    heard.client._ps.reset()
    await heard.feed(b"MSG a 1 2\r\nok\r\n")
    assert [message.data for message in heard.messages] == [b"ok"]


async def test_a_reset_by_a_control_line_drops_the_rest_of_the_old_connection() -> None:
    heard = Heard()

    async def stale(err_msg: str) -> None:
        heard.client._ps.reset()

    heard.client._process_err = stale  # type: ignore[method-assign] # as nats-py does on its own
    await heard.feed(b"-ERR 'Stale Connection'\r\nMSG a 1 2\r\nno\r\nMSG a 1 9\r\nha")
    await heard.feed(b"MSG a 1 2\r\nok\r\n")
    assert [message.data for message in heard.messages] == [b"ok"]


@pytest.mark.parametrize("line", [b"HELLO\r\n", b"MSG a\r\n", b"\r\n", b"x" * 100_000])
async def test_what_is_no_protocol_ends_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await Heard().feed(line)


async def test_a_listener_that_raises_is_reported_and_the_next_message_is_read() -> None:
    heard = Heard()

    def raises(_: BusMessage) -> None:
        raise RuntimeError("bug")

    heard.link.listen(Listener("b", raises))
    await heard.feed(b"MSG b 2 1\r\nx\r\nMSG a 1 1\r\ny\r\n")
    assert [str(error) for error in heard.bugs] == ["bug"]
    assert [message.data for message in heard.messages] == [b"y"]


async def test_a_limit_ends_a_listener_in_the_middle_of_a_read() -> None:
    heard = Heard()
    taken: list[bytes] = []
    ended: list[bool] = []
    listener = Listener("b", lambda message: taken.append(message.data), limit=2)
    listener.ended = lambda: ended.append(True)
    heard.link.listen(listener)
    await heard.feed(b"".join(b"MSG b 2 1\r\n%d\r\n" % number for number in range(5)))
    assert (taken, ended) == ([b"0", b"1"], [True])


# -- writing -------------------------------------------------------------------------------------


@pytest.mark.nats
async def test_the_commands_of_one_turn_of_the_loop_leave_in_one_write(server: NatsServer) -> None:
    async with await NatsBroker.connect(server.url) as broker:
        writes: list[bytes] = []
        transport = broker._connection._client._transport  # type: ignore[union-attr] # connected
        write = transport.write  # type: ignore[union-attr] # connected

        def noting(data: bytes) -> None:
            writes.append(data)
            write(data)

        transport.write = noting  # type: ignore[union-attr, method-assign] # to watch it
        await broker.subscribe("reply", lambda _: None, limit=1)
        await broker.publish("a", b"question", reply="reply")
        assert writes == []
        await asyncio.sleep(0)
        assert len(writes) == 1
        assert writes[0].startswith(b"SUB reply ")
        assert b"\r\nUNSUB " in writes[0]
        assert writes[0].endswith(b"PUB a reply 8\r\nquestion\r\n")

"""The tool kind `websocket` against real servers: answers, streams, lost connections."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Agent, Context, Message
from aixgo.errors import (
    AddressBlocked,
    InvalidPayload,
    OutcomeUnknown,
    ToolError,
    ToolFailed,
    ToolNotDone,
    ToolUnavailable,
)
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually
from aixgo.tools.declared import build_tool
from aixgo.tools.kinds import Workshop
from aixgo.tools.websocket import tool as tool_module

from ._site import Site, answer, built, context, running_site, told, use

Talk = Callable[[web.WebSocketResponse, Any], Awaitable[None]]


@dataclass
class Far:
    """The far side: each message is handed to `talk`, as JSON if it is that."""

    url: str = ""
    talk: Talk | None = None
    got: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    refuse: list[int] = field(default_factory=list)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.refuse and (status := self.refuse.pop(0)):
            return web.Response(status=status, headers={"Location": "/there"})
        self.headers.append(dict(request.headers))
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            try:
                data = json.loads(message.data)
            except ValueError:
                data = message.data
            self.got.append(data)
            assert self.talk is not None
            await self.talk(socket, data)
        return socket


@asynccontextmanager
async def running_far(talk: Talk) -> AsyncGenerator[Far, None]:
    far = Far(talk=talk)
    runner = web.ServerRunner(web.Server(far.serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    far.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield far
    finally:
        for socket in far.sockets:
            await socket.close()
        await runner.cleanup()


async def echo(socket: web.WebSocketResponse, data: Any) -> None:
    await socket.send_json({"echo": data, **({"id": data["id"]} if "id" in data else {})})


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with running_far(echo) as running:
        yield running


CITY: dict[str, Any] = {"city": {"type": "string"}}


def tool_of(far: Far, /, **options: Any) -> Any:
    options = {"message": {"ask": "{city}"}, "parameters": CITY, "timeout": "5s", **options}
    return built("prices", type="websocket", url=far.url, allow_private=True, **options)


@asynccontextmanager
async def opened(tool: Any) -> AsyncGenerator[Any, None]:
    await tool.open()
    try:
        yield tool
    finally:
        await tool.close()


# -- one answer ------------------------------------------------------------------------------------


async def test_a_message_is_answered(far: Far) -> None:
    tool = tool_of(far, result="$.echo.ask", key_field="key", headers={"X-Key": "k-0123456789"})
    assert tool.spec.effect == "once"
    assert await use(tool, city='Oslo","x":1') == 'Oslo","x":1'
    assert far.got == [{"ask": 'Oslo","x":1', "key": context().idempotency_key}]
    assert far.headers[0]["X-Key"] == "k-0123456789"
    reads = tool_of(far, key_field="key", effect="read")
    assert await use(reads, city="Rome") == {"echo": {"ask": "Rome"}}


async def test_a_text_is_sent_and_read_as_it_is() -> None:
    async def shout(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.send_str(f"{data}!")

    async with running_far(shout) as far:
        assert await use(tool_of(far, message="say {city} {{}}"), city="hi") == "say hi {}!"
        with pytest.raises(ToolError, match="a message is not JSON: 'say hi!'"):
            await use(tool_of(far, message="say {city}", result="$.x"), city="hi")


async def test_bytes_are_text_or_an_error() -> None:
    async def send(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.send_bytes(b'{"a": 1}' if data["ask"] == "good" else b"\xff")

    async with running_far(send) as far:
        assert await use(tool_of(far), city="good") == {"a": 1}
        with pytest.raises(ToolError, match="a message of 1 bytes is neither JSON nor text"):
            await use(tool_of(far), city="bad")


async def test_a_refusal_of_the_far_side_is_final() -> None:
    async def refuse(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.send_json({"error": data["ask"] and {"code": 7}, "value": 1})

    async with running_far(refuse) as far:
        tool = tool_of(far, error="$.error", result="$.value")
        with pytest.raises(ToolNotDone, match=r'the far side refused: \{"code":7\}') as caught:
            await use(tool, city="x")
        assert not caught.value.retryable
        far.talk = lambda socket, _: socket.send_json({"error": None, "value": 1})
        assert await use(tool, city="") == 1


@given(city=st.text())
def test_no_argument_changes_the_message_but_its_own_place(city: str) -> None:
    tool = built(
        "t",
        type="websocket",
        url="wss://x.test/",
        message={"op": "get", "city": "{city}", "note": "at {city}"},
        id_field="id",
        parameters=CITY,
    )
    arguments = tool.arguments(msgspec.Raw(msgspec.json.encode({"city": city})))
    assert json.loads(tool._text(arguments, "7", "k")) == {
        "op": "get",
        "city": city,
        "note": f"at {city}",
        "id": "7",
    }


# -- one connection --------------------------------------------------------------------------------


async def test_requests_with_a_number_run_side_by_side_over_one_connection() -> None:
    waiting: list[Any] = []

    async def backwards(socket: web.WebSocketResponse, data: Any) -> None:
        waiting.append(data)
        await socket.send_json({"id": "of nobody", "echo": "stray"})
        await socket.send_str("noise")
        if len(waiting) == 5:
            for one in reversed(waiting):
                await echo(socket, one)

    async with running_far(backwards) as far:
        async with opened(tool_of(far, id_field="id", result="$.echo.ask")) as tool:
            cities = ["a", "b", "c", "d", "e"]
            found = await asyncio.gather(*(use(tool, city=city) for city in cities))
        assert found == cities
        assert len(far.headers) == 1
        assert len({one["id"] for one in far.got}) == 5


async def test_requests_without_a_number_take_turns(far: Far) -> None:
    async with opened(tool_of(far, result="$.echo.ask")) as tool:
        found = await asyncio.gather(*(use(tool, city=city) for city in "abc"))
    assert found == ["a", "b", "c"]
    assert len(far.headers) == 1


async def test_an_answer_that_comes_too_late_is_not_taken_for_another(far: Far) -> None:
    async def slow_first(socket: web.WebSocketResponse, data: Any) -> None:
        if data["ask"] != "slow":
            await socket.send_json({"echo": data})

    far.talk = slow_first
    async with opened(tool_of(far, result="$.echo.ask")) as tool:
        first = asyncio.create_task(use(tool, city="slow"))
        await eventually(lambda: far.got, bool, what="the message")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with suppress(ConnectionError, RuntimeError):
            await far.sockets[0].send_json({"echo": {"ask": "slow"}})
        assert await use(tool, city="b") == "b"
    assert len(far.headers) == 2


async def test_a_tool_that_is_not_open_has_a_connection_for_each_use(far: Far) -> None:
    tool = tool_of(far, result="$.echo.ask")
    assert [await use(tool, city=city) for city in "ab"] == ["a", "b"]
    assert len(far.headers) == 2
    await eventually(lambda: all(socket.closed for socket in far.sockets))


async def test_agents_share_the_connection_and_close_it(far: Far) -> None:
    tool = tool_of(far, result="$.echo.ask", id_field="id", effect="read")

    async def asks(message: Message, ctx: Context) -> Any:
        return await ctx.tool("prices", {"city": message.text})

    agents = [Agent("a", asks, tools=[tool]), Agent("b", asks, tools=[tool])]
    async with run_local(*agents) as local:
        assert [(await local.call(name, name)).text for name in "abab"] == ["a", "b", "a", "b"]
        assert len(far.headers) == 1
    await eventually(lambda: far.sockets[0].closed)
    assert tool._held == {}


async def test_a_lost_connection_is_opened_again(far: Far) -> None:
    async with opened(tool_of(far, result="$.echo.ask")) as tool:
        assert await use(tool, city="a") == "a"
        await far.sockets[0].close()
        await eventually(lambda: not tool._held[asyncio.get_running_loop()].wire.usable)
        assert await use(tool, city="b") == "b"
    assert len(far.headers) == 2


@pytest.mark.parametrize("id_field", ["", "id"])
async def test_a_far_side_that_goes_after_the_message_leaves_it_unknown(id_field: str) -> None:
    async def hang_up(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.close(code=1011)

    async with running_far(hang_up) as far, opened(tool_of(far, id_field=id_field)) as tool:
        with pytest.raises(OutcomeUnknown, match=r"after the message was sent \(closed with code"):
            await use(tool, city="x")


async def test_a_far_side_that_is_killed_leaves_it_unknown(far: Far) -> None:
    async def abort(socket: web.WebSocketResponse, data: Any) -> None:
        transport = socket._req.transport if socket._req else None
        assert transport is not None
        transport.abort()

    far.talk = abort
    async with opened(tool_of(far)) as tool:
        with pytest.raises(OutcomeUnknown, match="after the message was sent"):
            await use(tool, city="x")


async def test_a_far_side_that_no_longer_answers_pings_is_gone() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line[19:] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = base64.b64encode(hashlib.sha1(key.strip().encode() + magic).digest()).decode()
        writer.write(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {digest}\r\n\r\n".encode()
        )
        while await reader.read(1000):
            pass
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    far = Far(url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    try:
        async with opened(tool_of(far, heartbeat="50ms")) as tool:
            with pytest.raises(OutcomeUnknown, match="after the message was sent"):
                await use(tool, city="x")
    finally:
        server.close()


# -- no connection ---------------------------------------------------------------------------------


async def test_a_refused_connection_is_told_and_not_tried_at_once_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tool_module, "_FIRST_PAUSE_SECONDS", 300.0)
    monkeypatch.setattr(tool_module, "_LONGEST_PAUSE_SECONDS", 300.0)
    gone = Far(url="ws://127.0.0.1:1/")
    async with opened(tool_of(gone)) as tool:
        with pytest.raises(ToolUnavailable, match=r"\(Connection refused\), so nothing was sent"):
            await use(tool, city="x")
        with pytest.raises(
            ToolUnavailable, match=r"refused.* next attempt is in \d+\.\d s"
        ) as caught:
            await use(tool, city="x")
        assert 0 < (caught.value.retry_after or 0) <= 300.0


@pytest.mark.parametrize(
    ("status", "retryable"), [(401, False), (404, False), (429, True), (503, True)]
)
async def test_a_handshake_that_is_refused_means_that_nothing_happened(
    far: Far, status: int, retryable: bool
) -> None:
    far.refuse = [status]
    tool = tool_of(far, headers={"Authorization": "Bearer tok-0123456789"})
    with pytest.raises(ToolNotDone, match=f"answered {status} instead of opening") as caught:
        await use(tool, city="x")
    assert caught.value.retryable is retryable
    error: BaseException | None = caught.value
    while error is not None:
        assert "tok-0123456789" not in f"{error} {error!r}"
        error = error.__cause__


@pytest.mark.parametrize("location", ["/there", "http://localhost:1/", "http://169.254.169.254/"])
async def test_a_handshake_is_not_redirected(location: str) -> None:
    async with running_site() as site:
        site.will(answer("", status=302, Location=location))
        far = Far(url=site.url.replace("http", "ws"))
        with pytest.raises(ToolNotDone, match="answered 302 instead of opening a WebSocket; write"):
            await use(tool_of(far), city="x")
        assert len(site.seen) == 1


async def test_a_handshake_that_hangs_is_given_up_before_anything_is_sent() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    far = Far(url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    try:
        with pytest.raises(ToolUnavailable, match="no connection in time"):
            await use(tool_of(far, connect_timeout="50ms"), city="x")
    finally:
        server.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_guard_stands_here_too(far: Far, host: str) -> None:
    url = far.url.replace("127.0.0.1", host)
    tool = built("t", type="websocket", url=url, message={"a": 1})
    with pytest.raises(AddressBlocked, match="loopback address"):
        await use(tool)
    assert far.headers == []


async def test_a_far_side_that_is_silent_ends_with_the_tools_time() -> None:
    async def silent(socket: web.WebSocketResponse, data: Any) -> None:
        return None

    async with running_far(silent) as far:
        tool = tool_of(far, timeout="500ms", effect="read", retry={"max_attempts": 1})

        async def asks(message: Message, ctx: Context) -> str:
            with pytest.raises(ToolFailed, match=r"did not finish within 0\.5 s") as caught:
                await ctx.tool("prices", {"city": "x"})
            return caught.value.cause

        async with run_local(Agent("a", asks, tools=[tool])) as local:
            assert (await local.call("a", "go")).text == "tool_timeout"


# -- streams ---------------------------------------------------------------------------------------


def streaming(*messages: Any) -> Talk:
    async def stream(socket: web.WebSocketResponse, data: Any) -> None:
        for one in messages:
            if isinstance(one, str):
                await socket.send_str(one)
            else:
                await socket.send_json(one | ({"id": data["id"]} if "id" in data else {}))

    return stream


async def test_a_stream_is_collected_up_to_its_end() -> None:
    async with running_far(streaming("a", '{"b": 1}', "c", "[DONE]", "d")) as far:
        tool = tool_of(far, end="[DONE]")
        assert await use(tool, city="x") == ["a", {"b": 1}, "c"]
    words = [{"word": "one "}, {"type": "ping"}, {"word": "two"}, {"type": "end", "word": "!"}]
    async with running_far(streaming(*words)) as far:
        options = {"end": {"type": "end"}, "result": "$.word", "id_field": "id"}
        assert await use(tool_of(far, **options), city="x") == ["one ", "two", "!"]
        assert await use(tool_of(far, join="", **options), city="x") == "one two!"
        whole = tool_of(far, end={"$.type": "end", "word": "!"})
        assert await use(whole, city="x") == words[:3]
        assert await use(tool_of(far, end={"type": "end"}, join="-"), city="x") == (
            '{"word":"one "}-{"type":"ping"}-{"word":"two"}'
        )


async def test_streams_run_side_by_side() -> None:
    asked: list[Any] = []

    async def two(socket: web.WebSocketResponse, data: Any) -> None:
        asked.append(data)
        if len(asked) == 2:
            for word in ("1", "2"):
                for one in asked:
                    await socket.send_json({"id": one["id"], "word": one["ask"] + word})
            for one in asked:
                await socket.send_json({"id": one["id"], "done": True})

    async with running_far(two) as far:
        options = {"end": {"done": True}, "result": "$.word", "id_field": "id", "join": " "}
        async with opened(tool_of(far, **options)) as tool:
            found = await asyncio.gather(*(use(tool, city=city) for city in "ab"))
    assert found == ["a1 a2", "b1 b2"]


async def test_a_stream_without_an_end_is_bounded() -> None:
    async with running_far(streaming(*[{"n": n} for n in range(20)])) as far:
        with pytest.raises(ToolError, match="more than 10 messages came and no end marker"):
            await use(tool_of(far, end="x", max_messages=10), city="x")
    async with running_far(streaming(*["y" * 500] * 20)) as far:
        with pytest.raises(ToolError, match=r"more than 1,024 bytes came, which is the limit"):
            await use(tool_of(far, end="x", max_body=1024), city="x")
    async with running_far(streaming("z" * 5_000)) as far:
        with pytest.raises(ToolError, match=r"sent a message of more than 1,024 bytes"):
            await use(tool_of(far, max_body=1024), city="x")


async def test_a_stream_that_breaks_off_leaves_it_unknown() -> None:
    async def break_off(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.send_str("a")
        await socket.close()

    async with running_far(break_off) as far:
        with pytest.raises(OutcomeUnknown):
            await use(tool_of(far, end="x"), city="x")


async def test_no_value_shows_a_secret_that_the_far_side_repeats(far: Far) -> None:
    async def tells(socket: web.WebSocketResponse, data: Any) -> None:
        await socket.send_json(far.headers[-1])

    far.talk = tells
    tool = tool_of(far, headers={"Authorization": "Bearer tok-0123456789"})
    value = await use(tool, city="x")
    assert "tok-0123456789" not in str(value)
    assert far.headers[-1]["Authorization"] == "Bearer tok-0123456789"


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ({"url": "https://x.test"}, "url", "needs ws:// or wss:// and a host"),
        ({"url": "wss://u:hunter2@x.test/"}, "url", "such as wss://api.example.com"),
        ({"url": "wss://x.test/{city}"}, "url", "so values go into `message`"),
        ({"url": "wss://x.test/#a"}, "url", "is never sent"),
        ({"url": "wss:///x"}, "url", "is not the beginning of a URL"),
        ({"message": {"a": "{town}"}}, "message", "{town} is not a parameter of the tool; known"),
        ({"message": {"a": "}"}}, "message", "write '{{'"),
        ({"message": {"a": 1}}, "parameters", "'city' goes nowhere"),
        ({"message": "{city}", "id_field": "id"}, "message", "a text cannot get the member 'id'"),
        ({"message": {"id": 1}, "id_field": "id"}, "message", "itself sets the member 'id'"),
        ({"message": "{city}", "required": []}, "message", "it must always be there"),
        ({"join": ""}, "join", "is for streams; add `end`"),
        ({"max_messages": 5}, "max_messages", "is for streams; add `end`"),
        ({"end": ""}, "end", "marks nothing"),
        ({"end": {"$.a[": 1}}, "end", "is not a JSON path"),
        ({"result": "x"}, "result", "is not a JSON path"),
        ({"error": "x"}, "error", "is not a JSON path"),
        ({"headers": {"Upgrade": "x"}}, "headers", "belongs to the connection"),
    ],
)
def test_a_wrong_declaration_is_told_with_its_key(
    options: dict[str, Any], key: str, text: str
) -> None:
    given = {"type": "websocket", "name": "t", "url": "wss://x.test/", "parameters": CITY}
    given |= {"message": {"ask": "{city}"}, **options}
    found, problems = build_tool(given, Workshop())
    assert found is None
    ((loc, said),) = told(problems)
    assert loc == (key,)
    assert text in said
    assert "hunter2" not in said


async def test_arguments_that_do_not_fit_are_refused_before_anything_happens(far: Far) -> None:
    for arguments in ({}, {"city": 5}, {"city": "x", "town": "y"}):
        with pytest.raises(InvalidPayload):
            await use(tool_of(far), **arguments)
    assert far.headers == []


async def test_a_site_without_websockets_is_told() -> None:
    async with running_site() as site:
        far = Far(url=site.url.replace("http", "ws"))
        with pytest.raises(ToolNotDone, match="answered 200 instead of opening a WebSocket"):
            await use(tool_of(far), city="x")
        assert isinstance(site, Site)

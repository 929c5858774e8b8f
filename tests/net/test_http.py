"""The tool kind `http` against real servers: requests, values, and every way to fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from aixgo import Agent, Context, Message
from aixgo.errors import (
    AixgoError,
    InvalidPayload,
    OutcomeUnknown,
    ToolError,
    ToolFailed,
    ToolNotDone,
    ToolUnavailable,
)
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

from ._site import Site, answer, built, context, running_site, use

SECRET = 'tok-91ab7"c/{d}%'


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


def tool_of(site: Site, /, **options: Any) -> Any:
    path = options.pop("path", "/weather/{city}")
    options.setdefault("parameters", {"city": {"type": "string"}} if "{city}" in path else {})
    return built(url=site.url + path, allow_private=True, **options)


# -- requests --------------------------------------------------------------------------------------


async def test_a_get_puts_values_where_the_template_says(site: Site) -> None:
    tool = tool_of(
        site,
        path="/weather/{city}/days?wsdl&lang=de%20AT&unit={unit}",
        query={"tag": "{tags}", "exact": True, "near": "near {city}"},
        headers={"X-Tenant": "tenant-{unit}", "Accept": "application/json"},
        parameters={
            "city": {"type": "string"},
            "unit": {"type": "string", "default": "metric"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        required=["city"],
    )
    assert await use(tool, city="São Paulo/x?y=z&a#b", tags=["a b", "c&d"]) == {"ok": True}
    (seen,) = site.seen
    assert (seen.method, seen.body) == ("GET", b"")
    assert seen.target == (
        "/weather/S%C3%A3o%20Paulo%2Fx%3Fy%3Dz%26a%23b/days?wsdl&lang=de%20AT&unit=metric"
        "&tag=a%20b&tag=c%26d&exact=true&near=near%20S%C3%A3o%20Paulo%2Fx%3Fy%3Dz%26a%23b"
    )
    assert seen.headers["X-Tenant"] == "tenant-metric"
    assert seen.headers["Accept"] == "application/json"
    assert "Idempotency-Key" not in seen.headers
    await use(tool, city="Oslo")  # a parameter that is not given leaves its member out
    assert site.seen[1].target == (
        "/weather/Oslo/days?wsdl&lang=de%20AT&unit=metric&exact=true&near=near%20Oslo"
    )


async def test_a_json_body_holds_values_and_never_pasted_text(site: Site) -> None:
    tool = tool_of(
        site,
        path="/orders",
        method="POST",
        body={
            "item": "{item}",
            "count": "{count}",
            "note": "for {item}, {{as is}}",
            "lines": ["{item}", "{gift}", {"deep": ["{count}"]}],
            "gift": "{gift}",
            "fixed": [1, None, True],
        },
        parameters={
            "item": {"type": "string"},
            "count": {"type": "integer"},
            "gift": {"type": "object"},
        },
        required=["item", "count"],
    )
    nasty = '","admin":true,"x":"{count}\n'
    await use(tool, item=nasty, count=3)
    (seen,) = site.seen
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.json == {
        "item": nasty,
        "count": 3,
        "note": f"for {nasty}, {{as is}}",
        "lines": [nasty, {"deep": [3]}],
        "fixed": [1, None, True],
    }
    await use(tool, item="lamp", count=1, gift={"to": "Ann"})
    assert site.seen[1].json["gift"] == {"to": "Ann"}
    assert site.seen[1].json["lines"][1] == {"to": "Ann"}


async def test_a_form_and_a_text_are_bodies_too(site: Site) -> None:
    form = tool_of(
        site,
        path="/form",
        method="POST",
        form={"name": "{name}", "n": 5},
        parameters={"name": {"type": "string"}},
    )
    await use(form, name="a&admin=1")
    assert site.seen[0].body == b"name=a%26admin%3D1&n=5"
    assert site.seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    text = tool_of(
        site,
        path="/text",
        method="PUT",
        text="Dear {name},\n{{}}",
        headers={"content-type": "text/markdown"},
        parameters={"name": {"type": "string"}},
    )
    await use(text, name="Zoë")
    assert site.seen[1].body.decode() == "Dear Zoë,\n{}"
    assert site.seen[1].headers["Content-Type"] == "text/markdown"


@pytest.mark.parametrize(
    ("method", "effect", "keyed"),
    [
        ("GET", "read", False),
        ("HEAD", "read", False),
        ("OPTIONS", "read", False),
        ("PUT", "idempotent", True),
        ("DELETE", "idempotent", True),
        ("POST", "once", True),
        ("PATCH", "once", True),
    ],
)
async def test_the_method_says_the_effect_and_what_may_be_repeated_has_a_key(
    site: Site, method: str, effect: str, keyed: bool
) -> None:
    tool = tool_of(site, path="/x", method=method)
    assert tool.spec.effect == effect
    await use(tool)
    key = context().idempotency_key
    assert site.seen[0].headers.get("Idempotency-Key") == (key if keyed else None)
    other = tool_of(site, path="/x", method=method, effect="once", idempotency_header="X-Request")
    assert other.spec.effect == "once"
    await use(other)
    assert site.seen[1].headers["X-Request"] == key
    none = tool_of(site, path="/x", method=method, effect="once", idempotency_header="")
    await use(none)
    assert key not in site.seen[2].headers.values()


async def test_a_see_other_after_a_post_is_got(site: Site) -> None:
    site.will(answer("", status=303, Location="/made/7"), answer({"id": 7}))
    tool = tool_of(site, path="/made", method="POST", body={"a": 1}, headers={"X-Key": "k" * 20})
    assert await use(tool) == {"id": 7}
    second = site.seen[1]
    assert (second.method, second.target, second.body) == ("GET", "/made/7", b"")
    assert second.headers["X-Key"] == "k" * 20
    assert "Idempotency-Key" not in second.headers
    assert "Content-Type" not in second.headers


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        (b'{"now": {"c": 7}}', "application/json; charset=utf-8", {"now": {"c": 7}}),
        (b"[1, 2]", "application/problem+json", [1, 2]),
        (b"", "application/json", None),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", {"a": 1}),
        (b"{oops", "application/json", "{oops"),
        (b"12", "text/plain", "12"),
        ("grüezi".encode("latin-1"), "text/plain; charset=latin-1", "grüezi"),
        ("grüezi".encode(), "text/plain; charset=no-such", "grüezi"),
        (b"\xff", "text/plain", "\ufffd"),
        (b"<p>hi</p>", "text/html", "<p>hi</p>"),
    ],
)
async def test_a_value_is_the_json_or_the_text(
    site: Site, body: bytes, kind: str, value: Any
) -> None:
    site.will(web.Response(body=body, headers={"Content-Type": kind}))
    assert await use(tool_of(site, path="/")) == value


async def test_what_is_neither_json_nor_text_is_an_error(site: Site) -> None:
    site.will(web.Response(body=b"\x89PNG....", content_type="image/png"))
    with pytest.raises(ToolError, match=r"is image/png \(8 bytes\), neither JSON nor text"):
        await use(tool_of(site, path="/"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", {"now": {"c": 7}, "days": [{"c": 1}, {"c": 2}]}),
        ("$.now", {"c": 7}),
        ("$.now.c", 7),
        ("$['days'][-1].c", 2),
        ("$.days[*].c", [1, 2]),
        ("$.days[?@.c > 5]", []),
    ],
)
async def test_the_result_path_chooses_the_value(site: Site, path: str, value: Any) -> None:
    whole = {"now": {"c": 7}, "days": [{"c": 1}, {"c": 2}]}
    site.will(answer(whole))
    assert await use(tool_of(site, path="/", result=path)) == value
    text = answer(json.dumps(whole), Content_Type="text/plain")  # a server that does not say so
    site.will(text)
    assert await use(tool_of(site, path="/", result=path)) == value


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (answer({"then": 1, "later": 2}), r"\$\.now finds nothing .* members are 'then', 'later'"),
        (answer([1]), r"\$\.now finds nothing in the answer; it is \[1\]"),
        (answer("<p>maintenance</p>"), "is not JSON: 'maintenance'"),
        (answer(""), "and the body is empty"),
    ],
)
async def test_a_path_that_finds_nothing_says_what_is_there(
    site: Site, reply: web.Response, text: str
) -> None:
    site.will(reply)
    with pytest.raises(ToolError, match=text) as caught:
        await use(tool_of(site, path="/", result="$.now"))
    assert not caught.value.retryable


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip bomb"])
async def test_an_answer_over_the_limit_is_not_read_to_its_end(site: Site, packed: bool) -> None:
    body = b" " * 20_000_000
    more = {"Content-Encoding": "gzip"} if packed else {}
    site.will(web.Response(body=gzip.compress(body) if packed else body, headers=more))
    with pytest.raises(ToolError, match=r"answered 200 with more than 50,000 bytes, which is the"):
        await use(tool_of(site, path="/", max_body=50_000))


# -- what a status means ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 451, 501])
async def test_a_refusal_is_final_and_says_what_the_server_said(site: Site, status: int) -> None:
    site.will(answer({"error": {"message": "no\n such \x07 city"}}, status=status))
    with pytest.raises(ToolNotDone) as caught:
        await use(tool_of(site, path="/", method="POST"))
    assert str(caught.value) == f"tool 'weather': {site.url} answered {status}: no such city"
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_a_server_that_did_not_begin_is_asked_again_when_it_says(
    site: Site, status: int
) -> None:
    for header, seconds in (("7", 7.0), ("86400", 60.0), ("soon", None)):
        site.will(answer("later", status=status, Retry_After=header))
        with pytest.raises(ToolNotDone) as caught:
            await use(tool_of(site, path="/", method="POST"))
        assert caught.value.retryable
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize("status", [500, 502, 504, 520])
async def test_a_server_that_failed_may_have_done_it(site: Site, status: int) -> None:
    site.will(answer("<h1>oh</h1><style>x{}</style>", status=status, Retry_After="3"))
    with pytest.raises(OutcomeUnknown, match=f"answered {status}: oh; whether it was done") as e:
        await use(tool_of(site, path="/", method="POST"))
    assert (e.value.retryable, e.value.retry_after) == (True, 3.0)


async def test_a_redirect_after_a_post_says_whether_it_was_done(site: Site) -> None:
    tool = tool_of(site, path="/", method="POST", follow="never")
    site.will(answer("", status=307, Location="/x"), answer("", status=303, Location="/x"))
    with pytest.raises(ToolNotDone, match="answered 307"):
        await use(tool)
    with pytest.raises(ToolError, match="answered 303") as caught:
        await use(tool)
    assert not isinstance(caught.value, ToolNotDone)


async def test_a_long_error_page_is_cut(site: Site) -> None:
    site.will(answer("x" * 900_000, status=404))
    with pytest.raises(ToolNotDone) as caught:
        await use(tool_of(site, path="/"))
    assert 300 < len(str(caught.value)) < 500


# -- connections -----------------------------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncGenerator[str, None]:
    """Run a server that speaks bytes; yields its URL."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_refused_connection_means_that_nothing_happened(method: str) -> None:
    tool = built(url=f"http://127.0.0.1:{free_port()}/", method=method, allow_private=True)
    with pytest.raises(ToolUnavailable, match=r"\(Connection refused\), so nothing was sent"):
        await use(tool)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("effect", ["read", "once"])
async def test_a_server_that_hangs_up_leaves_it_unknown_and_once_is_sent_once(
    method: str, effect: str
) -> None:
    heads: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))

    async with raw_server(hang_up) as url:
        tool = built(url=url, method=method, effect=effect, allow_private=True)
        with pytest.raises(OutcomeUnknown, match="after the request was sent"):
            await use(tool)
    assert len(heads) == 1 or (effect == "read" and method != "POST")


async def test_an_answer_that_breaks_off_leaves_it_unknown() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

    async with raw_server(break_off) as url:
        with pytest.raises(OutcomeUnknown):
            await use(built(url=url, method="POST", allow_private=True))


async def test_what_is_not_http_leaves_it_unknown() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with raw_server(nonsense) as url:
        with pytest.raises(OutcomeUnknown, match="lost the connection"):
            await use(built(url=url, method="POST", allow_private=True))


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    try:
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.005)
    except ConnectionError:
        pass


@pytest.mark.parametrize("handler", [hang, drip])
async def test_a_server_that_hangs_or_drips_ends_with_the_tools_time(handler: Handler) -> None:
    async with raw_server(handler) as url:
        tool = built(
            "slow", url=url, allow_private=True, timeout="500ms", retry={"max_attempts": 1}
        )

        async def asks(message: Message, ctx: Context) -> str:
            with pytest.raises(ToolFailed, match=r"did not finish within 0\.5 s") as caught:
                await ctx.tool("slow")
            return caught.value.cause

        async with run_local(Agent("a", asks, tools=[tool])) as local:
            assert (await local.call("a", "go")).text == "tool_timeout"


async def test_connections_are_kept_while_an_agent_is_served(site: Site) -> None:
    tool = tool_of(site, path="/", parameters={})
    for _ in range(2):
        await use(tool)
    assert len(site.connections) == 2  # not open: each execution has its own
    site.connections.clear()
    await tool.open()
    await tool.open()
    for _ in range(3):
        await use(tool)
    await tool.close()
    await use(tool)
    assert len(site.connections) == 1
    await tool.close()
    site.connections.clear()
    once = tool_of(site, path="/", method="POST")
    await once.open()
    for _ in range(2):
        await use(once)
    await once.close()
    assert len(site.connections) == 2  # a kept one may be closed just when it is used


async def test_an_agent_opens_and_closes_the_connections_of_its_tools(site: Site) -> None:
    tool = tool_of(site, path="/", parameters={})

    async def asks(message: Message, ctx: Context) -> str:
        for key in "abc":
            await ctx.tool("weather", key=key)
        return "done"

    async with run_local(Agent("a", asks, tools=[tool])) as local:
        await local.call("a", "go")
        assert len(site.connections) == 1
    assert tool._web._held == {}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_step_waits_as_long_as_the_server_asks(site: Site, method: str) -> None:
    site.will(answer("busy", status=429, Retry_After="0.2"), answer({"paid": 1}))
    tool = tool_of(site, path="/pay", method=method, retry={"initial_backoff": "1ms"})
    waited: list[float] = []

    async def pays(message: Message, ctx: Context) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        value = await ctx.tool("weather")
        waited.append(loop.time() - began)
        return value

    async with run_local(Agent("a", pays, tools=[tool])) as local:
        assert (await local.call("a", "go")).data == {"paid": 1}
    assert waited[0] >= 0.2
    keys = [one.headers.get("Idempotency-Key") for one in site.seen]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert (keys[0] is None) == (method == "GET")


# -- runs ------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
def broker(request: pytest.FixtureRequest) -> str:
    return "memory" if request.param == "memory" else request.getfixturevalue("nats_server").url


async def hung_up(request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("what", ["502", "hangs up", "not JSON"])
async def test_a_payment_whose_end_was_not_seen_is_not_made_again(
    site: Site, broker: str, what: str
) -> None:
    ways: dict[str, Any] = {
        "502": answer("bad gateway", status=502),
        "hangs up": hung_up,
        "not JSON": answer("<p>thank you</p>"),
    }
    site.will(ways[what])
    tool = tool_of(site, path="/pay", method="POST", result="$.receipt", timeout="500ms")

    async def pays(message: Message, ctx: Context) -> Any:
        return await ctx.tool("weather")

    async with run_local(Agent("a", pays, tools=[tool]), broker=broker) as local:
        run = await local.send("a", "go", timeout=600)
        (question,) = await eventually(lambda: local.questions(run))
        assert question.options == ("done", "not done")
        error = question.question["error"]
        assert site.url in error
        assert "502" in error or "lost the connection" in error or "is not JSON" in error
        await local.answer(run, {"done": "receipt 7"})
        result = await local.result("a", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "receipt 7"
    assert len(site.seen) == 1


@pytest.mark.parametrize("status", [400, 503])
async def test_a_payment_that_was_refused_asks_nobody(site: Site, broker: str, status: int) -> None:
    site.will(answer({"message": "no"}, status=status), answer({"message": "no"}, status=400))
    tool = tool_of(site, path="/pay", method="POST", retry={"initial_backoff": "1ms"})

    async def pays(message: Message, ctx: Context) -> Any:
        with pytest.raises(ToolFailed, match=r"answered 400: no") as caught:
            await ctx.tool("weather")
        return caught.value.cause

    async with run_local(Agent("a", pays, tools=[tool]), broker=broker) as local:
        assert (await local.call("a", "go")).text == "tool_not_done"
        assert await local.questions() == []
    assert len(site.seen) == (1 if status == 400 else 2)


# -- secrets ---------------------------------------------------------------------------------------


async def test_no_error_record_or_log_shows_a_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url_key, query_key, body_key = "path-secret-0123456789", "query-secret-0123456789", "b" * 24
    options: dict[str, Any] = {
        "path": f"/bot{url_key}/send",
        "method": "POST",
        "query": {"api_key": query_key},
        "body": {"password": body_key},
        "headers": {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET},
        "retry": {"max_attempts": 1},
    }
    tool = tool_of(site, **options)
    hidden = (SECRET, url_key, query_key, body_key)

    async def tells_all(request: web.BaseRequest) -> web.StreamResponse:
        told = f"{request.raw_path} {dict(request.headers)} {(await request.read()).decode()}"
        return answer({"error": told}, status=status)

    texts: list[str] = [repr(tool)]
    for code in (400, 403, 500, 503):
        status = code
        site.will(tells_all)
        with pytest.raises(AixgoError) as caught:
            await use(tool)
        error: BaseException | None = caught.value
        while error is not None:
            texts += [str(error), repr(error)]
            error = error.__cause__
    down = tool_of(Site(url=f"http://127.0.0.1:{free_port()}"), **options)
    with pytest.raises(ToolUnavailable) as gone:
        await use(down)
    texts.append(str(gone.value))

    async def asks(message: Message, ctx: Context) -> Any:
        return await ctx.tool("weather")

    status = 200
    site.will(tells_all)
    async with run_local(Agent("a", asks, tools=[tool])) as local:
        reply = await local.call("a", "go")
    texts += [str(reply.data), caplog.text]
    for text in texts:
        assert SECRET not in text
        assert json.dumps(SECRET)[1:-1] not in text
    for secret in hidden:
        assert all(secret not in text for text in texts[:-2])
    assert site.seen[-1].headers["Authorization"] == f"Bearer {SECRET}"  # it was sent


async def test_what_is_not_secret_is_not_masked(site: Site) -> None:
    tool = tool_of(
        site,
        path="/",
        headers={"Accept": "application/vnd.api+json", "X-Client": "the-agents-of-production"},
    )
    told = {"kind": "application/xml", "client": "the-agents-of-production"}
    site.will(answer(told), answer({"error": "send application/xml"}, status=415))
    assert await use(tool) == told
    with pytest.raises(ToolNotDone, match="answered 415: send application/xml"):
        await use(tool)


async def test_arguments_that_do_not_fit_are_refused_before_anything_happens(site: Site) -> None:
    tool = tool_of(site)
    for arguments in ({}, {"city": 5}, {"city": "x", "town": "y"}, {"city": ""}, {"city": ".."}):
        with pytest.raises(InvalidPayload):
            await use(tool, **arguments)
    assert site.seen == []


async def test_a_run_that_is_cancelled_closes_the_connection(site: Site) -> None:
    gone = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    site.will(wait)
    task = asyncio.create_task(use(tool_of(site, path="/")))
    await eventually(lambda: site.seen, bool, what="the request")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

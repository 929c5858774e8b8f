"""A web server on loopback whose answers are programmed, and the context of a tool's execution."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from aixgo import clock
from aixgo.config.problems import Problem, UnknownKey
from aixgo.testing.waiting import PATIENCE_SECONDS
from aixgo.tools import ToolContext
from aixgo.tools.declared import build_tool
from aixgo.tools.kinds import Workshop

Answer = web.StreamResponse | Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Site:
    """Answers on order; afterwards with `{"ok": true}`."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    connections: set[Any] = field(default_factory=set)

    def will(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = request.transport and request.transport.get_extra_info("peername")
        self.connections.add(peer)
        body = await request.read()
        headers = dict(request.headers)
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        answer = self.answers.popleft() if self.answers else web.json_response({"ok": True})
        return answer if isinstance(answer, web.StreamResponse) else await answer(request)


@asynccontextmanager
async def running_site(host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Site, None]:
    site = Site()
    server = web.Server(site.answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    place = web.TCPSite(runner, host, port)
    await place.start()
    site.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        await runner.cleanup()


def answer(body: bytes | str | Any, *, status: int = 200, **headers: str) -> web.Response:
    """Return an answer: bytes and texts as they are, everything else as JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, bytes | str):
        named.setdefault("Content-Type", "application/json")
        body = msgspec.json.encode(body)
    return web.Response(body=body, status=status, headers=named)


def built(name: str = "weather", /, **options: Any) -> Any:
    """Return a tool, or a source of tools, as a document declares it."""
    found, problems = build_tool({"name": name, "type": "http", **options}, Workshop())
    assert problems == [], [str(problem) for problem in problems]
    assert found is not None
    return found


def wrong(**options: Any) -> list[tuple[tuple[Any, ...], str]]:
    """Return the place and the text of each thing that is wrong with a declaration."""
    found, problems = build_tool({"name": "weather", "type": "http", **options}, Workshop())
    assert found is None
    return told(problems)


def told(problems: list[Problem]) -> list[tuple[tuple[Any, ...], str]]:
    return [
        (() if isinstance(one, UnknownKey) else one.loc, text)
        for one in problems
        for text in one.texts()
    ]


def context(**changes: Any) -> ToolContext:
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    known: dict[str, Any] = {"run_id": "r", "step": "tool/t/1", "agent": "a", "tool": "t"}
    known |= {"idempotency_key": "r.tool_t_1", "attempt": 1, "log": log}
    known |= {"deadline": clock.now() + PATIENCE_SECONDS}
    return ToolContext(**known | changes)


async def use(tool: Any, /, **arguments: Any) -> Any:
    """Execute a tool once, as a step does."""
    checked = tool.arguments(msgspec.Raw(msgspec.json.encode(arguments)))
    return await tool.execute(checked, context())

"""A model provider on loopback: OpenAI's wire format over real HTTP, with answers on order.

    async with fake_provider() as server:
        server.will(Say("Hello!"), Fail(429, retry_after=1.5))
        model = OpenAICompatible(server.base_url, api_key="test")
        ...
        assert server.requests[0].body["temperature"] == 0

It serves `/v1/chat/completions` and `/v1/responses` (whole and streamed), `/v1/embeddings` and the
Hugging Face feature extraction, counts connections, and sees when a client hangs up. For benchmarks
it runs as a process of its own: `python -m aixgo.testing.fake_provider --port 0` prints
`READY <base url>`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from aixgo.testing._provider_answers import (
    CACHED_TOKENS,
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    Behaviour,
    Fail,
    Raw,
    Say,
    Timing,
    chunks,
    completion,
    embeddings,
    encode,
    response,
    response_events,
    vector_of,
)

__all__ = [
    "CACHED_TOKENS",
    "COMPLETION_TOKENS",
    "PROMPT_TOKENS",
    "Behaviour",
    "Fail",
    "FakeProvider",
    "Raw",
    "Received",
    "Say",
    "fake_provider",
    "vector_of",
]

_PATIENCE_SECONDS = 60.0
"""For a request that a test waits for; one that never comes fails the test instead of holding it.
"""


@dataclass(slots=True)
class Received:
    """A request as the server saw it.

    Attributes:
        hung_up: set when the client closed its socket before it had the whole answer.
        answered: set when the whole answer was sent.
    """

    path: str
    headers: dict[str, str]
    body: Any
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class FakeProvider:
    """The server of `fake_provider`; see the module.

    Args:
        default: the answer to requests that nothing was ordered for.
        record: keep the requests; a benchmark counts them only.

    Attributes:
        base_url: with the version, `http://127.0.0.1:<port>/v1`.
        requests: what came in, oldest first.
        count: how many came in.
        connections: sockets that clients opened.
        counts_unasked: streams end with the usage although it was not asked for.
    """

    def __init__(self, default: Behaviour | None = None, *, record: bool = True) -> None:
        self._default = default or Say("Hello there, friend!")
        self._record = record
        self._ordered: deque[Behaviour] = deque()
        self._sockets: set[int] = set()
        self._came = asyncio.Condition()
        self.base_url = ""
        self.requests: list[Received] = []
        self.count = 0
        self.connections = 0
        self.counts_unasked = False

    def will(self, *behaviours: Behaviour) -> None:
        """Order what the next requests get, one each."""
        self._ordered.extend(behaviours)

    async def received(self, number: int = 1) -> Received:
        """Return the `number`th request, waiting until it is there.

        Raises:
            TimeoutError: it did not come within 60 s: the machine may be busy.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = msgspec.json.decode(await request.read() or b"null")
        received = Received(request.path, {k.lower(): v for k, v in request.headers.items()}, body)
        await self._note(request, received)
        behaviour = self._ordered.popleft() if self._ordered else self._default
        try:
            response = await self._answer(request, received, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            received.hung_up.set()
            raise
        received.answered.set()
        return response

    async def _note(self, request: web.Request, received: Received) -> None:
        self.count += 1
        transport = id(request.transport)
        if transport not in self._sockets:
            self._sockets.add(transport)
            self.connections += 1
        if self._record:
            async with self._came:
                self.requests.append(received)
                self._came.notify_all()

    async def _answer(
        self, request: web.Request, received: Received, behaviour: Behaviour
    ) -> web.StreamResponse:
        body = received.body
        streamed = isinstance(body, dict) and bool(body.get("stream"))
        if streamed and self.counts_unasked:
            body = body | {"stream_options": {"include_usage": True}}
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.hang and not (streamed and isinstance(behaviour, Say)):
            await asyncio.Event().wait()
        if isinstance(behaviour, Fail):
            return _failure(behaviour)
        if isinstance(behaviour, Raw):
            return await _raw(request, behaviour)
        if received.path.endswith("/embeddings"):
            return _json(embeddings(body))
        if received.path.endswith("/feature-extraction"):
            return _json([vector_of(text) for text in body["inputs"]])
        if received.path.endswith("/responses"):
            whole, pieces = response(behaviour, body), response_events(behaviour, body)
        elif received.path.endswith("/chat/completions"):
            whole, pieces = completion(behaviour, body), chunks(behaviour, body)
        else:
            return _failure(Fail(404, message=f"no such path: {received.path}"))
        if streamed:
            return await _stream(request, pieces, behaviour)
        return _json(whole)


@asynccontextmanager
async def fake_provider(
    default: Behaviour | None = None, *, port: int = 0, record: bool = True
) -> AsyncGenerator[FakeProvider, None]:
    """Serve on loopback as long as the block lasts; port 0 takes a free one."""
    server = FakeProvider(default, record=record)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()


# -- over HTTP ------------------------------------------------------------------------------------


def _json(value: Any) -> web.Response:
    return web.Response(body=encode(value), content_type="application/json")


def _failure(failure: Fail) -> web.Response:
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    error = {"message": failure.message, "type": "fake", "code": failure.code}
    return web.Response(
        body=encode({"error": error}),
        status=failure.status,
        headers=headers,
        content_type="application/json",
    )


async def _raw(request: web.Request, raw: Raw) -> web.StreamResponse:
    if raw.then == "end" and not raw.each:
        return web.Response(body=raw.body, status=raw.status, headers=raw.headers)
    answer = web.StreamResponse(status=raw.status, headers=raw.headers)
    await answer.prepare(request)
    size = raw.each or len(raw.body) or 1
    for start in range(0, len(raw.body), size):
        await answer.write(raw.body[start : start + size])
    if raw.then == "hold":
        await asyncio.Event().wait()
    if raw.then == "break" and request.transport is not None:
        request.transport.close()
        return answer
    await answer.write_eof()
    return answer


async def _stream(
    request: web.Request, pieces: Iterator[bytes], timing: Timing
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number, piece in enumerate(pieces):
        if timing.cut == number and request.transport is not None:
            request.transport.close()
            return response
        await response.write(piece)
        if timing.hang:
            await asyncio.Event().wait()
        if timing.drip:
            await asyncio.sleep(timing.drip)
    await response.write_eof()
    return response


# -- as a process --------------------------------------------------------------------------------


async def _serve(port: int, text: str, delay: float) -> None:
    async with fake_provider(Say(text, delay=delay), port=port, record=False) as server:
        sys.stdout.write(f"READY {server.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="a fake model provider on loopback")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="Hello there, friend!", help="what it always answers")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options.port, options.text, options.delay))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

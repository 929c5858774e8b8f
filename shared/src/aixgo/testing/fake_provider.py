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
import hashlib
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from aixgo.models.messages import ToolCall

_encode = msgspec.json.Encoder().encode

_PATIENCE_SECONDS = 60.0
"""For a request that a test waits for; one that never comes fails the test instead of holding it.
"""

PROMPT_TOKENS, COMPLETION_TOKENS, CACHED_TOKENS = 50, 12, 20
"""What every answer claims to have used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """How an answer arrives.

    Attributes:
        delay: seconds before its first byte.
        drip: seconds between the pieces of a stream.
        hang: never send the first byte (or, in a stream, anything after the first piece).
        cut: close the connection after so many pieces of a stream.
    """

    delay: float = 0.0
    drip: float = 0.0
    hang: bool = False
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Say(_Timing):
    """An answer: text, tool calls or both."""

    text: str = ""
    tool_calls: Sequence[ToolCall] = field(default=(), kw_only=True)
    finish_reason: str = field(default="", kw_only=True)
    choices: bool = field(default=True, kw_only=True)
    usage: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class Fail(_Timing):
    """An error: a status, with the provider's text and the seconds that it asks to wait."""

    status: int = 500
    message: str = field(default="it did not work", kw_only=True)
    code: str | None = field(default=None, kw_only=True)
    retry_after: float | str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Raw(_Timing):
    """These bytes, whatever they are."""

    body: bytes = b""
    status: int = field(default=200, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)


Behaviour = Say | Fail | Raw


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
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.hang and not (streamed and isinstance(behaviour, Say)):
            await asyncio.Event().wait()
        if isinstance(behaviour, Fail):
            return _failure(behaviour)
        if isinstance(behaviour, Raw):
            return web.Response(
                body=behaviour.body, status=behaviour.status, headers=behaviour.headers
            )
        if received.path.endswith("/embeddings"):
            return _json(_embeddings(body))
        if received.path.endswith("/feature-extraction"):
            return _json([vector_of(text) for text in body["inputs"]])
        if received.path.endswith("/responses"):
            whole, pieces = _response(behaviour, body), _response_events(behaviour, body)
        elif received.path.endswith("/chat/completions"):
            whole, pieces = _completion(behaviour, body), _chunks(behaviour, body)
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


# -- answers -------------------------------------------------------------------------------------

_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
}
_RESPONSES_USAGE = {
    "input_tokens": PROMPT_TOKENS,
    "output_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
}


def vector_of(text: str) -> list[float]:
    """Return the vector that the server returns for a text."""
    return [byte / 255 for byte in hashlib.blake2b(text.encode(), digest_size=4).digest()]


def _json(value: Any) -> web.Response:
    return web.Response(body=_encode(value), content_type="application/json")


def _failure(failure: Fail) -> web.Response:
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    error = {"message": failure.message, "type": "fake", "code": failure.code}
    return web.Response(
        body=_encode({"error": error}),
        status=failure.status,
        headers=headers,
        content_type="application/json",
    )


def _finish(answer: Say) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _halves(text: str) -> Iterator[str]:
    """Give a text in pieces, so that assembling is really tested."""
    middle = (len(text) + 1) // 2
    yield from filter(None, (text[:middle], text[middle:]))


def _words(text: str) -> Iterator[str]:
    words = text.split(" ")
    yield from filter(None, (w + " " if i < len(words) - 1 else w for i, w in enumerate(words)))


def _calls(answer: Say) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.tool_calls
    ]


def _completion(answer: Say, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.tool_calls:
        message["tool_calls"] = _calls(answer)
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1763700000,
        "model": body["model"],
        "choices": [choice] if answer.choices else [],
        "usage": _USAGE if answer.usage else None,
    }


def _chunks(answer: Say, body: dict[str, Any]) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _event({**head, "choices": choices if answer.choices else []})

    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1763700000,
        "model": body["model"],
    }
    yield chunk({"role": "assistant", "content": ""})
    for piece in _words(answer.text):
        yield chunk({"content": piece})
    for index, call in enumerate(_calls(answer)):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield chunk({"tool_calls": [{**call, "index": index, "function": function}]})
        for piece in _halves(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(answer))
    if answer.usage and (body.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _USAGE})
    yield b"data: [DONE]\n\n"


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    rows = [
        {"object": "embedding", "index": index, "embedding": vector_of(text)}
        for index, text in enumerate(texts)
    ]
    rows.reverse()  # the index says which is which, not the order
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    return {"object": "list", "model": body["model"], "data": rows, "usage": usage}


def _response(answer: Say, body: dict[str, Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "content": [part]})
    items += [
        {
            "type": "function_call",
            "id": f"fc_{index}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for index, call in enumerate(answer.tool_calls)
    ]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1763700000,
        "model": body["model"],
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": items,
        "usage": _RESPONSES_USAGE,
    }


def _response_events(answer: Say, body: dict[str, Any]) -> Iterator[bytes]:
    whole = _response(answer, body)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield _event({"type": "response.created", "response": begun}, "response.created")
    for piece in _words(answer.text):
        kind = "response.output_text.delta"
        yield _event({"type": kind, "item_id": "msg_1", "delta": piece}, kind)
    for index, call in enumerate(answer.tool_calls):
        kind = "response.function_call_arguments.delta"
        for piece in _halves(call.arguments):
            yield _event({"type": kind, "item_id": f"fc_{index}", "delta": piece}, kind)
    yield _event({"type": "response.completed", "response": whole}, "response.completed")


def _event(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(value) + b"\n\n"


async def _stream(
    request: web.Request, pieces: Iterator[bytes], timing: _Timing
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

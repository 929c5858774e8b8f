"""Fixtures: what litellm really sent to every provider, and a server that speaks their formats.

`captures/` holds, for every provider and case, the call that was made and the requests that came
out of it (litellm 1.106.2, recorded at a local server, all keys fake). `AllFormats` answers in the
formats of Anthropic, Gemini, Vertex AI and Ollama. It runs in a thread of its own: google-auth and
litellm make blocking calls, which would wait for ever for a server on the same loop.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from aixgo.models import ChatMessage, ChatRequest, ResponseSchema, ToolCall, ToolDefinition
from aixgo.testing.waiting import PATIENCE_SECONDS

CAPTURES = Path(__file__).parent / "captures"
ARGUMENTS = ({"city": "Paris"}, {"city": "Rome"})
TEXT = "Hello there!"


class Capture(msgspec.Struct):
    """A recorded call."""

    provider: str
    case: str
    call: dict[str, Any]
    urls: list[list[str]]
    requests: list[dict[str, Any]]

    @property
    def sent(self) -> dict[str, Any]:
        """The request that carried the prompt."""
        return next(r for r in self.requests if r["method"] == "POST" and r["path"] != "/token")

    @property
    def url(self) -> str:
        """Where it really would have gone."""
        return next(url for method, url in self.urls if method == "POST" and "/token" not in url)

    def chat(self, provider: str) -> ChatRequest:
        """The port's request that must come out as the same bytes."""
        call = self.call
        schema = call.get("response_format", {}).get("json_schema")
        return ChatRequest(
            model=f"{provider}/{call['model'].partition('/')[2]}",
            messages=tuple(map(_message, call["messages"])),
            tools=tuple(ToolDefinition(**tool["function"]) for tool in call.get("tools", ())),
            tool_choice=call.get("tool_choice", ""),
            temperature=call.get("temperature"),
            max_tokens=call.get("max_tokens"),
            top_p=call.get("top_p"),
            stop=tuple(call.get("stop", ())),
            seed=call.get("seed"),
            response=ResponseSchema(**schema) if schema else None,
            timeout=PATIENCE_SECONDS,
            on_unsupported="drop",  # as the captures were made
        )


def _message(message: dict[str, Any]) -> ChatMessage:
    calls = (call["function"] | {"id": call["id"]} for call in message.get("tool_calls") or ())
    return ChatMessage(
        role=message["role"],
        content=message.get("content") or "",
        tool_call_id=message.get("tool_call_id", ""),
        tool_calls=tuple(ToolCall(**call) for call in calls),
    )


@pytest.fixture(scope="session")
def capture() -> Callable[[str, str], Capture]:
    def load(provider: str, case: str) -> Capture:
        data = (CAPTURES / f"{provider}.{case}.json").read_bytes()
        return msgspec.json.decode(data, type=Capture)

    return load


class AllFormats:
    """A server of every provider's format, on a loop in its own thread.

    Attributes:
        requests: method, path, headers and body of what came in.
        tools: answer requests that offer tools with two calls of the first one.
        failure: status and headers of the answer to everything.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.tools = False
        self.text = TEXT
        self.failure: tuple[int, dict[str, str]] | None = None
        self.url = ""
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> AllFormats:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)

    @property
    def prompts(self) -> list[dict[str, Any]]:
        """Requests without those for tokens and model descriptions."""
        return [r for r in self.requests if r["path"] not in {"/token", "/api/show"}]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        is_json = raw[:1] in (b"{", b"[")
        body: Any = json.loads(raw) if is_json else raw.decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.path
        self.requests.append(
            {"method": request.method, "path": path, "headers": headers, "body": body}
        )
        if path == "/token":
            return web.json_response(
                {"access_token": "ya29.fake", "expires_in": 3599, "token_type": "Bearer"}
            )
        if self.failure is not None:
            status, more = self.failure
            error = {"type": "error", "error": {"type": "fake", "message": "it did not work"}}
            return web.json_response(error, status=status, headers=more)
        if path.endswith("/messages") or "awPredict" in path:
            streamed = bool(body.get("stream")) or "streamRawPredict" in path
            return await self._anthropic(request, body, streamed)
        if "enerateContent" in path:
            return await self._gemini(request, body, streamed="streamGenerate" in path)
        if path == "/api/chat":
            return await self._ollama(request, body)
        return web.json_response(_vectors(path, body))

    async def _anthropic(
        self, request: web.Request, body: dict[str, Any], streamed: bool
    ) -> web.StreamResponse:
        usage = {
            "input_tokens": 30,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 20,
            "output_tokens": 12,
        }
        wants_tools = self.tools and bool(body.get("tools"))
        blocks: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        if wants_tools:
            name = body["tools"][0]["name"]
            blocks += [
                {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
                for i, arguments in enumerate(ARGUMENTS)
            ]
        head = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "claude"),
            "content": blocks,
            "stop_reason": "tool_use" if wants_tools else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        if not streamed:
            return web.json_response(head)
        begun = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
        for i, block in enumerate(blocks):
            empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
            events.append({"type": "content_block_start", "index": i, "content_block": empty})
            events += [
                {"type": "content_block_delta", "index": i, "delta": delta}
                for delta in _anthropic_deltas(block)
            ]
            events.append({"type": "content_block_stop", "index": i})
        ended = {"stop_reason": head["stop_reason"], "stop_sequence": None}
        events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 12}})
        events.append({"type": "message_stop"})
        return await _send(
            request,
            "text/event-stream",
            [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events],
        )

    async def _gemini(
        self, request: web.Request, body: dict[str, Any], *, streamed: bool
    ) -> web.StreamResponse:
        usage = {
            "promptTokenCount": 50,
            "candidatesTokenCount": 12,
            "totalTokenCount": 66,
            "cachedContentTokenCount": 20,
            "thoughtsTokenCount": 4,
        }

        def answer(parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
            candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
            found: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash"}
            if last:
                candidate["finishReason"] = "STOP"
                found["usageMetadata"] = usage
            return found

        calls: list[dict[str, Any]] = [
            {"functionCall": {"name": "get_weather", "args": arguments}} for arguments in ARGUMENTS
        ]
        calls[0]["thoughtSignature"] = "c2ln"
        half = len(self.text) // 2
        texts = [{"text": self.text[:half]}, {"text": self.text[half:]}]
        pieces = calls if self.tools and body.get("tools") else texts
        if not streamed:
            whole = pieces if pieces is calls else [{"text": self.text}]
            return web.json_response(answer(whole, last=True))
        events = [answer([piece], last=piece is pieces[-1]) for piece in pieces]
        return await _send(
            request, "text/event-stream", [f"data: {json.dumps(e)}\n\n" for e in events]
        )

    async def _ollama(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        def line(content: str, *, done: bool, calls: bool = False) -> dict[str, Any]:
            message: dict[str, Any] = {"role": "assistant", "content": content}
            if calls:
                message["tool_calls"] = [
                    {"function": {"name": "get_weather", "arguments": arguments}}
                    for arguments in ARGUMENTS
                ]
            found: dict[str, Any] = {
                "model": body["model"],
                "created_at": "2026-11-21T00:00:00Z",
                "message": message,
                "done": done,
            }
            if done:
                found |= {"done_reason": "stop", "prompt_eval_count": 50, "eval_count": 12}
            return found

        wants_tools = self.tools and bool(body.get("tools"))
        if not body.get("stream", True):
            text = "" if wants_tools else self.text
            return web.json_response(line(text, done=True, calls=wants_tools))
        half = len(self.text) // 2
        lines = (
            [line("", done=False, calls=True)]
            if wants_tools
            else [line(self.text[:half], done=False), line(self.text[half:], done=False)]
        )
        lines.append(line("", done=True))
        return await _send(request, "application/x-ndjson", [json.dumps(x) + "\n" for x in lines])


def _anthropic_deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        half = len(block["text"]) // 2
        texts = (block["text"][:half], block["text"][half:])
        return [{"type": "text_delta", "text": text} for text in texts]
    text = json.dumps(block["input"])
    return [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:5], text[5:])]


def _vectors(path: str, body: Any) -> dict[str, Any]:
    vector = [0.1, 0.2, 0.3]
    if path.endswith(":batchEmbedContents"):
        return {"embeddings": [{"values": vector} for _ in body["requests"]]}
    if path.endswith(":predict"):
        statistics = {"truncated": False, "token_count": 3}
        embeddings = {"values": vector, "statistics": statistics}
        return {"predictions": [{"embeddings": embeddings} for _ in body["instances"]]}
    if path == "/api/show":
        return {"model_info": {}, "template": "", "capabilities": ["completion", "tools"]}
    texts = body.get("input", [])
    return {"model": body["model"], "embeddings": [vector for _ in texts], "prompt_eval_count": 6}


async def _send(request: web.Request, kind: str, pieces: list[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece.encode())
    await response.write_eof()
    return response


@pytest.fixture
def all_formats() -> Iterator[AllFormats]:
    with AllFormats() as server:
        yield server

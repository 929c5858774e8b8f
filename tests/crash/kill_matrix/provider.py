"""A model provider over HTTP that counts what it is asked, and so what is paid."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from .agents import WORK_SECONDS

TOOLS = ("look", "mark", "left", "pay")
"""What the model has a run use, one after the other, before it answers."""


@asynccontextmanager
async def counting_provider() -> AsyncGenerator[tuple[str, Counter[str], Counter[str]], None]:
    """Serve chat completions and payments on loopback.

    Yields the base URL, how often what was asked, and how often which payment was made.
    """
    asked: Counter[str] = Counter()
    paid: Counter[str] = Counter()

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        asked[text] += 1
        await asyncio.sleep(WORK_SECONDS)
        answer: dict[str, Any] = {"role": "assistant", "content": f"answer to {text}"}
        if body.get("tools"):
            used = [one for one in body["messages"] if one["role"] == "tool"]
            (order,) = (one["content"] for one in body["messages"] if one["role"] == "user")
            for name in TOOLS[len(used) : len(used) + 1]:
                arguments = {"text" if name == "left" else "order": order}
                call = {"name": name, "arguments": json.dumps(arguments)}
                answer["tool_calls"] = [{"id": name, "type": "function", "function": call}]
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        reason = "tool_calls" if "tool_calls" in answer else "stop"
        choice = {"index": 0, "finish_reason": reason, "message": answer}
        return web.json_response({"id": "1", "model": "m", "choices": [choice], "usage": usage})

    async def pay(request: web.Request) -> web.Response:
        paid[await request.json()] += 1
        return web.json_response("paid")

    async def payments(request: web.Request) -> web.Response:
        return web.json_response(paid)

    server = web.Application()
    server.router.add_post("/v1/chat/completions", chat)
    server.router.add_post("/pay", pay)
    server.router.add_get("/pay", payments)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked, paid
    finally:
        await runner.cleanup()

"""A model provider over HTTP that counts what it is asked, and so what is paid."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from .agents import WORK_SECONDS


@asynccontextmanager
async def counting_provider() -> AsyncGenerator[tuple[str, Counter[str]], None]:
    """Serve chat completions on loopback; yields the base URL, and how often what was asked."""
    asked: Counter[str] = Counter()

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        asked[text] += 1
        await asyncio.sleep(WORK_SECONDS)
        answer = {"role": "assistant", "content": f"answer to {text}"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        choice = {"index": 0, "finish_reason": "stop", "message": answer}
        return web.json_response({"id": "1", "model": "m", "choices": [choice], "usage": usage})

    server = web.Application()
    server.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()

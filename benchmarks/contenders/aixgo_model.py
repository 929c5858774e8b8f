"""Aixgo's OpenAI-compatible adapter against the fake provider: `aixgo_model.py PORT`."""

import asyncio
import sys

from _bout import PAYLOAD, check, obey

from aixgo.models import ChatMessage, ChatRequest, ChatResponse
from aixgo.models.openai_compatible import OpenAICompatible


async def main(port: str) -> None:
    model = OpenAICompatible(f"http://127.0.0.1:{port}/v1", api_key="none")
    request = ChatRequest(
        model="openai/gpt-4o", messages=(ChatMessage(role="user", content=PAYLOAD),), timeout=30
    )

    async def call() -> ChatResponse:
        return await model.chat(request)

    check((await call()).text)
    await obey(call)
    await model.close()


asyncio.run(main(sys.argv[1]))

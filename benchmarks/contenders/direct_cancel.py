"""A model call without a system around it, cancelled: `direct_cancel.py WITNESS PROVIDER`.

`Task.cancel` on Aixgo's OpenAI-compatible adapter: the least that closing the socket takes.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from _bout import PAYLOAD
from _cancelling import obey_cancelling, tell

from aixgo.models import ChatMessage, ChatRequest
from aixgo.models.openai_compatible import OpenAICompatible


async def main(witness: int, provider: str) -> None:
    model = OpenAICompatible(f"http://127.0.0.1:{provider}/v1", api_key="none")
    request = ChatRequest(
        model="openai/gpt-4o", messages=(ChatMessage(role="user", content=PAYLOAD),), timeout=30
    )

    async def ask() -> None:
        try:
            await model.chat(request)
        except asyncio.CancelledError:
            tell(witness, "handler")
            raise

    async def start() -> Callable[[], Awaitable[object]]:
        task = asyncio.create_task(ask())

        async def cancel() -> None:
            task.cancel()
            await asyncio.wait([task])

        return cancel

    await obey_cancelling(start, witness)
    await model.close()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))

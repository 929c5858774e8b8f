"""pydantic-ai's agent, nothing durable: `pydantic_ai_react.py PORT`."""

import asyncio
import sys

from _bout import obey
from _refund import PROMPT, QUESTION, check_answer, lookup, pay
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def main(port: str) -> None:
    provider = OpenAIProvider(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    model = OpenAIChatModel("m", provider=provider)
    agent = Agent(model, tools=[lookup, pay], system_prompt=PROMPT)

    async def run() -> str:
        return str((await agent.run(QUESTION)).output)

    check_answer(await run())
    await obey(run)


asyncio.run(main(sys.argv[1]))

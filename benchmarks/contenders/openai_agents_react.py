"""openai-agents, nothing durable: `openai_agents_react.py PORT`."""

import asyncio
import sys

from _bout import obey
from _refund import PROMPT, QUESTION, check_answer, lookup, pay
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI


async def main(port: str) -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    agent = Agent(
        name="desk",
        instructions=PROMPT,
        tools=[function_tool(lookup), function_tool(pay)],
        model=OpenAIChatCompletionsModel(model="m", openai_client=client),
    )

    async def run() -> str:
        return str((await Runner.run(agent, QUESTION)).final_output)

    check_answer(await run())
    await obey(run)


asyncio.run(main(sys.argv[1]))

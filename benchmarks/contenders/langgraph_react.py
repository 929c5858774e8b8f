"""LangGraph's prebuilt agent, nothing durable: `langgraph_react.py PORT`."""

import asyncio
import sys

from _bout import obey
from _refund import PROMPT, QUESTION, check_answer, lookup, pay
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


async def main(port: str) -> None:
    model = ChatOpenAI(model="m", base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    agent = create_agent(model, [lookup, pay], system_prompt=PROMPT)

    async def run() -> str:
        done = await agent.ainvoke({"messages": [("user", QUESTION)]})
        return str(done["messages"][-1].content)

    check_answer(await run())
    await obey(run)


asyncio.run(main(sys.argv[1]))

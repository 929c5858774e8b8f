"""Aixgo's react role, every step durable: `aixgo_react.py PORT memory|nats://…`."""

import asyncio
import sys
from typing import Any

from _bout import obey
from _refund import PROMPT, QUESTION, check_answer, lookup, pay

from aixgo import Agent, App, tool
from aixgo.models import ModelSettings, ProviderSettings
from aixgo.tools import Tool


async def main(port: str, broker: str) -> None:
    provider = ProviderSettings(base_url=f"http://127.0.0.1:{port}/v1")
    tools: list[Tool[Any]] = [tool(effect="read")(lookup), tool(effect="idempotent")(pay)]
    app = App(
        [Agent("desk", role="react", model="mine/m", prompt=PROMPT, stream=False, tools=tools)],
        models=ModelSettings(providers={"mine": provider}),
    )
    async with app.running(broker) as system:

        async def run() -> str:
            return (await system.call("desk", QUESTION)).text

        check_answer(await run())
        await obey(run)


asyncio.run(main(sys.argv[1], sys.argv[2]))

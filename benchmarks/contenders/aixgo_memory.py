"""Aixgo on the memory broker, rpc or durable call: `aixgo_memory.py rpc|call`."""

import asyncio
import sys

from _bout import PAYLOAD, check, obey

from aixgo import Agent, App, Message


async def echo(message: Message) -> str:
    return message.text


async def main(way: str) -> None:
    async with App(agents=[Agent("echo", echo)]).running("memory") as system:
        ask = system.rpc if way == "rpc" else system.call

        async def call() -> Message:
            return await ask("echo", PAYLOAD)

        check((await call()).text)
        await obey(call)


asyncio.run(main(sys.argv[1]))

"""Aixgo over NATS, rpc or durable call to `aixgo_worker.py`: `aixgo_nats.py URL rpc|call`."""

import asyncio
import sys

from _bout import PAYLOAD, check, obey

from aixgo import Message, connect


async def main(url: str, way: str) -> None:
    async with connect(url) as client:
        ask = client.rpc if way == "rpc" else client.call

        async def call() -> Message:
            return await ask("echo", PAYLOAD)

        check((await call()).text)
        await obey(call)


asyncio.run(main(sys.argv[1], sys.argv[2]))

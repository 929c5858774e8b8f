"""FastStream over NATS, rpc: `faststream_nats.py URL worker|caller`."""

import asyncio
import logging
import sys

from _bout import PAYLOAD, check, obey, say
from faststream import FastStream
from faststream.nats import NatsBroker, NatsMessage

logging.disable(logging.INFO)


async def worker(url: str) -> None:
    broker = NatsBroker(url)
    app = FastStream(broker)

    @broker.subscriber("faststream.echo", "faststream")
    async def echo(body: str) -> str:
        return body

    @app.after_startup
    async def started() -> None:
        say("ready")

    await app.run()


async def caller(url: str) -> None:
    async with NatsBroker(url) as broker:

        async def call() -> NatsMessage:
            return await broker.request(PAYLOAD, "faststream.echo", timeout=5)

        check(await (await call()).decode())
        await obey(call)


asyncio.run({"worker": worker, "caller": caller}[sys.argv[2]](sys.argv[1]))

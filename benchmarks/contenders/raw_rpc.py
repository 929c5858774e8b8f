"""nats-py alone, core request and reply: `raw_rpc.py URL worker|caller`."""

import asyncio
import sys

import nats
from _bout import PAYLOAD, check, obey, say
from nats.aio.msg import Msg


async def worker(url: str) -> None:
    connection = await nats.connect(url)

    async def echo(message: Msg) -> None:
        await connection.publish(message.reply, message.data)

    await connection.subscribe("raw.echo", queue="raw", cb=echo)
    await connection.flush()
    say("ready")
    await asyncio.Event().wait()


async def caller(url: str) -> None:
    connection = await nats.connect(url)
    body = PAYLOAD.encode()

    async def call() -> Msg:
        return await connection.request("raw.echo", body, timeout=5)

    check((await call()).data.decode())
    await obey(call)
    await connection.close()


asyncio.run({"worker": worker, "caller": caller}[sys.argv[2]](sys.argv[1]))

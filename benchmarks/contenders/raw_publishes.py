"""nats-py alone: six acknowledged JetStream publishes in turn: `raw_publishes.py URL`.

What a run of five steps must at least store in turn: its call and five results.
"""

import asyncio
import sys

import nats
from _bout import PAYLOAD, obey
from nats.js.api import StreamConfig


async def main(url: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(StreamConfig(name="SIX", subjects=["six.*"], max_bytes=1 << 30))
    body = PAYLOAD.encode()

    async def call() -> None:
        for number in range(6):
            await stream.publish(f"six.{number}", body)

    await call()
    await obey(call)
    await connection.close()


asyncio.run(main(sys.argv[1]))

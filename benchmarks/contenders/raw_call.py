"""nats-py alone, the least that survives a crash of the worker: `raw_call.py URL worker|caller`.

An acknowledged JetStream publish into a work queue (file storage), a pull consumer, a core reply,
an acknowledgement that nobody confirms. No message ids, no result record.
"""

import asyncio
import sys

import nats
import nats.errors
from _bout import PAYLOAD, check, obey, say
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig


async def worker(url: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(
        StreamConfig(name="RAW", subjects=["raw.call.>"], retention=RetentionPolicy.WORK_QUEUE)
    )
    await stream.add_consumer(
        "RAW",
        ConsumerConfig(durable_name="raw", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=5000),
    )
    pull = await stream.pull_subscribe_bind("raw", "RAW")
    await connection.flush()
    say("ready")
    while True:
        try:
            messages = await pull.fetch(64, timeout=30)
        except nats.errors.TimeoutError:
            continue
        for message in messages:  # the caller's inbox is the end of the subject
            inbox = message.subject.removeprefix("raw.call.")
            await connection.publish(inbox, message.data)
            await message.ack()


async def caller(url: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    inbox, body = connection.new_inbox(), PAYLOAD.encode()
    waiting: dict[str, asyncio.Future[bytes]] = {}
    number = 0

    async def on_reply(message: Msg) -> None:
        waiting.pop(message.subject).set_result(message.data)

    await connection.subscribe(f"{inbox}.*", cb=on_reply)
    await connection.flush()

    async def call() -> bytes:
        nonlocal number
        number += 1
        reply = f"{inbox}.{number}"
        answer = waiting[reply] = asyncio.get_running_loop().create_future()
        await stream.publish(f"raw.call.{reply}", body)
        return await asyncio.wait_for(answer, 5)

    check((await call()).decode())
    await obey(call)
    await connection.close()


asyncio.run({"worker": worker, "caller": caller}[sys.argv[2]](sys.argv[1]))

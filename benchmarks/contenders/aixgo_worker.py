"""An Aixgo service process with no-op agents: `aixgo_worker.py URL NUMBER serve|provision`.

`provision` declares its streams and consumers and ends, as `aixgo provision` does in a deployment.
"""

import asyncio
import logging
import sys

from _bout import say

from aixgo import Agent, App, Message, serve
from aixgo.broker.open import open_broker


async def echo(message: Message) -> str:
    return message.text


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            say("ready")


async def provision(app: App, url: str) -> None:
    async with open_broker(url) as broker:
        await app.provision(broker)


async def main(url: str, number: int, verb: str) -> None:
    app = App(agents=[Agent(f"echo-{n}" if n else "echo", echo) for n in range(number)])
    if verb == "provision":
        await provision(app, url)
        return
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    await serve(app, url, health_port=0)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

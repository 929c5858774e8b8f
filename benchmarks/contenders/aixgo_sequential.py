"""Aixgo: a sequential run of five agents over NATS: `aixgo_sequential.py URL VERB SPACE`.

VERB is `provision`, `power-safe` (the same for a server that syncs every write), `flow` or `steps`
(a service process: the pattern, the agents), `both` (one process for all), or `call` (the client);
SPACE keeps two systems on one server apart.
"""

import asyncio
import logging
import sys

from _bout import PAYLOAD, check, obey, say

from aixgo import Agent, App, Message, connect, serve
from aixgo.broker.open import open_broker

STEPS = [f"echo-{number}" for number in range(1, 6)]


async def echo(message: Message) -> str:
    return message.text


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            say("ready")


async def call_flow(url: str, space: str) -> None:
    async with connect(url, namespace=space) as client:

        async def call() -> str:
            return (await client.call("flow", PAYLOAD)).text

        check(await call())
        await obey(call)


async def main(url: str, verb: str, space: str) -> None:
    if verb == "call":
        await call_flow(url, space)
        return
    flow = Agent("flow", role="orchestrator", pattern="sequential", agents=STEPS)
    agents = [flow, *(Agent(name, echo) for name in STEPS)]
    app = App(agents, namespace=space, power_safe=verb == "power-safe")
    if verb in ("provision", "power-safe"):
        async with open_broker(url) as broker:
            await app.provision(broker)
        return
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    served = {"flow": ["flow"], "steps": STEPS, "both": ["flow", *STEPS]}[verb]
    await serve(app, url, agents=served, health_port=0)


asyncio.run(main(*sys.argv[1:]))

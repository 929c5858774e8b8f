"""A run of four levels that waits for its model, cancelled from outside.

`aixgo_cancel.py BROKER WITNESS PROVIDER VERB`: VERB is `provision`, an agent to serve, or `cancel`
(the client; with the broker `memory` it serves all agents too).
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from _bout import PAYLOAD, say
from _cancelling import obey_cancelling, tell

from aixgo import Agent, App, Client, Context, Message, connect, serve
from aixgo.broker.open import open_broker
from aixgo.models.settings import ModelSettings, ProviderSettings


def passing_on(name: str, to: str) -> Agent:
    async def handle(message: Message, ctx: Context) -> str:
        return (await ctx.call(to, message.text)).text

    return Agent(name, handle)


def four_levels(witness: int, provider: str) -> App:
    async def ask(message: Message, ctx: Context) -> str:
        try:
            return (await ctx.model.chat(message.text)).text
        except asyncio.CancelledError:
            tell(witness, "handler")
            raise

    slow = ProviderSettings(base_url=f"http://127.0.0.1:{provider}/v1", max_attempts=1)
    leaf = Agent("d", ask, model="openai_compatible/slow")
    chain = [passing_on(name, to) for name, to in (("a", "b"), ("b", "c"), ("c", "d"))]
    return App([*chain, leaf], models=ModelSettings(providers={"openai_compatible": slow}))


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            say("ready")


async def cancel_runs(client: Client, witness: int) -> None:
    async def start() -> Callable[[], Awaitable[object]]:
        run = await client.send("a", PAYLOAD, timeout=60)
        return lambda: client.cancel("a", run)

    await obey_cancelling(start, witness)


async def main(broker: str, witness: int, provider: str, verb: str) -> None:
    app = four_levels(witness, provider)
    if verb == "provision":
        async with open_broker(broker) as opened:
            await app.provision(opened)
    elif verb != "cancel":
        log = logging.getLogger("aixgo")
        log.setLevel(logging.INFO)
        log.addHandler(SayReady())
        await serve(app, broker, agents=[verb], health_port=0)
    elif broker == "memory":
        async with app.running(broker) as system:
            await cancel_runs(system, witness)
    else:
        async with connect(broker) as client:
            await cancel_runs(client, witness)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))

"""A process of a tree of agents: `cancel_worker.py BROKER NAMESPACE PROVIDER LEDGER AGENT`.

a calls b, b calls c, c calls d; d asks the model twice at once, and asks `one` three times at once,
which works on one call at a time. Every execution is a line in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from aixgo import Agent, App, Context, Message, serve
from aixgo.models.settings import ModelSettings, ProviderSettings

MODEL = "openai_compatible/slow"


def app(namespace: str, provider: str, ledger: str) -> App:
    """Return the tree; the provider is a base URL, the ledger the path of a file."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(ctx: Context, what: str) -> None:
        os.write(file, f"{what} {ctx.agent} {ctx.step or '-'}\n".encode())

    def passing_on(to: str) -> Agent:
        async def handle(message: Message, ctx: Context) -> str:
            note(ctx, "began")
            try:
                return (await ctx.call(to, message.text)).text
            except asyncio.CancelledError:
                note(ctx, "stopped")
                raise

        return Agent({"b": "a", "c": "b", "d": "c"}[to], handle)

    async def d(message: Message, ctx: Context) -> str:
        note(ctx, "began")
        await ctx.gather(
            *(ctx.model.chat(f"{message.text} {number}") for number in range(2)),
            *(ctx.call("one", message.text) for _ in range(3)),
        )
        return "nobody stopped it"

    async def one(message: Message, ctx: Context) -> str:
        note(ctx, "began")
        if message.text == "wait":
            await asyncio.sleep(600)
        return message.text

    settings = ModelSettings(
        providers={"openai_compatible": ProviderSettings(base_url=provider, max_attempts=1)}
    )
    return App(
        [
            *(passing_on(to) for to in "bcd"),
            Agent("d", d, model=MODEL),
            Agent("one", one, concurrency=1),
        ],
        namespace=namespace,
        models=settings,
    )


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            sys.stdout.write("ready\n")
            sys.stdout.flush()


async def main() -> None:
    broker, namespace, provider, ledger, agent = sys.argv[1:]
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    await serve(app(namespace, provider, ledger), broker, agents=[agent], health_port=0, grace=1.0)


if __name__ == "__main__":
    asyncio.run(main())

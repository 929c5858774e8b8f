"""A service process of the kill matrix: `matrix_worker.py BROKER NAMESPACE PROVIDER LEDGER AGENT…`.

Every execution is a line in the ledger, written before anything else happens, so that the test can
tell a step that ran again after its result was recorded from one that was in flight.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from typing import Any

from aixgo import Agent, App, Context, Message, serve
from aixgo.models.settings import ModelSettings, ProviderSettings

ACK_WAIT = 2.0
MODEL = "openai_compatible/counting"


class Ledger:
    """An append-only file that survives the process that writes it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, ctx: Context) -> None:
        """Say that an agent begins."""
        line = f"{time.time():.6f} {ctx.agent} {ctx.run_id} {ctx.step or '-'}\n"
        os.write(self._file, line.encode())


def agents(ledger: Ledger) -> list[Agent]:
    """Return the agents of all patterns: what they answer depends on their input alone."""

    async def work(message: Message, ctx: Context) -> str:
        ledger.note(ctx)
        await asyncio.sleep(0.01)
        return f"{ctx.agent}({message.text})"

    async def sequence(message: Message, ctx: Context) -> str:
        ledger.note(ctx)
        text = message.text
        for agent in ("left", "right", "left"):
            text = (await ctx.call(agent, text)).text
        return text

    async def route(message: Message, ctx: Context) -> str:
        ledger.note(ctx)
        side = await ctx.record(lambda: random.choice(["left", "right"]))
        answer = await ctx.call(side, message.text)
        assert answer.text == f"{side}({message.text})"
        return f"routed({message.text})"

    async def nested(message: Message, ctx: Context) -> str:
        ledger.note(ctx)
        parts = await ctx.gather(
            ctx.call("sequence", message.text),
            ctx.call("right", message.text),
            ctx.call("route", message.text),
        )
        return " + ".join(part.text for part in parts)

    async def react(message: Message, ctx: Context) -> str:
        ledger.note(ctx)
        thoughts: list[str] = []
        for number in range(3):
            asked = f"{message.text}/{number}"
            thoughts.append((await ctx.model.chat(asked)).text)
            await ctx.call("left", asked)
        return " ".join(thoughts)

    handlers: dict[str, Any] = {
        "left": work,
        "right": work,
        "sequence": sequence,
        "route": route,
        "nested": nested,
        "react": react,
    }
    return [Agent(name, handler, model=MODEL) for name, handler in handlers.items()]


def expected(agent: str, text: str) -> str:
    """Return what a run of an agent must come to, whoever was killed."""
    sequence = f"left(right(left({text})))"
    return {
        "sequence": sequence,
        "route": f"routed({text})",
        "nested": f"{sequence} + right({text}) + routed({text})",
        "react": " ".join(f"answer to {text}/{number}" for number in range(3)),
    }[agent]


def app(namespace: str, provider: str, ledger: Ledger) -> App:
    """Return the system under test."""
    settings = ModelSettings(
        providers={"openai_compatible": ProviderSettings(base_url=provider, max_attempts=2)}
    )
    return App(agents(ledger), namespace=namespace, models=settings, ack_wait=ACK_WAIT)


def main() -> None:
    broker, namespace, provider, ledger, *names = sys.argv[1:]
    system = app(namespace, provider, Ledger(ledger))
    asyncio.run(serve(system, broker, agents=names, health_port=0, grace=1.0))


if __name__ == "__main__":
    main()

"""A service process for tests: `worker.py BROKER NAMESPACE AGENT HEALTH_PORT [WAIT]`.

`AGENT` may be several with `+` between: each is served by a `serve()` of its own in one loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from aixgo import Agent, App, Context, Message, clock, serve
from aixgo.hosting.process import WAIT_SECONDS, run


async def leaf(message: Message) -> str:
    return message.text.upper()


async def middle(message: Message, ctx: Context) -> str:
    return (await ctx.call("leaf", message.text)).text


async def slow(message: Message, ctx: Context) -> int:
    """Say in which attempt it runs; the first one takes the seconds that it is given."""
    if ctx.attempt == 1:
        await asyncio.sleep(float(message.data))
    return ctx.attempt


async def stubborn(message: Message) -> str:
    """Go on for ever, whoever cancels it."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def late(message: Message, ctx: Context) -> str:
    """Sleep long enough to be parked, then ask another agent."""
    await ctx.sleep(float(message.data))
    return (await ctx.call("leaf", "slept", timeout=60.0)).text


AGENTS: dict[str, Callable[..., Awaitable[object]]] = {
    "leaf": leaf,
    "middle": middle,
    "slow": slow,
    "stubborn": stubborn,
    "late": late,
}


def main() -> None:
    broker, namespace, name, health_port, *wait = sys.argv[1:]
    if ahead := float(os.environ.get("TEST_CLOCK_AHEAD", "0")):
        wrong = SimpleNamespace(time=lambda: time.time() + ahead, monotonic=time.monotonic)
        clock.time = wrong  # type: ignore[attr-defined,assignment] # as if the machine's clock were wrong
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    app = App(
        [Agent(agent, handler) for agent, handler in AGENTS.items()],
        namespace=namespace,
        ack_wait=2.0,
    )

    async def serve_all() -> None:
        services = (
            serve(
                app,
                broker,
                agents=[agent],
                provision=True,
                health_port=0 if number else int(health_port),
                grace=5.0,
                wait=float(wait[0]) if wait else WAIT_SECONDS,
            )
            for number, agent in enumerate(name.split("+"))
        )
        await asyncio.gather(*services)

    run(serve_all())


if __name__ == "__main__":
    main()

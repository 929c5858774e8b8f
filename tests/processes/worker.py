"""A service process for tests: `worker.py BROKER NAMESPACE AGENT HEALTH_PORT [WAIT]`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from aixgo import Agent, App, Context, Message, serve
from aixgo.hosting.serve import WAIT_SECONDS


async def leaf(message: Message) -> str:
    return message.text.upper()


async def middle(message: Message, ctx: Context) -> str:
    return (await ctx.call("leaf", message.text)).text


async def slow(message: Message, ctx: Context) -> int:
    """Say in which attempt it runs, after the seconds that it is given."""
    await asyncio.sleep(float(message.data))
    return ctx.attempt


AGENTS: dict[str, Callable[..., Awaitable[object]]] = {"leaf": leaf, "middle": middle, "slow": slow}


def main() -> None:
    broker, namespace, name, health_port, *wait = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    app = App(
        [Agent(agent, handler) for agent, handler in AGENTS.items()],
        namespace=namespace,
        ack_wait=2.0,
    )
    asyncio.run(
        serve(
            app,
            broker,
            agents=[name],
            provision=True,
            health_port=int(health_port),
            grace=5.0,
            wait=float(wait[0]) if wait else WAIT_SECONDS,
        )
    )


if __name__ == "__main__":
    main()

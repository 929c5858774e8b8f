"""The system that is killed: four kinds of run, whose answers depend on their input alone.

`react` is the role itself, with a tool of each effect and an agent as a tool. Its provider has it
use one after the other.
"""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import aiohttp

from aixgo import Agent, App, Context, Message, Reply, tool
from aixgo.models.settings import ModelSettings, ProviderSettings
from aixgo.tools import Done, NotDone, Resolution, Tool, ToolContext

MODEL = "openai_compatible/counting"
SIDES = ("left", "right", "left")
PAY_SECONDS = 2.0
"""For one payment; whoever takes over from a dead process waits until they are over."""
WORK_SECONDS = 0.03
"""Of an agent and of a model: long enough that a kill finds something in flight."""

PATTERNS = ("sequence", "route", "nested", "react")
SERVICES: dict[str, tuple[str, ...]] = {
    "orchestrator": PATTERNS,
    "agent": ("left", "right", "sorter"),
    "gateway": ("llm",),
}
"""The kinds of service, and the agents that each process of a kind serves."""


async def work(message: Message, ctx: Context) -> str:
    """Do what `left` and `right` do."""
    await asyncio.sleep(WORK_SECONDS)
    return f"{ctx.agent}({message.text})"


async def sort(message: Message) -> Reply:
    """Choose a side at random: the route has to keep what was recorded of it."""
    await asyncio.sleep(WORK_SECONDS)
    return Reply("sorted", meta={"category": random.choice(["left", "right"])})


async def nested(message: Message, ctx: Context) -> str:
    """Call two orchestrators and an agent side by side, then take down a random value."""
    parts = await ctx.gather(
        ctx.call("sequence", message.text),
        ctx.call("right", message.text),
        ctx.call("route", message.text),
    )
    drawn = await ctx.record(lambda: random.randrange(1_000_000))
    seal = await ctx.call("left", str(drawn))
    assert seal.text == f"left({drawn})"
    return " + ".join(part.text for part in parts)


@tool(effect="read")
async def look(order: str) -> str:
    """Look at an order."""
    await asyncio.sleep(WORK_SECONDS)
    return f"looked({order})"


@tool(effect="idempotent")
async def mark(order: str) -> str:
    """Mark an order."""
    await asyncio.sleep(WORK_SECONDS)
    return f"marked({order})"


def payment(provider: str) -> Tool[str]:
    """Return the tool that must not be executed twice; the provider counts what it does."""
    till = f"{provider.removesuffix('/v1')}/pay"

    async def was_paid(ctx: ToolContext, order: str) -> Resolution:
        async with aiohttp.ClientSession() as session, session.get(till) as answer:
            paid = ctx.idempotency_key in await answer.json()
        return Done(f"paid({order})") if paid else NotDone()

    @tool(effect="once", timeout=PAY_SECONDS, reconcile=was_paid)
    async def pay(order: str, ctx: ToolContext) -> str:
        """Pay for an order."""
        async with aiohttp.ClientSession() as session:
            await session.post(till, json=ctx.idempotency_key)
        return f"paid({order})"

    return pay


def agents(provider: str = "") -> list[Agent]:
    """Return all agents; `sequence` and `route` are the patterns of the orchestrator service."""
    return [
        Agent("left", work),
        Agent("right", work),
        Agent("sorter", sort),
        Agent("sequence", role="orchestrator", pattern="sequential", agents=list(SIDES)),
        Agent(
            "route",
            role="orchestrator",
            pattern="router",
            classifier="sorter",
            routes={"left": "left", "right": "right"},
        ),
        Agent("nested", nested),
        Agent(
            "react",
            role="react",
            model=MODEL,
            stream=False,
            tools=[look, mark, {"type": "agent", "agent": "left"}, payment(provider)],
        ),
    ]


def app(namespace: str, provider: str, ack_wait: float) -> App:
    """Return the system.

    Args:
        provider: base URL of the model provider.
        ack_wait: seconds until the work of a dead process goes to another one.
    """
    settings = ModelSettings(
        providers={"openai_compatible": ProviderSettings(base_url=provider, max_attempts=2)}
    )
    return App(agents(provider), namespace=namespace, models=settings, ack_wait=ack_wait)


def is_right(agent: str, text: str, answer: Message) -> bool:
    """Say whether a run came to what it must come to, whoever was killed."""
    quoted = re.escape(text)
    sequence = rf"left\(right\(left\({quoted}\)\)\)"
    routed = rf"(left|right)\({quoted}\)"
    expected = {
        "sequence": sequence,
        "route": routed,
        "nested": rf"{sequence} \+ right\({quoted}\) \+ {routed}",
        "react": rf"answer to paid\({quoted}\)",
    }[agent]
    meta: dict[str, Any] = dict(answer.meta)
    if agent == "route":
        expected = rf"{meta.get('routed_to')}\({quoted}\)"
    return re.fullmatch(expected, answer.text) is not None

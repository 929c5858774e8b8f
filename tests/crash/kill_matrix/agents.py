"""The system that is killed: four kinds of run, whose answers depend on their input alone."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from aixgo import Agent, App, Context, Message, Reply
from aixgo.models.settings import ModelSettings, ProviderSettings

MODEL = "openai_compatible/counting"
SIDES = ("left", "right", "left")
THOUGHTS = 3
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


async def react(message: Message, ctx: Context) -> str:
    """Think and act in turns."""
    thoughts: list[str] = []
    for number in range(THOUGHTS):
        asked = f"{message.text}/{number}"
        thoughts.append((await ctx.model.chat(asked)).text)
        await ctx.call("left", asked)
    return " ".join(thoughts)


def agents() -> list[Agent]:
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
        Agent("react", react, model=MODEL),
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
    return App(agents(), namespace=namespace, models=settings, ack_wait=ack_wait)


def is_right(agent: str, text: str, answer: Message) -> bool:
    """Say whether a run came to what it must come to, whoever was killed."""
    quoted = re.escape(text)
    sequence = rf"left\(right\(left\({quoted}\)\)\)"
    routed = rf"(left|right)\({quoted}\)"
    expected = {
        "sequence": sequence,
        "route": routed,
        "nested": rf"{sequence} \+ right\({quoted}\) \+ {routed}",
        "react": " ".join(rf"answer to {quoted}/{number}" for number in range(THOUGHTS)),
    }[agent]
    meta: dict[str, Any] = dict(answer.meta)
    if agent == "route":
        expected = rf"{meta.get('routed_to')}\({quoted}\)"
    return re.fullmatch(expected, answer.text) is not None

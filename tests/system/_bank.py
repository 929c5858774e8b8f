"""The far side of tools that must act once: a bank that pays as often as it is told."""

from __future__ import annotations

from collections import Counter

from aixgo import System
from aixgo.calls.history import Happened
from aixgo.tools import Done, NotDone, Resolution, ToolContext

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}
SECONDS = 0.8
"""Of a `once` tool here: so long a reservation whose owner is gone is left alone."""


class Bank:
    """The far side: it pays whatever it is told, as often as it is told."""

    def __init__(self) -> None:
        self.paid: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = {}

    def pay(self, order: str, key: str) -> str:
        self.paid[order] += 1
        self.keys.setdefault(order, set()).add(key)
        return f"paid {order}"

    async def reconcile(self, order: str, ctx: ToolContext) -> Resolution:
        self.asked[order] += 1
        assert self.keys.get(order, {ctx.idempotency_key}) == {ctx.idempotency_key}
        return Done(f"paid {order}") if self.paid[order] else NotDone()


async def happened(system: System, run: str, *what: str) -> list[Happened]:
    history = await system.runs.history(run)
    return [one for one in history if one.what in what]


async def nothing_asked(system: System) -> bool:
    return not await system.questions()

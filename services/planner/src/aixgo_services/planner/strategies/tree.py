"""tree_of_thought: several ways at each place, scored by the model; the best is followed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from aixgo_services.planner.plan import Draft
from aixgo_services.planner.planning import Planning


@dataclass(order=True)
class _Way:
    """A way through the tree; the most promising sorts first, of equal ones the earlier."""

    rank: tuple[float, int]
    parts: list[str] = field(compare=False)


async def tree_of_thought(planning: Planning) -> Draft:
    """Return the plan of the best way, `reasoning_depth` levels down.

    At each place `reasoning_depth` ways to go on are named and scored. Without backtracking the
    best of them is followed. With it, the best of all ways that are open is, also one that was left
    before: up to twice as many places are looked at.
    """
    depth, back = planning.options.reasoning_depth, planning.options.enable_backtracking
    open_ways, met = [_Way((0.0, 0), [])], 0
    best: _Way | None = None
    for number in range(1, (2 * depth if back else depth) + 1):
        way = heapq.heappop(open_ways)
        if len(way.parts) == depth:
            best = way
            break
        ideas = await planning.ideas(way.parts, depth, f"ideas{number}")
        ways = [[*way.parts, idea] for idea in ideas]
        scores = await planning.scores(ways, f"scores{number}")
        if not back:
            open_ways = []
        for parts, score in zip(ways, scores, strict=True):
            met += 1
            heapq.heappush(open_ways, _Way((-score, met), parts))
    if best is None:
        best = min(open_ways, key=lambda way: (-len(way.parts), way.rank))
    return await planning.plan_from(best.parts, "plan")

"""monte_carlo: ways are tried by chance and promise, and what was learnt guides the next try.

Source: the UCB1 rule of Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed
Bandit Problem" (2002), applied to trees as in Kocsis and Szepesvári, "Bandit based Monte-Carlo
Planning" (2006). A way is judged by the model instead of being played out at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from aixgo_services.planner.plan import Draft
from aixgo_services.planner.planning import Planning

EXPLORATION = math.sqrt(2)
"""Weight of what was tried seldom, for rewards from 0 to 1."""


@dataclass(eq=False)
class Node:
    """A place in the tree: a way up to there, and what became of the tries through it."""

    parts: list[str]
    above: Node | None = None
    below: list[Node] = field(default_factory=list)
    visits: int = 0
    reward: float = 0.0

    @property
    def mean(self) -> float:
        """Reward of a try, on average."""
        return self.reward / self.visits if self.visits else 0.0

    def promise(self) -> float:
        """UCB1: what is known to be good, and what is hardly known."""
        if not self.visits or self.above is None:
            return math.inf
        return self.mean + EXPLORATION * math.sqrt(math.log(self.above.visits) / self.visits)


async def monte_carlo(planning: Planning) -> Draft:
    """Return the plan of the way that proved best in `simulations` tries.

    A try goes down by promise to a place that was not judged yet and has it judged. From one that
    was, it names ways to go on (`reasoning_depth` of them, at most so many levels down) and has the
    first of them judged.
    """
    depth = planning.options.reasoning_depth
    root = Node([])
    for number in range(1, planning.options.simulations + 1):
        node = _chosen(root)
        if len(node.parts) < depth and (node.visits or node is root) and not node.below:
            ideas = await planning.ideas(node.parts, depth, f"ideas{number}")
            node.below = [Node([*node.parts, idea], node) for idea in ideas]
            node = node.below[0]
        (score,) = await planning.scores([node.parts], f"score{number}")
        reached: Node | None = node
        while reached is not None:
            reached.visits += 1
            reached.reward += score / 10
            reached = reached.above
    return await planning.plan_from(_best(root).parts, "plan")


def _chosen(root: Node) -> Node:
    """Return the place of the next try: down by promise, to one that was not tried or is a leaf."""
    node = root
    while node.below:
        node = max(node.below, key=Node.promise)
        if not node.visits:
            break
    return node


def _best(root: Node) -> Node:
    """Return the end of the way that was tried most often, which is the one that held up."""
    node = root
    while tried := [one for one in node.below if one.visits]:
        node = max(tried, key=lambda one: (one.visits, one.mean))
    return node

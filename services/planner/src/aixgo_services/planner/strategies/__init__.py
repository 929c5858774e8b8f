"""How a plan is looked for: one function for each strategy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aixgo_services.planner.options import Strategy
from aixgo_services.planner.plan import Draft
from aixgo_services.planner.planning import Planning
from aixgo_services.planner.strategies.backward import backward_chaining
from aixgo_services.planner.strategies.direct import chain_of_thought
from aixgo_services.planner.strategies.hierarchical import hierarchical_plan
from aixgo_services.planner.strategies.monte_carlo import monte_carlo
from aixgo_services.planner.strategies.stepwise import react_planning
from aixgo_services.planner.strategies.tree import tree_of_thought

STRATEGIES: Mapping[Strategy, Callable[[Planning], Awaitable[Draft]]] = {
    "chain_of_thought": chain_of_thought,
    "tree_of_thought": tree_of_thought,
    "react_planning": react_planning,
    "backward_chaining": backward_chaining,
    "hierarchical_plan": hierarchical_plan,
    "monte_carlo": monte_carlo,
}

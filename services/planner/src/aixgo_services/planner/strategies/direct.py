"""chain_of_thought: the whole plan in one answer, its analysis first."""

from __future__ import annotations

from aixgo_services.planner.plan import Draft
from aixgo_services.planner.planning import Planning


async def chain_of_thought(planning: Planning) -> Draft:
    """Return the plan that the model writes after its analysis; one model call."""
    draft: Draft = await planning.ask(
        "Think it through in `analysis`, then write the plan.", planning.draft, "plan"
    )
    return draft

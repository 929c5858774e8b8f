"""Promises about patterns inside patterns: an orchestrator is an agent like any other."""

from __future__ import annotations

from aixgo.testing.expect import equal
from aixgo.testing.local import Running
from aixgo_services.orchestrator.checks._agents import (
    Seen,
    broken,
    failure_of,
    routing,
    sequence,
    sorter,
    worker,
)


async def a_route_may_be_a_sequence(running: Running) -> None:
    """The sequence's reply is the router's; usage is counted once at every level."""
    seen = Seen()
    async with running(
        sorter("triage", seen, category="billing", confidence=0.9),
        worker("find", seen),
        worker("write", seen),
        sequence("billing", "find", "write"),
        routing("desk", "triage", {"billing": "billing"}),
    ) as system:
        result = await system.call("desk", "x")
    equal("executions", seen.agents, ["triage", "find", "write"])
    equal("reply", result.text, "x+find+write")
    equal(
        "metadata",
        dict(result.meta),
        {
            "pattern": "router",
            "routed_to": "billing",
            "category": "billing",
            "confidence": 0.9,
            "used_fallback": False,
            "step_count": 2,
            "cost_usd": 0.75,
            "tokens_total": 30,
        },
    )
    equal("usage", (result.usage.total_tokens, result.usage.model_calls), (30, 3))


async def a_step_may_be_a_router(running: Running) -> None:
    """The step after it gets the routed agent's reply."""
    seen = Seen()
    async with running(
        worker("clean", seen),
        sorter("triage", seen, category="billing"),
        worker("money", seen),
        worker("sign", seen),
        routing("desk", "triage", {"billing": "money"}),
        sequence("mail", "clean", "desk", "sign"),
    ) as system:
        result = await system.call("mail", "x")
    equal("executions", seen.agents, ["clean", "triage", "money", "sign"])
    equal("reply", result.text, "x+clean+money+sign")
    equal("metadata", (result.meta["pattern"], result.meta["step_count"]), ("sequential", 3))
    equal("usage", (result.meta["tokens_total"], result.usage.model_calls), (40, 4))
    equal("metadata that the last step got", seen.calls[3][2]["routed_to"], "money")


async def a_failure_deep_inside_says_the_whole_way(running: Running) -> None:
    """The outer error names its step, the inner one its agent and the reason."""
    seen = Seen()
    async with running(
        sorter("triage", seen, category="billing"),
        broken("money", seen),
        routing("desk", "triage", {"billing": "money"}),
        sequence("mail", "desk"),
    ) as system:
        await failure_of(
            system.call("mail", "x"),
            "step_failed",
            "step 0",
            "'desk'",
            "'money'",
            "money cannot read this",
        )


async def patterns_nest_no_deeper_than_the_limit(running: Running) -> None:
    """`limits.max_depth` counts the calls nested in each other."""
    seen = Seen()
    shallow = {"max_depth": 2}
    async with running(
        worker("leaf", seen),
        sequence("c", "leaf", limits=shallow),
        sequence("b", "c", limits=shallow),
        sequence("a", "b", limits=shallow),
    ) as system:
        equal("reply at the limit", (await system.call("b", "x")).text, "x+leaf")
        await failure_of(system.call("a", "x"), "step_failed", "max_depth", "2")
    equal("executions", seen.agents, ["leaf"])

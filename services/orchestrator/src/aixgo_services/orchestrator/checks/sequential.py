"""Promises of the sequential pattern."""

from __future__ import annotations

import asyncio

from aixgo.agents.agent import Agent
from aixgo.errors import DeadlineExceeded
from aixgo.message import Message
from aixgo.testing.expect import equal
from aixgo.testing.local import Running
from aixgo_services.orchestrator.checks._agents import (
    UNPRICED,
    Seen,
    broken,
    error_of,
    failure_of,
    refused_to_start,
    sequence,
    worker,
)


async def each_step_gets_the_output_of_the_step_before(running: Running) -> None:
    """Steps run in their order, each on the output before; the last output is the reply."""
    seen = Seen()
    agents = [worker(name, seen) for name in "abc"]
    async with running(*agents, sequence("chain", "b", "a", "c")) as system:
        result = await system.call("chain", "x")
    equal("order", seen.agents, ["b", "a", "c"])
    equal("inputs", [payload for _, payload, _ in seen.calls], ["x", "x+b", "x+b+a"])
    equal("reply", result.text, "x+b+a+c")


async def an_agent_may_come_twice_in_a_sequence(running: Running) -> None:
    """Each step is a step of its own, also of the same agent."""
    seen = Seen()
    async with running(worker("a", seen), sequence("chain", "a", "a", "a")) as system:
        equal("reply", (await system.call("chain", "x")).text, "x+a+a+a")
    equal("executions", len(seen.calls), 3)


async def a_sequence_of_one_step_is_a_sequence(running: Running) -> None:
    """One agent is enough."""
    seen = Seen()
    async with running(worker("a", seen), sequence("chain", "a")) as system:
        result = await system.call("chain", "x")
    equal("reply and step_count", (result.text, result.meta["step_count"]), ("x+a", 1))


async def a_sequence_sums_the_usage_of_its_steps(running: Running) -> None:
    """Tokens and cost of all steps are in the result and in its metadata."""
    seen = Seen()
    async with running(worker("a", seen), worker("b", seen), sequence("chain", "a", "b")) as system:
        result = await system.call("chain", "x")
    equal(
        "metadata",
        dict(result.meta),
        {"pattern": "sequential", "step_count": 2, "cost_usd": 0.5, "tokens_total": 20},
    )
    equal("usage", (result.usage.total_tokens, result.usage.cost), (20, 0.5))
    equal("model calls", result.usage.model_calls, 2)


async def an_unknown_cost_is_never_a_number(running: Running) -> None:
    """One step without a price makes the sum unknown, not smaller."""
    seen = Seen()
    agents = [worker("a", seen), worker("b", seen, usage=UNPRICED)]
    async with running(*agents, sequence("chain", "a", "b")) as system:
        result = await system.call("chain", "x")
    equal("cost_usd", result.meta["cost_usd"], None)
    equal("tokens_total", result.meta["tokens_total"], 20)


async def a_failed_step_ends_the_sequence_with_its_index(running: Running) -> None:
    """The error names the step, its agent and its reason; the steps after it are not made."""
    seen = Seen()
    agents = [worker("a", seen), broken("b", seen), worker("c", seen)]
    async with running(*agents, sequence("chain", "a", "b", "c")) as system:
        await failure_of(
            system.call("chain", "x"), "step_failed", "step 1", "'b'", "b cannot read this"
        )
    equal("executions", seen.agents, ["a", "b"])


async def metadata_travels_along_a_sequence(running: Running) -> None:
    """Every step sees the caller's metadata and that of the step before; the reply has the last."""
    seen = Seen()
    agents = [worker("a", seen, tone="calm", score=0.1), worker("b", seen, score=[1, None])]
    async with running(*agents, sequence("chain", "a", "b")) as system:
        result = await system.call("chain", "x", meta={"tenant": "acme"})
    equal("metadata of step 0", seen.calls[0][2], {"tenant": "acme"})
    equal("of step 1", seen.calls[1][2], {"tenant": "acme", "tone": "calm", "score": 0.1})
    equal("the last step's metadata in the reply", result.meta["score"], [1, None])


async def a_sequence_names_no_more_agents_than_its_limit(running: Running) -> None:
    """`limits.max_agents` is enforced before anything starts."""
    seen = Seen()
    agents = [worker(name, seen) for name in "abc"]
    two = {"max_agents": 2}
    over = running(*agents, sequence("chain", "a", "b", "c", limits=two))
    await refused_to_start(over, "names 3 agents", "`limits.max_agents` of 2")
    async with running(*agents, sequence("chain", "a", "b", limits=two)) as system:
        equal("reply at the limit", (await system.call("chain", "x")).text, "x+a+b")


async def a_pattern_cannot_call_itself(running: Running) -> None:
    """A circle of one is refused_to_start before anything starts."""
    await refused_to_start(running(sequence("chain", "chain")), "'chain' itself")


async def a_pattern_names_only_agents_that_exist(running: Running) -> None:
    """A misspelt agent is refused_to_start before anything starts, with the nearest name."""
    agents = [worker("summary", Seen()), sequence("chain", "sumary")]
    await refused_to_start(running(*agents), "'sumary'", "did you mean 'summary'")


async def a_sequence_over_its_token_limit_stops(running: Running) -> None:
    """`limits.max_tokens` is the ceiling of all its steps together."""
    seen = Seen()
    agents = [worker(name, seen) for name in "abc"]
    chain = sequence("chain", "a", "b", "c", limits={"max_tokens": 15})
    async with running(*agents, chain) as system:
        await failure_of(system.call("chain", "x"), "tokens_exceeded", "20 tokens", "15 tokens")
    equal("executions", seen.agents, ["a", "b"])


async def the_deadline_of_a_call_ends_the_pattern(running: Running) -> None:
    """A step that is not finished in time ends as DeadlineExceeded, not as a failed step."""

    async def slow(message: Message) -> str:
        await asyncio.sleep(60)
        return "late"

    async with running(Agent("slow", slow), sequence("chain", "slow")) as system:
        error = await error_of(system.call("chain", "x", timeout=0.3))
    assert isinstance(error, DeadlineExceeded), f"expected DeadlineExceeded, got {error!r}"

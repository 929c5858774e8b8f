"""Promises of the router pattern."""

from __future__ import annotations

from typing import Any

from aixgo.hosting.app import System
from aixgo.message import Message
from aixgo.testing.expect import equal
from aixgo.testing.local import Running
from aixgo_services.orchestrator.checks._agents import (
    UNPRICED,
    Seen,
    broken,
    failure_of,
    routing,
    sorter,
    worker,
)

ROUTES = {"billing": "money", "technical": "tech"}


async def _routed(running: Running, seen: Seen, data: Any, **options: Any) -> Message:
    """Route one message; `verdict` is what the classifier says."""
    verdict = options.pop("verdict")
    agents = [sorter("triage", seen, **verdict)]
    agents += [worker(name, seen, desk=name) for name in ("money", "tech", "other")]
    async with running(*agents, routing("desk", "triage", ROUTES, **options)) as system:
        return await _call(system, data)


async def _call(system: System, data: Any) -> Message:
    return await system.call("desk", data, meta={"tenant": "acme"})


async def a_message_goes_to_the_agent_of_its_category(running: Running) -> None:
    """Only that agent runs, and its reply is the router's, metadata included."""
    seen = Seen()
    result = await _routed(running, seen, "x", verdict={"category": "technical"})
    equal("executions", seen.agents, ["triage", "tech"])
    equal("reply", result.text, "x+tech")
    equal("metadata of the routed agent", result.meta["desk"], "tech")


async def the_routed_agent_gets_the_message_as_it_came(running: Running) -> None:
    """Payload and metadata are the caller's, whatever the classifier did with its own copy."""
    seen = Seen()
    data = {"subject": "invoice", "lines": [1, None, {"deep": "ü"}]}
    await _routed(running, seen, data, verdict={"category": "billing"})
    expected = ({"subject": "invoice", "lines": [1, None, {"deep": "ü"}]}, {"tenant": "acme"})
    equal("what the classifier did to its copy", seen.calls[0][1:], ({}, {"tenant": "acme"}))
    equal("what the routed agent got", seen.calls[1][1:], expected)
    equal("the caller's own object", data, expected[0])


async def a_router_says_where_a_message_went_and_why(running: Running) -> None:
    """Category and confidence arrive as the classifier set them; usage is that of both agents."""
    seen = Seen()
    verdict = {"category": "billing", "confidence": 0.123456789012345}
    result = await _routed(running, seen, "x", verdict=verdict)
    equal(
        "metadata",
        dict(result.meta),
        {
            "desk": "money",
            "pattern": "router",
            "routed_to": "money",
            "category": "billing",
            "confidence": 0.123456789012345,
            "used_fallback": False,
            "cost_usd": 0.5,
            "tokens_total": 20,
        },
    )
    equal("usage", (result.usage.total_tokens, result.usage.cost), (20, 0.5))


async def a_confidence_that_nobody_gave_is_not_invented(running: Running) -> None:
    """A classifier that only returns a category is enough."""
    seen = Seen()
    result = await _routed(running, seen, "x", verdict={"category": "billing"})
    equal("confidence in the metadata", "confidence" in result.meta, False)


async def a_category_without_a_route_goes_to_the_fallback(running: Running) -> None:
    """The metadata still has the category that the classifier returned."""
    seen = Seen()
    result = await _routed(running, seen, "x", verdict={"category": "poetry"}, fallback="other")
    equal("reply", result.text, "x+other")
    about = {key: result.meta[key] for key in ("routed_to", "category", "used_fallback")}
    equal("metadata", about, {"routed_to": "other", "category": "poetry", "used_fallback": True})


async def a_category_without_a_route_or_a_fallback_is_an_error(running: Running) -> None:
    """The error names the category and the routes that there are."""
    seen = Seen()
    await failure_of(
        _routed(running, seen, "x", verdict={"category": "poetry"}),
        "no_route",
        "'poetry'",
        "billing, technical",
        "fallback",
    )
    equal("executions", seen.agents, ["triage"])


async def an_unsure_answer_goes_to_the_fallback(running: Running) -> None:
    """`below_threshold` in the classifier's metadata sends the message to the fallback."""
    seen = Seen()
    verdict = {"category": "billing", "confidence": 0.4, "below_threshold": True}
    result = await _routed(running, seen, "x", verdict=verdict, fallback="other")
    equal("executions", seen.agents, ["triage", "other"])
    equal("used_fallback", result.meta["used_fallback"], True)
    equal("confidence", result.meta["confidence"], 0.4)


async def an_unsure_answer_without_a_fallback_goes_its_own_way(running: Running) -> None:
    """The best guess is better than none."""
    seen = Seen()
    verdict = {"category": "billing", "confidence": 0.4, "below_threshold": True}
    result = await _routed(running, seen, "x", verdict=verdict)
    equal("executions", seen.agents, ["triage", "money"])
    equal("used_fallback", result.meta["used_fallback"], False)


async def a_classifier_without_a_category_is_an_error(running: Running) -> None:
    """No category, an empty one, and one that is not text are the same mistake."""
    for verdict in ({}, {"category": ""}, {"category": 7}, {"category": None}):
        await failure_of(
            _routed(running, Seen(), "x", verdict=verdict, fallback="other"),
            "classification_failed",
            "'triage'",
            "no category",
        )


async def a_classifier_that_fails_is_named(running: Running) -> None:
    """The fallback does not hide that nothing more is classified."""
    seen = Seen()
    agents = [broken("triage", seen), worker("money", seen)]
    desk = routing("desk", "triage", {"billing": "money"}, fallback="money")
    async with running(*agents, desk) as system:
        await failure_of(
            _call(system, "x"), "classification_failed", "'triage'", "triage cannot read this"
        )
    equal("executions", seen.agents, ["triage"])


async def a_routed_agent_that_fails_is_named_with_its_category(running: Running) -> None:
    """The error says which agent failed, for which category, and why."""
    seen = Seen()
    agents = [sorter("triage", seen, category="billing"), broken("money", seen)]
    async with running(*agents, routing("desk", "triage", {"billing": "money"})) as system:
        await failure_of(
            _call(system, "x"), "route_failed", "'money'", "'billing'", "money cannot read this"
        )


async def an_unpriced_classifier_makes_the_cost_unknown(running: Running) -> None:
    """The classifier's own model calls belong to the cost of the run."""
    seen = Seen()
    agents = [sorter("triage", seen, usage=UNPRICED, category="billing"), worker("money", seen)]
    async with running(*agents, routing("desk", "triage", {"billing": "money"})) as system:
        result = await _call(system, "x")
    equal("cost and tokens", (result.meta["cost_usd"], result.meta["tokens_total"]), (None, 20))

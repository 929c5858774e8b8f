"""The router pattern: classify a message, then send it to the agent of its category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from aixgo import Context, Message, Reply
from aixgo.config.agents import AgentName
from aixgo.errors import PatternError, RemoteError
from aixgo_services.orchestrator.patterns.pattern import PatternOptions, payload_of, used


class RouterOptions(PatternOptions):
    """Keys of the router pattern."""

    pattern: Literal["router"]
    """Classifies each message and sends it to the agent of its category."""
    classifier: AgentName
    """Agent whose reply has the `category` in its metadata, such as a classifier."""
    routes: dict[str, AgentName] = Field(min_length=1)
    """Category → the agent that handles it."""
    fallback: AgentName | None = None
    """Agent for categories without a route, and for answers that the classifier is not sure of."""

    def calls(self) -> tuple[str, ...]:
        """Return the classifier and every agent that a message may be routed to."""
        fallback = () if self.fallback is None else (self.fallback,)
        return (self.classifier, *self.routes.values(), *fallback)


class ClassificationFailed(PatternError):
    """The router's classifier failed, or its answer has no category.

    Attributes:
        classifier: the agent that was asked.
        cause: `code` of its error, or `no_category`.
    """

    code = "classification_failed"

    def __init__(self, classifier: str, cause: str, text: str) -> None:
        self.classifier, self.cause = classifier, cause
        super().__init__(f"classifier {classifier!r} failed: {text}")


class NoRoute(PatternError):
    """No route for the category, and no fallback."""

    code = "no_route"

    def __init__(self, category: str, routes: list[str]) -> None:
        self.category, self.routes = category, routes
        super().__init__(
            f"no route for category {category!r}; routes: {', '.join(routes) or 'none'}. Add "
            "the route or a `fallback`"
        )


class RouteFailed(PatternError):
    """The agent that the router chose failed for good.

    Attributes:
        category: what the classifier said.
        agent: the routed agent.
        cause: `code` of its error.
    """

    code = "route_failed"

    def __init__(self, category: str, agent: str, cause: str, text: str) -> None:
        self.category, self.agent, self.cause = category, agent, cause
        super().__init__(f"agent {agent!r}, chosen for category {category!r}, failed: {text}")


@dataclass(frozen=True)
class Route:
    """Where a message goes, and why."""

    agent: str
    category: str
    used_fallback: bool


async def router(config: RouterOptions, message: Message, ctx: Context) -> Reply:
    """Give the message, as it came, to the agent of the category that the classifier says.

    The reply is the routed agent's, with `pattern`, `routed_to`, `category`, `confidence` (when the
    classifier returns one), `used_fallback`, `cost_usd` and `tokens_total` added.

    Raises:
        ClassificationFailed: the classifier failed, or its reply has no category.
        NoRoute: the category has no route, and there is no fallback.
        RouteFailed: the routed agent failed for good.
    """
    payload, meta = payload_of(message), dict(message.meta)
    verdict = await _classify(config, payload, meta, ctx)
    route = choose(config, verdict)
    try:
        answer = await ctx.call(route.agent, payload, key="route", meta=meta)
    except RemoteError as error:
        raise RouteFailed(route.category, route.agent, error.cause, str(error)) from error
    about: dict[str, Any] = {
        "pattern": "router",
        "routed_to": route.agent,
        "category": route.category,
        "used_fallback": route.used_fallback,
        **used(ctx),
    }
    if "confidence" in verdict.meta:
        about["confidence"] = verdict.meta["confidence"]
    return Reply(answer, meta=about)


async def _classify(
    config: RouterOptions, payload: Any, meta: dict[str, Any], ctx: Context
) -> Message:
    try:
        return await ctx.call(config.classifier, payload, key="classify", meta=meta)
    except RemoteError as error:
        raise ClassificationFailed(config.classifier, error.cause, str(error)) from error


def choose(config: RouterOptions, verdict: Message) -> Route:
    """Return the route of a classifier's reply.

    The fallback takes what has no route and what is `below_threshold`. Without a fallback an unsure
    answer still goes its category's way: the best guess is better than none.

    Raises:
        ClassificationFailed: the reply's metadata has no category.
        NoRoute: the category has no route, and there is no fallback.
    """
    category = verdict.meta.get("category")
    if not isinstance(category, str) or not category:
        raise ClassificationFailed(
            config.classifier,
            "no_category",
            f"its reply has no category in its metadata (category is {category!r}); let it return "
            "Reply(…, meta={'category': …, 'confidence': …}), as the role classifier does",
        )
    unsure = verdict.meta.get("below_threshold") is True
    agent = config.routes.get(category)
    if config.fallback is not None and (agent is None or unsure):
        return Route(config.fallback, category, used_fallback=True)
    if agent is None:
        raise NoRoute(category, sorted(config.routes))
    return Route(agent, category, used_fallback=False)

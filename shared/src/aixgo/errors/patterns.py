"""Errors of orchestration patterns."""

from __future__ import annotations

from .base import AixgoError


class PatternError(AixgoError):
    """An orchestration pattern could not finish."""

    code = "pattern"


class StepFailed(PatternError):
    """A step of a sequence failed.

    Attributes:
        index: position of the step, from 0.
        agent: agent of the step.
        cause: `code` of the step's own error.
    """

    code = "step_failed"

    def __init__(self, index: int, agent: str, cause: str, text: str) -> None:
        self.index, self.agent, self.cause = index, agent, cause
        super().__init__(f"step {index} ({agent!r}) failed: {text}")


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

"""What would go wrong when a valid document runs here: models that cannot be asked, event circles.

Services read the same document on machines that never call a model, so reading it does not look at
this; `aixgo validate` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aixgo.agents.agent import Agent
from aixgo.agents.system import circles, subscriptions
from aixgo.config.suggest import did_you_mean
from aixgo.documents.document import Document
from aixgo.documents.findings import Findings
from aixgo.documents.read import place_of
from aixgo.documents.source import Loc, Mark, Tree
from aixgo.errors import AixgoError, Finding, UnknownProvider
from aixgo.models.providers import PROVIDERS, split_model

EXAMPLE = "local/smollm2"


@dataclass(frozen=True)
class Review:
    """What was found, in the order of the document."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def review(document: Document) -> Review:
    """Return what would fail when the document runs on this machine, and what is odd about it.

    Whether the local model is installed counts only where its agents run in this process
    (`deployment.mode: local`).
    """
    tree = document.tree or Tree(source=document.source, data={}, values={(): Mark(1, 1)})
    errors, warnings = Findings(tree), Findings(tree)
    for loc, text in _models(document):
        errors.add(loc, text)
    for loc, text in [*_event_circles(document, tree), *_unused_tools(document)]:
        warnings.add(loc, text)
    return Review(errors.ordered(), warnings.ordered())


def _models(document: Document) -> Iterator[tuple[Loc, str]]:
    default = document.models.default
    if default and (wrong := _wrong(document, default)):
        yield ("models", "default"), wrong
    for agent in document.agents:
        loc, names = document.places.get(agent.name, ()), agent.spec.model_names
        for position, name in enumerate(names):
            if wrong := _wrong(document, name):
                listed = () if isinstance(agent.spec.model, str) else (position,)
                yield (*loc, "model" if agent.spec.model else "provider", *listed), wrong
        if not names and not default and agent.role_class.calls_models:
            yield (
                (*loc, "role"),
                f"the role {agent.spec.role!r} asks a model, and neither the agent nor "
                f"`models.default` names one; write `model: provider/name`, such as {EXAMPLE}",
            )


def _wrong(document: Document, name: str) -> str:
    """Return why a model cannot be asked; empty when nothing is known against it."""
    provider, model = split_model(name)
    if not provider or not model:
        return (
            f"{name!r} does not say which provider's model it is; write `provider/name`, such as "
            f"openai/gpt-4o or {EXAMPLE}"
        )
    known = {*PROVIDERS, *document.models.providers}
    if provider not in known:
        return f"{UnknownProvider(provider, sorted(known))}{_near(provider, known)}"
    if provider != "local":
        return ""
    if name != EXAMPLE:
        return f"there is no local model {model!r}; there is {EXAMPLE!r}"
    if document.deployment.mode == "local":
        try:
            from aixgo.models.local.model import check_installed  # needs the extra `models`

            check_installed()
        except AixgoError as error:
            return str(error)
    return ""


def _near(word: str, known: set[str]) -> str:
    hint = did_you_mean(word, known)
    return hint if "did you mean" in hint else ""


def _unused_tools(document: Document) -> Iterator[tuple[Loc, str]]:
    for key, what, declared in (
        ("tools", "tool", document.tools.tools),
        ("mcp_servers", "server", document.tools.servers),
    ):
        for name in declared.unused:
            yield (
                (key, name),
                f"no agent uses the {what} {name!r}; name it in the `{key}` of one, or take it out",
            )


def _event_circles(document: Document, tree: Tree) -> Iterator[tuple[Loc, str]]:
    agents: dict[str, Agent] = {agent.name: agent for agent in document.agents}
    heard = subscriptions([agent.declaration for agent in agents.values()])
    causes = {
        name: [other for other in agents if name in heard[other]]
        for name in agents
        if agents[name].role_class.style != "reactive"
    }
    for circle in circles(causes):
        first, before = circle[0], circle[-1]
        way = " → ".join((*circle, first))
        yield (
            place_of(tree, document.places.get(first, ()), before),
            f"events go in a circle ({way}): each one causes the next, and all that they cost; "
            "leave out one of the edges, or see to it that `limits` end it soon",
        )

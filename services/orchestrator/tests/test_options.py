"""An orchestrator's keys are those of its pattern, and mistakes are named before anything starts.

What the patterns do is in `aixgo.testing.pattern_checks`, run on every broker.
"""

from __future__ import annotations

from typing import Any

import pytest

from aixgo import Agent, ConfigError
from aixgo_services.orchestrator.agent import Orchestrator
from aixgo_services.orchestrator.options import OrchestratorOptions
from aixgo_services.orchestrator.patterns import PATTERNS


def desk(**options: Any) -> Agent:
    return Agent("desk", role="orchestrator", **options)


ROUTER = {"pattern": "router", "classifier": "triage", "routes": {"a": "one"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["pattern"]),
        ({"pattern": "conga"}, ["pattern", "'router'", "'sequential'", "conga"]),
        ({"pattern": "sequential"}, ["sequential", "agents", "required"]),
        ({"pattern": "sequential", "agents": []}, ["agents", "1 item"]),
        ({"pattern": "sequential", "agents": ["a b"]}, ["agents.0", "a b"]),
        ({"pattern": "sequential", "agents": ["a"], "routes": {"x": "y"}}, ["'routes'", "agents"]),
        ({**ROUTER, "agents": ["a"]}, ["'agents'", "classifier, fallback, routes"]),
        ({"pattern": "router", "routes": {"a": "one"}}, ["router", "classifier", "required"]),
        ({**ROUTER, "routes": {}}, ["routes", "1 item"]),
        ({**ROUTER, "fallbak": "one"}, ["fallbak", "did you mean 'fallback'"]),
        ({**ROUTER, "max_rounds": 3}, ["max_rounds"]),
    ],
)
def test_a_wrong_key_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        desk(**options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"pattern": "sequential", "agents": ["a", "b", "a"]}, ("a", "b")),
        (ROUTER, ("triage", "one")),
        ({**ROUTER, "fallback": "two"}, ("triage", "one", "two")),
        ({**ROUTER, "fallback": "one"}, ("triage", "one")),
    ],
)
def test_the_agents_that_a_pattern_calls_are_known_before_it_runs(
    options: dict[str, Any], called: tuple[str, ...]
) -> None:
    assert desk(**options).build().calls() == called


def test_options_are_validated_from_a_document_as_well() -> None:
    options = OrchestratorOptions.model_validate(ROUTER)
    assert options.config() == PATTERNS["router"].config.model_validate(
        {"classifier": "triage", "routes": {"a": "one"}}
    )


def test_the_schema_for_editors_has_every_key_with_its_text() -> None:
    properties = Orchestrator.options_model.model_json_schema()["properties"]
    assert set(properties) == {"pattern", "agents", "classifier", "routes", "fallback"}
    assert all(field["description"] for field in properties.values())

"""An orchestrator's keys are those of its pattern, and mistakes are named before anything starts.

What the patterns do is in `aixgo_services.orchestrator.checks`, run on every broker.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from aixgo import Agent, ConfigError
from aixgo.documents import document_schema, parse_document
from aixgo.errors import InvalidDocument
from aixgo_services.orchestrator.agent import Orchestrator
from aixgo_services.orchestrator.patterns import PATTERNS


def desk(**options: Any) -> Agent:
    return Agent("desk", role="orchestrator", **options)


ROUTER = {"pattern": "router", "classifier": "triage", "routes": {"a": "one"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["pattern"]),
        ({"pattern": "conga"}, ["pattern", "'router'", "'sequential'", "conga"]),
        ({"pattern": "sequential"}, ["agents: is required"]),
        ({"pattern": "conga", "agents": ["a"]}, ["pattern", "'router'", "conga"]),
        ({"pattern": 7}, ["pattern", "'router'"]),
        ({"pattern": "sequential", "agents": []}, ["agents: needs entries: 1 or more"]),
        ({"pattern": "sequential", "agents": ["a b"]}, ["agents.0", "a b"]),
        (
            {"pattern": "sequential", "agents": ["a"], "routes": {"x": "y"}},
            ["unknown option 'routes'"],
        ),
        ({**ROUTER, "agents": ["a"]}, ["unknown option 'agents'"]),
        ({"pattern": "router", "routes": {"a": "one"}}, ["classifier: is required"]),
        ({**ROUTER, "routes": {}}, ["routes: needs entries: 1 or more"]),
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


def test_every_pattern_is_registered_under_the_name_that_its_keys_say() -> None:
    for name, pattern in PATTERNS.items():
        assert get_args(pattern.options.model_fields["pattern"].annotation) == (name,)


def test_a_mistake_in_a_document_is_found_at_its_key_with_the_keys_of_its_pattern() -> None:
    text = (
        "version: 2\nagents: [{name: a, role: react}]\norchestration:\n"
        "  - {name: x, pattern: router, routes: {b: a}, agents: [a]}\n"
        "  - {name: y, pattern: sequential, agent: [a]}\n"
        "  - {name: z, pattern: conga, agents: [a]}\n"
    )
    with pytest.raises(InvalidDocument) as caught:
        parse_document(text.encode(), "f.yaml", {})
    lines = str(caught.value).splitlines()
    assert [line.split(": ", 1)[1].partition("; known")[0] for line in lines] == [
        "orchestration.0: needs the key 'classifier'",
        "orchestration.0.agents: unknown key 'agents'",
        "orchestration.1: needs the key 'agents'",
        "orchestration.1.agent: unknown key 'agent'; did you mean 'agents'?",
        "orchestration.2.pattern: must be 'router' or 'sequential' (got \"conga\")",
    ]


def test_the_schema_for_editors_is_exact_for_each_pattern() -> None:
    definitions = document_schema({"orchestrator": Orchestrator})["$defs"]
    assert definitions["Orchestration"] == {
        "oneOf": [
            {"$ref": "#/$defs/RouterOrchestration"},
            {"$ref": "#/$defs/SequentialOrchestration"},
        ]
    }
    router = definitions["RouterOrchestration"]
    assert router["required"] == ["pattern", "classifier", "routes"]
    assert {"classifier", "routes", "fallback"} <= router["properties"].keys()
    assert "agents" not in router["properties"]
    assert all(
        field["description"]
        for field in definitions["RouterOrchestratorAgent"]["properties"].values()
    )

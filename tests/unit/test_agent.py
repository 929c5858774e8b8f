"""Builder errors come before anything starts, and say what, the value, the limit and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from aixgo import Agent, App, ConfigError, Context, Message
from aixgo.agents.handler import HandlerShape
from aixgo.errors import InvalidPayload, UnknownRole
from aixgo.models.scripted import ScriptedModel


async def echo(message: Message) -> str:
    return message.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"handler": echo}, ["needs a name"]),
        ({"name": "a"}, ["'a'", "role", "handler"]),
        ({"name": "a b", "handler": echo}, ["name", "a b"]),
        ({"name": "x" * 33, "handler": echo}, ["name"]),
        ({"name": "a", "handler": echo, "role": "react"}, ["handler and the role 'react'"]),
        ({"name": "a", "role": "custom"}, ["no handler", "module:function"]),
        ({"name": "a", "handler": "shop"}, ["'shop'", "module:name"]),
        ({"name": "a", "handler": "no_such_shop:quote"}, ["no module 'no_such_shop'"]),
        ({"name": "a", "handler": "json:dumbs"}, ["no 'dumbs'", "did you mean 'dumps'"]),
        ({"name": "a", "handler": "json:dumps"}, ["not an async function"]),
        ({"name": "a", "handler": echo, "temperature": 2.01}, ["temperature", "2.01", "2"]),
        ({"name": "a", "handler": echo, "temperature": -0.1}, ["temperature", "-0.1", "0"]),
        ({"name": "a", "handler": echo, "max_tokens": True}, ["max_tokens", "number, not true"]),
        ({"name": "a", "handler": echo, "temperature": True}, ["temperature", "got True"]),
        ({"name": "a", "handler": echo, "concurrency": True}, ["concurrency", "got True"]),
        ({"name": "a", "handler": echo, "limits": {"max_depth": True}}, ["limits.max_depth"]),
        ({"name": "a", "handler": echo, "timeout": float("inf")}, ["timeout"]),
        ({"name": "a", "handler": echo, "timeout": float("nan")}, ["timeout"]),
        ({"name": "a", "handler": echo, "max_tokens": 0}, ["max_tokens", "(got 0)", "1"]),
        ({"name": "a", "handler": echo, "timeout": "10 parsecs"}, ["timeout", "10 parsecs", "30s"]),
        ({"name": "a", "handler": echo, "concurrency": 0}, ["concurrency", "1"]),
        ({"name": "a", "handler": echo, "promt": "x"}, ["promt", "did you mean 'prompt'"]),
        ({"name": "a", "handler": echo, "retry": {"max_attempts": 0}}, ["retry.max_attempts"]),
        (
            {"name": "a", "handler": echo, "retry": {"retry_on": ["sometimes"]}},
            ["sometimes", "rate_limited"],
        ),
        (
            {"name": "a", "handler": echo, "retry": {"initial_backoff": 9, "max_backoff": 3}},
            ["9 s", "3 s"],
        ),
    ],
)
def test_a_wrong_option_is_refused_by_the_builder(
    arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_role_names_the_installed_ones() -> None:
    with pytest.raises(UnknownRole, match=r"the role 'astrologer'; .*installed: .*react"):
        Agent("a", role="astrologer")


@pytest.mark.parametrize("temperature", [0, 2])
def test_the_ends_of_the_temperature_range_are_allowed(temperature: float) -> None:
    assert Agent("a", echo, temperature=temperature).spec.temperature == temperature


def test_an_api_key_shows_up_nowhere() -> None:
    agent = Agent("a", echo, api_key="sk-secret")
    assert "sk-secret" not in repr(agent) + repr(agent.spec) + agent.spec.model_dump_json()
    with pytest.raises(ConfigError) as caught:
        Agent("a", echo, api_key=17)  # type: ignore[arg-type] # what a careless user writes
    assert "17" not in str(caught.value)


def test_two_agents_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two agents are named 'a'"):
        App(agents=[Agent("a", echo), Agent("a", echo)])


def test_an_edge_to_nobody_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'tickr'.*did you mean 'ticker'"):
        App(agents=[Agent("ticker", echo), Agent("b", echo, inputs=["tickr"])])


def test_an_app_without_agents_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one agent"):
        App(agents=[])


@pytest.mark.parametrize(
    ("agents", "options", "words"),
    [
        ([echo], {}, "takes agents, not the function 'echo'; write Agent('echo', echo)"),
        (["echo"], {}, "takes agents, not 'echo'"),
        (Agent("a", echo), {}, "takes a list of agents, not the one agent 'a'"),
        (echo, {}, "takes a list of agents, not the function 'echo'"),
        ([Agent("a", echo)], {"ack_wait": 0}, "ack_wait 0 s is not above 0 s"),
        ([Agent("a", echo)], {"ack_wait": float("nan")}, "ack_wait nan s is not finite"),
        ([Agent("a", echo)], {"ack_wait": float("inf")}, "ack_wait inf s is not finite; give at"),
        ([Agent("a", echo)], {"ack_wait": 1e12}, "1000000000000.0 s is too long; give at most 315"),
        ([Agent("a", echo)], {"ack_wait": True}, "ack_wait True is not a number"),
        ([Agent("a", echo)], {"ack_wait": "5s"}, "ack_wait '5s' is not a number"),
    ],
)
def test_an_app_of_something_else_is_one_clear_error(
    agents: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        App(agents=agents, **options)
    assert words in str(caught.value)


async def test_a_systems_document_is_tried_with_a_scripted_model(tmp_path: Path) -> None:
    document = tmp_path / "agents.yaml"
    document.write_text("version: 2\nagents: [{name: poet, role: react, model: openai/gpt-4o}]")
    model = ScriptedModel(["roses"])
    async with App.from_file(document, model=model).running() as system:
        assert (await system.call("poet", "go on")).text == "roses"


# -- handlers ----------------------------------------------------------------------------------


class Ticket(BaseModel):
    subject: str
    priority: int = 3


class Label(msgspec.Struct):
    name: str


@dataclass
class Point:
    x: int


def test_a_handler_must_be_an_async_function_of_one_or_two_parameters() -> None:
    def sync(message: Message) -> str:
        return message.text

    async def three(message: Message, ctx: Context, more: int) -> str:
        return ""

    async def none() -> str:
        return ""

    with pytest.raises(ConfigError, match="not an async function"):
        Agent("a", sync)  # type: ignore[arg-type] # what a careless user writes
    with pytest.raises(ConfigError, match=r"takes `\(message, ctx, more\)`"):
        Agent("a", three)
    with pytest.raises(ConfigError, match=r"takes `\(\)`"):
        Agent("a", none)


def test_an_annotation_that_does_not_resolve_is_named() -> None:
    async def odd(message: Missing) -> str:  # type: ignore[name-defined] # noqa: F821 - the point
        return ""

    with pytest.raises(ConfigError, match="Missing"):
        Agent("a", odd)


def test_schemas_are_kept_from_the_annotations() -> None:
    async def handle(ticket: Ticket) -> Label:
        return Label(ticket.subject)

    agent = Agent("a", handle)
    assert set(agent.input_schema["properties"]) == {"subject", "priority"}
    assert "Label" in str(agent.output_schema)


def test_a_result_of_another_type_than_annotated_is_refused() -> None:
    async def lies(message: str) -> Label:
        return Label("x")

    shape = HandlerShape("a", lies)
    shape.check(Label("x"))
    with pytest.raises(InvalidPayload, match="returned str but is annotated `-> Label`"):
        shape.check("x")


def test_a_dataclass_and_a_generic_are_read_and_checked() -> None:
    async def handle(points: list[Point]) -> dict[str, int]:
        return {}

    shape = HandlerShape("a", handle)
    shape.check({"n": 1})
    with pytest.raises(InvalidPayload):
        shape.check({"n": "one"})

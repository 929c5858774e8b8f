"""A role of one's own is a class that a document or Python names; no package is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest

from aixgo import Agent, App, ConfigError, Context, Message, Role
from aixgo.config.agents import Options
from aixgo.documents import document_schema, load_document
from aixgo.hosting.permissions import users
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually

MODULE = '''
import asyncio
from aixgo import Context, Message, Role
from aixgo.agents.role import Feed
from aixgo.config.agents import Options
from pydantic import Field

class ShoutOptions(Options):
    times: int = Field(default=1, ge=1, le=5)
    """How many exclamation marks."""

class Shout(Role):
    """Answers in capital letters."""
    options_model = ShoutOptions
    takes_tools = True

    async def execute(self, message: Message, ctx: Context) -> str:
        return message.text.upper() + "!" * self.options.times

class Asks(Role):
    """Calls another agent and a model."""
    calls_models = True

    def calls(self) -> tuple[str, ...]:
        return ("loud",)

    async def execute(self, message: Message, ctx: Context) -> str:
        said = (await ctx.call("loud", message.text)).text
        return f"{said} {(await ctx.model.chat('?')).text}"

class Beat(Role):
    """Publishes one event; hears others."""
    style = "hybrid"

    async def start(self, feed: Feed) -> None:
        await feed.emit("beat", key="1")

class Outer:
    class Inner(Shout): ...

class Broken(Role):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        raise KeyError("no colour")

class Keyless(Role):
    options_model = dict

class Odd(Role):
    @classmethod
    def options_for(cls, given):
        return given["nothing"]

class Choosy(Role):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        if not spec.prompt:
            from aixgo import ConfigError
            raise ConfigError(f"agent {spec.name!r}: a prompt is needed; add `prompt`")

async def function(message: Message) -> str:
    return "x"

number = 7
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder outside of the repository, with a module and no package."""
    (tmp_path / "own_roles.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_roles", None)


def document(folder: Path, agents: str) -> Path:
    path = folder / "agents.yaml"
    path.write_text(f"version: 2\nmodels: {{default: scripted/x}}\nagents:\n{agents}")
    return path


def said(folder: Path, agents: str) -> str:
    """Return what is wrong with a document."""
    with pytest.raises(ConfigError) as caught:
        load_document(document(folder, agents))
    return str(caught.value)


async def test_a_document_names_a_class_beside_it(folder: Path) -> None:
    path = document(
        folder,
        "  - {name: loud, role: 'own_roles:Shout', times: 3}\n"
        "  - {name: quiet, role: 'own_roles:Outer.Inner'}\n"
        "  - {name: asks, role: 'own_roles:Asks'}\n",
    )
    async with run_local(path, model=ScriptedModel(["well"])) as system:
        assert (await system.call("loud", "hi")).text == "HI!!!"
        assert (await system.call("quiet", "hi")).text == "HI!"
        assert (await system.call("asks", "you")).text == "YOU!!! well"


async def test_a_class_with_a_start_publishes_events_and_hears_them(folder: Path) -> None:
    heard: list[str] = []

    async def listen(message: Message) -> None:
        heard.append(message.text)

    beat = Agent("beat", role="own_roles:Beat")
    async with run_local(beat, Agent("listener", listen, inputs=["beat"])):
        await eventually(lambda: heard == ["beat"])


async def test_python_takes_the_class_itself() -> None:
    class TwiceOptions(Options):
        of: str = "x"

    class Twice(Role):
        options_model = TwiceOptions

        async def execute(self, message: Message, ctx: Context) -> str:
            return str(self.options.of) * 2

    agent = Agent("twice", role=Twice, of="ab")
    assert agent.spec.role.endswith(":test_python_takes_the_class_itself.<locals>.Twice")
    async with run_local(agent) as system:
        assert (await system.call("twice", "")).text == "abab"
    with pytest.raises(ConfigError, match="use one of the two"):
        Agent("twice", str.upper, role=Twice)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'off'.*did you mean 'of'"):
        Agent("twice", role=Twice, off="ab")


@pytest.mark.parametrize("wrong", [Context, dict, len])
def test_python_refuses_a_class_that_is_no_role(wrong: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"neither the name of a role nor a subclass of aixgo\.Role"
    ):
        Agent("a", role=wrong)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("role: 'own_roles:Shout', times: 9", ["agents.yaml:4:", "times", "5"]),
        ("role: 'own_roles:Shout', time: 1", ["'time'", "did you mean 'times'"]),
        ("role: 'own_roles:Shoot'", ["no 'Shoot'", "did you mean 'Shout'"]),
        ("role: 'own_rolls:Shout'", ["no module 'own_rolls'", "installed packages"]),
        ("role: 'own_roles:number'", ["not a subclass of aixgo.Role", "it is a value"]),
        ("role: 'own_roles:function'", ["handler: own_roles:function"]),
        ("role: 'own_roles:Broken'", ["cannot be built", "no colour", "mend the class"]),
        ("role: 'own_roles:Keyless'", ["options of the role", "aixgo.config.agents.Options"]),
        ("role: 'own_roles:Odd'", ["keys of the role", "'nothing'", "mend the class"]),
        ("role: 'own_roles:Choosy'", ["a prompt is needed; add `prompt`"]),
        ("role: 'own_roles:Shout', handler: 'own_roles:function'", ["use one of the two"]),
        ("role: shoot", ["no installed package offers the role 'shoot'", "`module:Class`"]),
    ],
)
def test_what_is_wrong_is_said_at_its_place(folder: Path, agent: str, words: list[str]) -> None:
    text = said(folder, f"  - {{name: a, {agent}}}\n")
    assert text.startswith(str(folder / "agents.yaml:4:"))
    for word in words:
        assert word in text


def test_an_agent_that_it_calls_must_be_there(folder: Path) -> None:
    assert "no agent is named 'loud'" in said(folder, "  - {name: a, role: 'own_roles:Asks'}\n")


def test_editors_know_that_its_keys_are_its_own() -> None:
    schema = document_schema()
    checker = jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))

    def fits(**agent: Any) -> bool:
        return bool(checker.is_valid({"version": 2, "agents": [agent]}))

    assert fits(name="a", role="own_roles:Shout", times=3)
    assert not fits(name="a", role="own_roles:Shout", timeout=[])
    assert not fits(name="a", role="react", times=3)
    assert not fits(name="a", role="nothing")


def test_each_of_its_agents_is_a_service_with_rights_of_its_own() -> None:
    agents = [
        Agent("loud", role="own_roles:Shout"),
        Agent("asks", role="own_roles:Asks"),
        Agent("journal", role="logger"),
    ]
    app = App(agents, model=ScriptedModel(["x"]))
    found = {user.name: user for user in users(app)}
    assert {"loud", "asks", "logger"} <= found.keys()
    assert f"{app.names.prefix}call.loud.>" in found["asks"].publish
    assert f"{app.names.prefix}call.llm.>" in found["asks"].publish
    assert f"{app.names.prefix}call.journal.>" not in found["asks"].publish

"""Roles come from installed packages; a third party's is as good as ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aixgo import Agent, App, ConfigError
from aixgo.agents.role import ROLES, find_role, known_roles

PACKAGE = '''
from aixgo import Context, Message, Role
from aixgo.config.agents import Options

class OwnOptions(Options):
    """OwnOptions of the parrot."""
    times: int = 2
    """How often it says it."""

class Parrot(Role):
    """Says it again."""
    options_model = OwnOptions

    async def execute(self, message: Message, ctx: Context) -> str:
        return " ".join([message.text] * self.options.times)

class Stone:
    """Not a role."""
'''
ENTRY_POINTS = """[aixgo.roles]
parrot = aixgo_parrot:Parrot
stone = aixgo_parrot:Stone
ghost = aixgo_ghost:Ghost
"""


@pytest.fixture(autouse=True)
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package the way pip would."""
    (tmp_path / "aixgo_parrot.py").write_text(PACKAGE)
    info = tmp_path / "aixgo_parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aixgo-parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    ROLES.forget()
    yield
    ROLES.forget()
    sys.modules.pop("aixgo_parrot", None)


async def test_a_third_party_role_works_like_a_shipped_one() -> None:
    assert "parrot" in known_roles()
    async with App(agents=[Agent("polly", role="parrot", times=3)]).running() as system:
        assert (await system.call("polly", "hello")).text == "hello hello hello"


def test_its_options_are_checked_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"'time'.*did you mean 'times'"):
        Agent("polly", role="parrot", time=3)
    with pytest.raises(ConfigError, match="times"):
        Agent("polly", role="parrot", times="many")


def test_an_entry_point_that_is_no_role_or_not_there_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"not a subclass of aixgo.Role"):
        find_role("stone")
    with pytest.raises(ConfigError, match=r"cannot be loaded.*aixgo_ghost"):
        find_role("ghost")


async def test_an_external_agent_is_provisioned_and_called_but_never_served_here() -> None:
    app = App(agents=[Agent("there", role="external"), Agent("polly", role="parrot", times=1)])
    assert app.served() == ["polly"]
    assert [need.name for need in app.needs()] == ["there", "polly"]
    async with app.running() as system:
        assert list(system.services) == ["polly"]
        run = await system.send("there", "hello")
        assert await system.result("there", run) is None
    with pytest.raises(ConfigError, match=r"'there' has the role 'external': another program"):
        app.served(["there"])

"""The command line with a role of one's own, in a folder and in an installed package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROLE = '''\
from aixgo import Context, Message, Role
from aixgo.config.agents import Options

class ShoutOptions(Options):
    times: int = 1
    """How many exclamation marks."""

class Shout(Role):
    """Answers in capital letters."""
    options_model = ShoutOptions

    async def execute(self, message: Message, ctx: Context) -> str:
        return message.text.upper() + "!" * self.options.times
'''
AGENTS = "version: 2\nagents: [{name: loud, role: 'own:Shout', times: 2}]\n"

PACKAGE = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "own-agents"
version = "1.0"
[project.entry-points."aixgo.roles"]
shout = "own:Shout"
[tool.hatch.build.targets.wheel]
packages = ["own.py"]
"""


def test_a_document_runs_with_a_class_beside_it(aixgo: Any) -> None:
    aixgo.write("own.py", ROLE)
    name = aixgo.write("agents.yaml", AGENTS)
    assert "loud (own:Shout)" in aixgo.process("validate", name).stdout
    done = aixgo.process("run", name, "--input", "hi", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "HI!!"
    schema = json.loads(aixgo.process("validate", "--schema").stdout)
    assert "OwnRoleAgent" in schema["$defs"]


def test_a_class_that_is_not_there_is_said_with_its_place(aixgo: Any) -> None:
    name = aixgo.write("agents.yaml", AGENTS)
    done = aixgo.process("validate", name)
    assert done.returncode == 2
    assert f"{name}:2:" in done.stderr
    assert "no module 'own'" in done.stderr


@pytest.mark.long
def test_a_role_of_an_installed_package_runs_by_its_name(aixgo: Any, tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "own.py").write_text(ROLE)
    (source / "pyproject.toml").write_text(PACKAGE)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=source, capture_output=True, timeout=120, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpack = [sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)]
    subprocess.run(unpack, timeout=60, check=True)
    name = aixgo.write("agents.yaml", AGENTS.replace("own:Shout", "shout"))
    aixgo.environment["PYTHONPATH"] = str(site)
    done = aixgo.process("run", name, "--input", "hi", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "HI!!"

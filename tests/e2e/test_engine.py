"""`.ci/engine`: what it installs on a new machine runs there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.containers


def run(*command: str | Path, **environment: str) -> str:
    """Return the output of a command that must succeed."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_compose_plugin_that_it_installs_runs(engine: None, tmp_path: Path) -> None:
    plugins = tmp_path / "config/cli-plugins"

    run(ROOT / ".ci/engine", "compose", plugins, HOME=str(tmp_path))

    # its own version, without the one that this machine may have: Docker looks here first
    assert "v2.40.3" in run("docker", "compose", "version", DOCKER_CONFIG=str(plugins.parent))
    assert [file.name for file in plugins.iterdir()] == ["docker-compose"]
    assert (plugins / "docker-compose").read_bytes()[:4] == b"\x7fELF", "it depends on a script"


def test_a_second_run_installs_nothing(engine: None, tmp_path: Path) -> None:
    config = str(tmp_path / "config")
    assert "docker engine" in run(ROOT / ".ci/engine", DOCKER_CONFIG=config)
    assert "installing" not in run(ROOT / ".ci/engine", DOCKER_CONFIG=config)
    assert "version" in run("docker", "compose", "version", DOCKER_CONFIG=config)

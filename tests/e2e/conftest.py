"""End-to-end tests: the real command line against real containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples/quickstart/agents.yaml"
AIXGO = Path(sys.executable).with_name("aixgo")

# testcontainers: its reaper is one more image to pull, and the fixtures here end what they start;
# containers are reached over published ports, also from inside a container.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
os.environ.setdefault("TC_HOST", "127.0.0.1")


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip where no container engine answers."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no container engine answers ({error}); on Debian `.ci/engine` starts one")


Ask = Callable[[str], dict[str, Any]]


@pytest.fixture
def ask() -> Ask:
    """Return `ask(broker)`: the front desk's answer to one message, through the command line."""

    def run(broker: str) -> dict[str, Any]:
        message = "I was charged twice for my subscription this month."
        done = subprocess.run(
            [AIXGO, "run", QUICKSTART, "--broker", broker, "--input", message, "--json"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        answer: dict[str, Any] = json.loads(line)
        return answer

    return run

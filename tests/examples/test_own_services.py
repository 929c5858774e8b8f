"""Agents of one's own are deployed as `docs/how-to/deploy.md` says: each a process."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import connect
from aixgo.errors import RemoteError
from aixgo.testing.nats_server import NatsServer

ROOT = Path(__file__).parents[2]
HERE = ROOT / "examples" / "own-services"
PAGE = (ROOT / "docs/how-to/deploy.md").read_text()
PATIENCE = 60.0


def commands(verb: str) -> list[list[str]]:
    """Return the arguments of a verb's commands on the page."""
    lines = re.findall(rf"^aixgo {verb} (.*)$", PAGE, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def aixgo(*arguments: str, url: str) -> list[str]:
    return [sys.executable, "-m", "aixgo.cli", *arguments, "--broker", url]


def provision(file: str, url: str) -> None:
    subprocess.run(
        aixgo("provision", file, url=url),
        cwd=HERE,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )


@contextmanager
def service(arguments: list[str], url: str) -> Iterator[str]:
    """Run one service until the block is left; yields the agent that it serves."""
    words = [*arguments]
    words[words.index("--health-port") + 1] = "0"
    process = subprocess.Popen(
        [*aixgo("service", *words, url=url), "--log-format", "json"],
        cwd=HERE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            entry: dict[str, Any] = json.loads(line)
            if entry["message"] == "service.ready":
                break
        else:
            pytest.fail("the service ended before it was ready")
        (agent,) = entry["agents"]
        yield agent
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.nats
@pytest.mark.long
async def test_three_processes_make_one_offer() -> None:
    with NatsServer() as server, ExitStack() as stack:
        file, *_ = commands("provision")[0]
        provision(file, server.url)
        served = [stack.enter_context(service(words, server.url)) for words in commands("service")]
        assert served == ["stock", "price", "desk"]
        async with connect(server.url) as client:
            assert sorted(await client.agents()) == ["desk", "price", "stock"]
            offer = await client.call("desk", {"item": "lamp", "count": 10}, timeout=PATIENCE)
            assert offer.data == {"item": "lamp", "total": 179.1, "in_days": 1}
            with pytest.raises(RemoteError, match="there is no 'sofa'"):
                await client.call("desk", {"item": "sofa"}, timeout=PATIENCE)


@pytest.mark.parametrize("form", ["clone", "wheel"])
@pytest.mark.long
def test_the_distribution_installs_from_a_clone_and_as_a_wheel(form: str, tmp_path: Path) -> None:
    """The example runs on what was installed, without this repository's own packages."""
    what, target = str(ROOT / "shared"), tmp_path / "installed"
    if form == "wheel":
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        subprocess.run(build, cwd=ROOT / "shared", capture_output=True, timeout=120, check=True)
        (wheel,) = tmp_path.glob("*.whl")
        what = str(wheel)
    install = ["--offline", "--no-deps", "--no-build-isolation", "--target", str(target), what]
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "pip", "install", "--python", sys.executable, *install],
        capture_output=True,
        timeout=120,
        check=True,
    )
    code = (
        "import aixgo, runpy; print(aixgo.__file__); runpy.run_path('shop.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    place, offer = done.stdout.splitlines()
    assert Path(place).is_relative_to(target)
    assert offer == "{'item': 'lamp', 'total': 179.1, 'in_days': 1}"

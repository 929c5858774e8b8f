"""`aixgo models`: the servers of local models that run in the background."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aixgo.models.local.files import LocalFiles, ServerState, lock

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def files(aixgo: Any, tmp_path: Path) -> LocalFiles:
    """The files of a local model in a runtime directory of their own."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    aixgo.environment = {"AIXGO_RUNTIME_DIR": str(directory)}
    return LocalFiles(directory, "smollm2")


@pytest.fixture
def server(files: LocalFiles) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a local model's server, and is noted as one."""
    with subprocess.Popen([sys.executable, "-c", SLEEPS, "aixgo.models.local.server"]) as process:
        files.note(ServerState(pid=process.pid, port=4711, key="secret"))
        yield process
        process.kill()


def test_a_server_is_listed_and_stopped(aixgo: Any, server: subprocess.Popen[bytes]) -> None:
    (listed,) = map(json.loads, aixgo("models", "ls", "--json").stdout.splitlines())
    assert (listed["model"], listed["pid"], listed["port"]) == ("local/smollm2", server.pid, 4711)
    assert not listed["in_use"]
    shown = aixgo("models", "ls").stdout
    assert "local/smollm2" in shown
    assert "no; ends 10m after its last use" in shown
    assert "secret" not in shown

    assert aixgo("models", "stop", "local/smollm2").stdout == "local/smollm2 stopped\n"
    assert server.wait(10) == -15
    assert aixgo("models", "ls").stdout == "no server of a local model runs\n"
    again = aixgo("models", "stop", "smollm2")
    assert (again.returncode, again.stderr) == (
        2,
        "no server of local/smollm2 runs; running: none\n",
    )
    assert aixgo("models", "stop").returncode == 0


def test_a_server_in_use_is_stopped_only_by_force(
    aixgo: Any, files: LocalFiles, server: subprocess.Popen[bytes]
) -> None:
    lease = lock(files.path("lease"), shared=True)
    assert lease is not None
    try:
        refused = aixgo("models", "stop")
        assert refused.returncode == 2
        assert "local/smollm2 is in use by a process" in refused.stderr
        assert server.poll() is None
        (listed,) = map(json.loads, aixgo("models", "ls", "--json").stdout.splitlines())
        assert listed["in_use"]
        assert aixgo("models", "stop", "--force").returncode == 0
        assert server.wait(10) == -15
    finally:
        os.close(lease)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_another_process_that_got_the_number_is_left_alone(aixgo: Any, files: LocalFiles) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPS]) as process:
        files.note(ServerState(pid=process.pid, port=4711, key="secret"))
        assert aixgo("models", "stop").stdout == "no server of a local model runs\n"
        assert process.poll() is None
        process.kill()

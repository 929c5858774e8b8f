"""A test that hangs costs its own result and a bounded time, never the rest of the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aixgo.testing.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
HANGING = """
import threading
import pytest

@pytest.fixture
def hanging():
    yield
    threading.Event().wait()  # pytest-timeout does not watch after a failure

def test_that_fails(hanging):
    assert False

def test_another():
    pass
"""


@pytest.mark.long
def test_a_fixture_that_hangs_after_a_failure_ends_and_the_other_tests_run(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 1\n")
    (tmp_path / "test_hanging.py").write_text(HANGING)
    plugins = ["-p", "xdist", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-n", "1"],
        cwd=tmp_path,
        env={**os.environ, "AIXGO_REQUIRE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "test_that_fails hangs after 1.25 s, so its process ends" in done.stderr
    assert "in hanging" in done.stderr  # where
    assert "crashed while running 'test_hanging.py::test_that_fails'" in done.stdout
    assert "2 failed, 1 passed" in done.stdout  # the failure, and that it did not end

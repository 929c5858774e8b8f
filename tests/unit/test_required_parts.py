"""The guard of CI: a test whose part was installed on purpose may not skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aixgo.testing.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
SKIPPING = """
import pytest

@pytest.mark.nats
def test_it():
    pytest.skip("nats-server is not here")
"""
SKIPPING_MODULE = 'import pytest\npytest.importorskip("no_such_module")\n'


def run_pytest(folder: Path, source: str, required: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    nats: a real server\n")
    (folder / "test_skipping.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        # without the plugins of this environment it starts in a fraction of the time
        env={**os.environ, "AIXGO_REQUIRE": required, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_a_skip_of_what_must_run_is_a_failure_that_keeps_its_reason(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPPING, "nats")
    assert done.returncode == 1, done.stdout
    assert "nats-server is not here; AIXGO_REQUIRE forbids this skip" in done.stdout


@pytest.mark.parametrize("required", ["", "nats"])
@pytest.mark.long
def test_a_module_that_skips_itself_fails_only_where_something_must_run(
    tmp_path: Path, required: str
) -> None:
    done = run_pytest(tmp_path, SKIPPING_MODULE, required)
    failed = "AIXGO_REQUIRE forbids this skip" in done.stdout
    assert failed == bool(required), done.stdout


@pytest.mark.long
def test_without_the_variable_a_skip_stays_a_skip(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPPING, "")
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout


@pytest.mark.long
def test_a_misspelt_requirement_is_refused(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPPING, "natz")
    assert done.returncode == 4
    assert "AIXGO_REQUIRE names natz" in done.stderr

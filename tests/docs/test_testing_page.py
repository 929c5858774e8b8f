"""The tests of docs/how-to/testing.md pass, as a user's pytest would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/testing.md"


@pytest.mark.nats
@pytest.mark.long
def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    files = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", PAGE.read_text(), re.M | re.S))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("passed") == 1
    assert len(re.findall(r"^def test_|^async def test_", "".join(files.values()), re.M)) == 6
    assert "7 passed" in done.stdout, done.stdout  # one of the six runs on both brokers

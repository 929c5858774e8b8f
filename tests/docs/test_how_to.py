"""What the how-to pages show runs, and prints what they say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aixgo.cli._group import build

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/how-to").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("aixgo ")]


def test_there_are_pages_with_programs_and_commands() -> None:
    assert any(blocks(page, "python") for page in PAGES)
    assert any(commands(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.long(only=("simulate", "over-the-network"))
def test_a_program_prints_what_its_page_says(page: Path) -> None:
    programs, outputs = blocks(page, "python"), blocks(page, "text")
    assert len(programs) == len(outputs)
    for program, output in zip(programs, outputs, strict=True):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one_that_there_is(page: Path) -> None:
    for words in commands(page):
        command: Any = build()
        rest = list(words)
        while hasattr(command, "commands") or hasattr(command, "get_command"):
            command = command.get_command(None, rest.pop(0))
            assert command is not None, words
        with command.make_context(words[-1], rest) as context:  # parses, and does not run
            assert context.params, words

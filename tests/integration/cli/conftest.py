"""The command line as a user starts it: arguments, environment, output, exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from aixgo.cli import main
from aixgo.testing.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def _logging_as_it_was() -> Generator[None, None, None]:
    root, own = logging.getLogger(), [logging.getLogger(n) for n in ("aixgo", "aixgo_services")]
    handlers, levels = root.handlers[:], [one.level for one in (root, *own)]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for logger, level in zip((root, *own), levels, strict=True):
            logger.setLevel(level)


@dataclass
class Aixgo:
    """Starts `aixgo` in a folder of its own, without settings of this machine."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The command, without arguments."""
        return [sys.executable, "-m", "aixgo.cli"]

    @property
    def env(self) -> dict[str, str]:
        """Environment of the process."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AIXGO_")}
        return {**kept, "COLUMNS": "120", "NO_COLOR": "1", **self.environment}

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """Run to the end inside of this process, which is quick and shows what is left open."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.env, **(env or {})}, clear=True),
            mock.patch.object(sys, "argv", ["aixgo", *arguments]),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _logging_as_it_was(),
        ):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if not ended.code else 1
        return Done(code, out.getvalue(), err.getvalue())

    def process(self, *arguments: str, stdin: str | bytes = "") -> Done:
        """Run to the end in a process."""
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            cwd=self.folder,
            env=self.env,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start and return the process; both outputs are pipes."""
        return subprocess.Popen(
            [*self.command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.env,
        )

    def write(self, name: str, text: str) -> str:
        """Write a file into the folder; returns its name."""
        (self.folder / name).write_text(text)
        return name


@pytest.fixture
def aixgo(tmp_path: Path) -> Aixgo:
    """The command in a temporary folder."""
    return Aixgo(tmp_path)


Started = Callable[[Sequence[str]], subprocess.Popen[str]]


@pytest.fixture
def started(aixgo: Aixgo) -> Iterator[Started]:
    """Start commands that are killed at the end, if they still run."""
    processes: list[subprocess.Popen[str]] = []

    def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
        processes.append(aixgo.start(*arguments))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()

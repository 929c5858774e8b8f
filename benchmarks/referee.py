"""Runs contenders, each a process that stays warm, in interleaved rounds."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage import python_of, variables

CONTENDERS = Path(__file__).parent / "contenders"
PATIENCE_SECONDS = 60.0
"""For a contender to say something: importing litellm takes three, a round a few."""


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    rounds: int
    seconds: float
    quick: bool = False


class Contender:
    """A child process that waits for commands (`contenders/_bout.py`) or serves."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process, self.name = process, name

    def line(self) -> str:
        """Return its next line; it is killed when none comes within `PATIENCE_SECONDS`.

        Raises:
            RuntimeError: it ended; its own error is on standard error.
        """
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self.process.wait()}; see its error")
        return line.strip()

    def measure(self, *, seconds: float, at_once: int) -> dict[str, float]:
        """Return its calls/s and latencies, measured for so long."""
        result: dict[str, float] = self.ask(seconds=seconds, at_once=at_once)
        return result

    def ask(self, **command: float) -> Any:
        """Return what it answers to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def megabytes(self) -> float:
        """Return its resident memory in 10⁶ bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"{self.name}: no VmRSS in /proc; this row needs Linux")


@contextmanager
def contender(script: str, *arguments: str, home: str = "") -> Generator[Contender, None, None]:
    """Run a script of `contenders/` until the block is left, with the Python of `home`."""
    name = " ".join((script, *arguments[1:]))
    process = subprocess.Popen(
        [python_of(home), str(CONTENDERS / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Contender(process, name)
    finally:
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def ready(script: str, *arguments: str, home: str = "") -> Generator[Contender, None, None]:
    """Like `contender`, once it has said that it is ready."""
    with contender(script, *arguments, home=home) as started:
        said = started.line()
        if said != "ready":
            raise RuntimeError(f"{started.name} said {said!r} instead of 'ready'")
        yield started


def run(script: str, *arguments: str, home: str = "") -> None:
    """Run a script of `contenders/` to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its own error is on standard error.
    """
    command = [python_of(home), str(CONTENDERS / script), *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=PATIENCE_SECONDS)


Measured = dict[str, dict[str, list[float]]]
"""By contender, by quantity (rate, p50, p99), one value for each round."""


def rounds(contenders: dict[str, Contender], given: Options, *, at_once: int) -> Measured:
    """Measure contenders in turn, another one first in each round."""
    names = list(contenders)
    measured: Measured = {name: {"rate": [], "p50": [], "p99": []} for name in names}
    for name in names:
        contenders[name].measure(seconds=given.seconds / 2, at_once=at_once)  # warm
    for turn in range(given.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            result = contenders[name].measure(seconds=given.seconds, at_once=at_once)
            for quantity, values in measured[name].items():
                values.append(result[quantity])
    return measured


def quantity(measured: Measured, name: str, factor: float = 1.0) -> dict[str, list[float]]:
    """Return one quantity of every contender, multiplied by `factor`."""
    return {who: [value * factor for value in of[name]] for who, of in measured.items()}


def options(description: str | None) -> Options:
    """Read the command line that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each round (%(default)s)")
    given = parser.parse_args()
    return Options(1, 0.1, quick=True) if given.quick else Options(given.rounds, given.seconds)

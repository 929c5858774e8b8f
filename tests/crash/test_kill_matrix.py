"""The kill matrix: SIGKILL whoever works, and count what ran twice.

Service processes (orchestrators, agents, model gateways), a real nats-server and a counting model
provider over HTTP; see the package `kill_matrix`. Required: every accepted run finishes with the
right result, and no step runs or is paid again whose result was recorded. What may repeat is the
one execution in flight; it is counted. `make crash` runs the large matrix and prints the table of
`docs/durability.md`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from itertools import combinations
from pathlib import Path

import pytest

from aixgo.testing.waiting import eventually

from .kill_matrix.agents import PATTERNS
from .kill_matrix.drive import at_every_boundary, at_random_moments, stage
from .kill_matrix.table import HEADER, Row

pytestmark = pytest.mark.nats

VICTIMS = ("orchestrator", "agent", "gateway", "server")
SINGLE: list[tuple[str, ...]] = [(victim,) for victim in VICTIMS]
PAIRS = list(combinations(VICTIMS, 2))
ANYONE: list[tuple[str, ...]] = [*SINGLE, *PAIRS]

RANDOM: list[tuple[str, list[tuple[str, ...]], int]] = [
    ("nothing", [], 0),
    *((" + ".join(victims), [victims], 30 // len(victims)) for victims in ANYONE),
    ("any one or two of them", ANYONE, 30),
]
"""Title, who is killed together, at how many random moments."""

LANES = 5
"""Parts of the matrix that run side by side where each mostly waits for a takeover."""


async def test_whoever_is_killed_every_run_finishes_and_nothing_finished_runs_again(
    tmp_path: Path,
) -> None:
    row = Row("anyone")
    await at_random_moments(tmp_path, row, ANYONE, moments=5, calm=0, ack_wait=1.0)
    assert not row.broken, row.problems()
    assert row.kills >= 5
    assert row.recovery


@pytest.mark.long
async def test_a_service_that_ends_by_itself_is_started_again_and_counted(tmp_path: Path) -> None:
    row, chance = Row("nobody"), random.Random(1)
    async with stage(tmp_path, row, kinds=["agent"], size=1, ack_wait=1.5, chance=chance) as made:
        await made.ready()
        (pid,) = made.fleet.pids
        os.kill(pid, signal.SIGTERM)
        await eventually(lambda: made.fleet.exits)
        assert (await made.client.call("left", "x", timeout=60)).text == "left(x)"
    assert row.exits == [f"agent {pid} ended with 0"]
    assert "started again" in row.log_tail
    assert not row.broken


def say(text: str) -> None:
    """Print now, even under pytest."""
    os.write(2, f"{text}\n".encode())


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_the_large_matrix(tmp_path: Path) -> None:
    """Rows show as they come (`-s`)."""
    began = time.monotonic()
    say(f"\n{HEADER}")
    rows: list[Row] = []
    for number, (name, groups, moments) in enumerate(RANDOM):
        folder = tmp_path / str(number)
        await asyncio.to_thread(folder.mkdir)
        row = Row(name)
        await at_random_moments(folder, row, groups, moments=moments, runs=200, seed=number)
        say(str(row))
        rows.append(row)
    rows += await every_boundary(tmp_path)
    kills, runs = sum(row.kills for row in rows), sum(row.accepted for row in rows)
    say("\n".join(["", HEADER, *map(str, rows)]))
    say(f"\n{kills} kills, {runs} runs, {time.monotonic() - began:.0f} s")
    assert not any(row.broken for row in rows), "\n".join(row.problems() for row in rows)
    assert runs >= 1_000
    assert kills >= 300


BOUNDARIES: list[tuple[str, tuple[str, ...]]] = [
    ("orchestrator", ("orchestrator",)),
    ("orchestrator", ("server",)),
    ("orchestrator", ("orchestrator", "server")),
    ("orchestrator", ("orchestrator", "agent")),
    ("orchestrator", ("orchestrator", "gateway")),
    ("agent", ("agent",)),
    ("agent", ("agent", "server")),
    ("agent", ("agent", "gateway")),
    ("gateway", ("gateway",)),
    ("gateway", ("gateway", "server")),
]
"""Whose boundaries, and who is killed there."""


async def every_boundary(folder: Path) -> list[Row]:
    """Kill each service, alone and with another victim, at each of its boundaries."""
    lanes = asyncio.Semaphore(LANES)
    async with asyncio.TaskGroup() as group:
        making = [
            group.create_task(boundaries_of(folder, lanes, kind, victims))
            for kind, victims in BOUNDARIES
        ]
    return [task.result() for task in making]


async def boundaries_of(
    folder: Path, lanes: asyncio.Semaphore, kind: str, victims: tuple[str, ...]
) -> Row:
    """Return one row over all patterns that use the services."""

    async def part(pattern: str) -> tuple[Row, int]:
        async with lanes:
            one = Row("")
            place = folder / f"{kind}-{'-'.join(victims)}-{pattern}"
            await asyncio.to_thread(place.mkdir)
            return one, await at_every_boundary(place, one, pattern, kind, victims)

    patterns = ("react",) if "gateway" in (kind, *victims) else PATTERNS
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(part(pattern)) for pattern in patterns]
    row = Row("")
    for task in parts:
        row += task.result()[0]
    found = sum(task.result()[1] for task in parts)
    row.victims = f"{' + '.join(victims)}, at each of {found} boundaries of the {kind}"
    say(str(row))
    return row

"""The kill matrix on three servers that replicate: leaders killed, frozen, restarted, cut off.

Required as for one server: every accepted run finishes with the right result, no step runs or is
paid again whose result was recorded, and no answer of a server in trouble fails a run. `make crash`
prints the table of `docs/durability.md`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from .kill_matrix.cluster import SIZE, Cluster
from .kill_matrix.drive import while_a_server_fails
from .kill_matrix.table import HEADER, Row
from .test_kill_matrix import say

pytestmark = [pytest.mark.nats, pytest.mark.slow, pytest.mark.timeout(1800)]


async def rolling_restart(servers: Cluster, first: int, away: float) -> None:
    """Restart every server in turn, the leader first, each when the one before is up again."""
    for step in range(SIZE):
        await servers.restart((first + step) % SIZE, away)


Fault = Callable[[Cluster, int, float], Awaitable[None]]
FAULTS: list[tuple[str, Fault, int, tuple[float, float]]] = [
    ("leader killed", Cluster.kill, 10, (0.2, 2.0)),
    ("all servers restarted in turn", rolling_restart, 3, (0.2, 1.0)),
    ("leader frozen", Cluster.freeze, 5, (2.0, 12.0)),
    ("leader cut off from the others", Cluster.cut_off, 5, (8.0, 18.0)),
]
"""Title, what happens, how often, and for how many seconds."""


@pytest.mark.parametrize(("title", "fault", "moments", "away"), FAULTS, ids=[f[0] for f in FAULTS])
async def test_a_server_of_three_may_fail(
    tmp_path: Path, title: str, fault: Fault, moments: int, away: tuple[float, float]
) -> None:
    began, row = time.monotonic(), Row(title)
    await while_a_server_fails(tmp_path, row, fault, moments=moments, away=away)
    say(f"\n{HEADER}\n{row}\n{time.monotonic() - began:.0f} s")
    assert not row.broken, row.problems()
    assert row.kills == moments
    assert row.recovery

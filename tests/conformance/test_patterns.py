"""Every pattern keeps its promises on every broker."""

from __future__ import annotations

import pytest

from aixgo.agents.role import find_role
from aixgo_services.orchestrator import checks


@pytest.fixture(scope="module", autouse=True)
def role() -> None:
    """Load the role before a loop runs: reading a package's files blocks."""
    find_role("orchestrator")


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
async def test_every_pattern_keeps_its_promises(
    running: checks.Running, check: checks.Check
) -> None:
    await check(running)


def test_the_checks_are_all_found() -> None:
    names = [check.__name__ for check in checks.ALL]
    assert len(names) == len(set(names)) >= 28

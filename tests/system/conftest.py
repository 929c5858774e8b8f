"""Systems of agents, on the memory broker in virtual time and on a real nats-server."""

from __future__ import annotations

import pytest

from aixgo import Agent


@pytest.fixture(scope="session")
def _roles_are_loaded() -> None:
    """The first agent of a role imports its package, which is no loop's business."""
    Agent("clock", role="producer", template="x", cron="@daily").build()


@pytest.fixture(autouse=True)
def _guarded(_roles_are_loaded: None, nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""

"""Systems of agents, on the memory broker in virtual time and on a real nats-server."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _guarded(nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""

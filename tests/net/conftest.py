"""Tools over the network, on real sockets of this machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _guarded(nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""

"""Tools over the network, on real sockets of this machine."""

from __future__ import annotations

import pytest

from ._site import built


@pytest.fixture(scope="session")
def _kinds_are_loaded() -> None:
    """Building the first tool of a kind imports what it needs, which is no loop's business."""
    built(url="https://x.test/", result="$.a")
    built(type="openapi", document="https://x.test/")
    built(type="websocket", url="wss://x.test/", message="hello")


@pytest.fixture(autouse=True)
def _guarded(_kinds_are_loaded: None, nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""

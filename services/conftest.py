"""What the tests of all services share."""

from __future__ import annotations

import pytest


@pytest.fixture
def kind() -> str:
    """The memory broker: what a service does on a real server, `tests/` has."""
    return "memory"

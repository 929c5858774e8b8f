"""Fixtures that every test shares."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests on asyncio, the loop that services run on."""
    return ("asyncio", {})

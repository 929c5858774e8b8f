"""What the tests of all services share: the memory broker in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from aixgo import Agent, App, System
from aixgo.testing.virtual_time import VirtualTimeLoop

Running = Callable[..., AbstractAsyncContextManager[System]]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Virtual time: waits cost nothing."""
    return ("asyncio", {"loop_factory": VirtualTimeLoop})


@pytest.fixture
def running() -> Running:
    """Return `running(*agents, **app options)`: a system on a memory broker of its own."""

    @asynccontextmanager
    async def run(*agents: Agent, **options: Any) -> AsyncGenerator[System, None]:
        async with App(agents, **options).running(grace=2.0) as system:
            yield system

    return run

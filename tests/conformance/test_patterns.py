"""Every pattern keeps its promises on every broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aixgo import Agent, App, System
from aixgo.agents.role import find_role
from aixgo.envelope import new_id
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.virtual_time import VirtualTimeLoop
from aixgo_services.orchestrator import checks


@pytest.fixture(scope="module")
def nats_server() -> Iterator[NatsServer]:
    """One server for all checks; each uses a namespace of its own."""
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def role() -> None:
    """Load the role before a loop runs: reading a package's files blocks."""
    find_role("orchestrator")


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
def kind(request: pytest.FixtureRequest) -> str:
    """The broker under a check."""
    return str(request.param)


@pytest.fixture
def anyio_backend(kind: str) -> tuple[str, dict[str, Any]]:
    """Virtual time where there is no socket."""
    return ("asyncio", {"loop_factory": VirtualTimeLoop} if kind == "memory" else {})


@pytest.fixture
def running(kind: str, request: pytest.FixtureRequest) -> checks.Running:
    """Serve agents in a namespace of their own."""
    address = "memory" if kind == "memory" else request.getfixturevalue("nats_server").url

    @asynccontextmanager
    async def serve(*agents: Agent) -> AsyncGenerator[System, None]:
        app = App(agents, namespace=f"t{new_id()[-12:]}")
        async with app.running(broker=address, grace=2.0) as system:
            yield system

    return serve


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
async def test_every_pattern_keeps_its_promises(
    running: checks.Running, check: checks.Check
) -> None:
    await check(running)


def test_the_checks_are_all_found() -> None:
    names = [check.__name__ for check in checks.ALL]
    assert len(names) == len(set(names)) >= 28

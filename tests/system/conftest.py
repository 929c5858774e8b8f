"""Systems of agents, on the memory broker in virtual time and on a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from aixgo import Agent, App, System
from aixgo.envelope import new_id
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.virtual_time import VirtualTimeLoop

Running = Callable[..., AbstractAsyncContextManager[System]]


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """One server for all tests; each uses a namespace of its own."""
    with NatsServer() as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
def kind(request: pytest.FixtureRequest) -> str:
    """The broker under a test."""
    return str(request.param)


@pytest.fixture
def anyio_backend(kind: str) -> tuple[str, dict[str, Any]]:
    """Virtual time where there is no socket."""
    options = {"loop_factory": VirtualTimeLoop} if kind == "memory" else {}
    return ("asyncio", options)


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Generator[None, None, None]:
    """Fail the test when Aixgo makes a blocking call in a running event loop."""
    with blockbuster_ctx("aixgo", excluded_modules=["aixgo.testing"]):
        yield


@pytest.fixture
def running(kind: str, request: pytest.FixtureRequest) -> Running:
    """Return `running(*agents, **app options)`: a system in a namespace of its own."""
    address = "memory"
    if kind == "nats":
        address = request.getfixturevalue("nats_server").url

    @asynccontextmanager
    async def run(*agents: Agent, **options: Any) -> AsyncGenerator[System, None]:
        app = App(agents, **{"namespace": f"t{new_id()[-12:]}", **options})
        async with app.running(broker=address, grace=2.0) as system:
            try:
                yield system
            finally:
                await system.stop(2.0)
                for stream in await system.broker.stream_names():
                    if f"aixgo-{system.names.namespace}" in stream:  # the server reserves its size
                        await system.broker.delete_stream(stream)

    return run

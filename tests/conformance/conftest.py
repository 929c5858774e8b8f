"""A real server, the backends on it, and a guard against blocked event loops."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from blockbuster import blockbuster_ctx

from aixgo.testing.broker_checks.nats_backend import USERS, NatsBackend
from aixgo.testing.nats_server import NatsServer


@pytest.fixture(scope="session")
def nats_server() -> Generator[NatsServer, None, None]:
    """Start a nats-server when the first test asks for it."""
    with NatsServer(USERS) as server:
        yield server


@pytest.fixture(scope="session")
def nats(nats_server: NatsServer) -> NatsBackend:
    """The adapter as it is used."""
    return NatsBackend(nats_server)


@pytest.fixture(scope="session")
def nats_without_fast_path(nats_server: NatsServer) -> NatsBackend:
    """The adapter as it falls back when its client library changes."""
    return NatsBackend(nats_server, fast=False)


@pytest.fixture
def nothing_blocks_the_loop() -> Generator[None, None, None]:
    """Fail the test when Aixgo makes a blocking call in a running event loop."""
    # starting and killing a server blocks for some milliseconds; it is what the tests do, not Aixgo
    starting = ["aixgo.testing", "aixgo.broker.embedded"]
    with blockbuster_ctx("aixgo", excluded_modules=starting):
        yield

"""A real server with the users of the checks, and the backends on it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from aixgo.testing.broker_checks.nats_backend import USERS, NatsBackend
from aixgo.testing.nats_server import NatsServer

from ._databases import postgres_server, redis_server


@pytest.fixture(scope="session")
def nats_server_with_users() -> Generator[NatsServer, None, None]:
    """Start a nats-server when the first test asks for it."""
    with NatsServer(USERS) as server:
        yield server


@pytest.fixture(scope="session")
def nats(nats_server_with_users: NatsServer) -> NatsBackend:
    """The adapter as it is used."""
    return NatsBackend(nats_server_with_users)


@pytest.fixture(scope="session")
def nats_without_fast_path(nats_server_with_users: NatsServer) -> NatsBackend:
    """The adapter as it falls back when its client library changes."""
    return NatsBackend(nats_server_with_users, fast=False)


@pytest.fixture(scope="session")
def redis_url() -> Generator[str, None, None]:
    """One Redis server for all checks; each has a namespace of its own."""
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str, None, None]:
    """One PostgreSQL server for all checks; each has a namespace of its own."""
    with postgres_server() as url:
        yield url

"""Every promise of the session port, on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from aixgo.broker import topology
from aixgo.broker.open import open_broker
from aixgo.config.sessions import SessionSettings
from aixgo.envelope import new_id
from aixgo.errors import StoreUnavailable
from aixgo.stores.sessions.broker import BrokerSessions
from aixgo.stores.sessions.open import open_sessions
from aixgo.subjects import Names
from aixgo.testing import session_checks
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.session_checks import Check, Stage

guarded = pytest.mark.usefixtures("nothing_blocks_the_loop")
"""Not for clients of databases: they read small files of the user when they connect."""


def name_of(check: Check) -> str:
    return check.__name__


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Stage, None]:
    async with open_broker("memory") as broker:
        await topology.provision(broker, names := Names())
        yield Stage(BrokerSessions(broker, names), BrokerSessions(broker, names))


@asynccontextmanager
async def on_a_server(url: str) -> AsyncGenerator[Stage, None]:
    names = Names(new_id()[-12:])
    async with open_broker(url) as broker, open_broker(url) as other:
        await topology.provision(broker, names)
        yield Stage(BrokerSessions(broker, names), BrokerSessions(other, names))


@asynccontextmanager
async def in_a_store(url: str) -> AsyncGenerator[Stage, None]:
    settings, names = SessionSettings.at(url), Names(new_id()[-12:])
    async with open_sessions(settings, names) as store, open_sessions(settings, names) as other:
        assert store is not None
        assert other is not None
        yield Stage(store, other)


@guarded
@pytest.mark.virtual_time
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_in_the_memory_broker_keep_their_promises(check: Check) -> None:
    async with in_memory() as stage:
        await check(stage)


@guarded
@pytest.mark.nats
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_on_a_server_keep_their_promises(
    check: Check, nats_server: NatsServer
) -> None:
    async with on_a_server(nats_server.url) as stage:
        await check(stage)


@pytest.mark.redis
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_in_redis_keep_their_promises(check: Check, redis_url: str) -> None:
    async with in_a_store(redis_url) as stage:
        await check(stage)


@pytest.mark.postgres
@pytest.mark.long
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_in_postgres_keep_their_promises(check: Check, postgres_url: str) -> None:
    async with in_a_store(postgres_url) as stage:
        await check(stage)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        pytest.param("redis", "redis://127.0.0.1:1/0", marks=pytest.mark.redis),
        pytest.param("postgres", "postgresql://u:pw@127.0.0.1:1/d", marks=pytest.mark.postgres),
    ],
)
async def test_a_store_that_is_away_says_so(kind: str, url: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        async with in_a_store(url):
            pass
    assert caught.value.retryable
    assert "pw" not in str(caught.value)


@pytest.mark.postgres
@pytest.mark.long
async def test_processes_that_make_the_tables_at_once_do_not_meet(postgres_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(_begin(postgres_url))


async def _begin(url: str) -> None:
    async with in_a_store(url) as stage:
        await stage.say("one")
        assert await stage.heard() == ["one"]

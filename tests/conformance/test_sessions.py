"""Every promise of the session port, on every adapter."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from aixgo.broker import topology
from aixgo.broker.open import open_broker
from aixgo.envelope import new_id
from aixgo.stores.sessions.broker import BrokerSessions
from aixgo.subjects import Names
from aixgo.testing import session_checks
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.session_checks import Check, Stage

pytestmark = pytest.mark.usefixtures("nothing_blocks_the_loop")


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


@pytest.mark.virtual_time
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_in_the_memory_broker_keep_their_promises(check: Check) -> None:
    async with in_memory() as stage:
        await check(stage)


@pytest.mark.nats
@pytest.mark.parametrize("check", session_checks.ALL, ids=name_of)
async def test_sessions_on_a_server_keep_their_promises(
    check: Check, nats_server: NatsServer
) -> None:
    async with on_a_server(nats_server.url) as stage:
        await check(stage)

"""Every check fails on a broker that breaks its promise; one that cannot fail proves nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aixgo.errors import BrokerError
from aixgo.testing import broker_checks
from aixgo.testing.broker_checks import Backend, Check, Stage
from aixgo.testing.broker_checks.memory_backend import MemoryBackend
from aixgo.testing.virtual_time import VirtualTimeLoop

from ._sabotage import Sabotaged
from ._sabotage_of_consumers import CONSUMERS
from ._sabotage_of_reading import READING
from ._sabotage_of_the_bus import BUS
from ._sabotage_of_the_log import LOG


class CutsNothing(MemoryBackend):
    @asynccontextmanager
    async def cut(self, broker: Any) -> AsyncGenerator[None, None]:
        yield


class LosesEverythingInARestart(MemoryBackend):
    async def restart(self) -> None:
        async with self.connect() as broker:
            for name in await broker.stream_names():
                await broker.delete_stream(name)


class RestartsNothing(MemoryBackend):
    async def restart(self) -> None:
        return


SERVERS: dict[str, tuple[Callable[[], MemoryBackend], str]] = {
    "cuts nothing": (
        CutsNothing,
        """
        a_watch_goes_on_over_a_lost_connection
        the_buffer_of_a_lost_connection_is_bounded
        an_append_outlives_a_lost_connection
        subscriptions_and_pulls_are_restored
        a_lost_connection_keeps_its_messages_until_ack_wait
        """,
    ),
    "loses everything in a restart": (
        LosesEverythingInARestart,
        """
        a_schedule_survives_a_restart_of_the_server
        a_killed_server_keeps_its_file_streams
        """,
    ),
    "restarts nothing": (RestartsNothing, "a_killed_server_forgets_the_ids_of_consumed_calls"),
}

WRAPPERS = {**BUS, **LOG, **READING, **CONSUMERS}

FAILS = {name: checks for name, (_, checks) in {**WRAPPERS, **SERVERS}.items()}
"""Checks that must notice each sabotage; many notice more than one."""

NOT_THE_BROKERS = {"an_invalid_key_is_refused"}
"""Checks of code above the broker, which no broker can break; its unit tests can fail."""

BY_NAME = {check.__name__: check for check in broker_checks.ALL}


def backend_of(name: str) -> Backend:
    if name in SERVERS:
        return SERVERS[name][0]()
    return Sabotaged(WRAPPERS[name][0], MemoryBackend())


async def notices(check: Check, backend: Backend) -> bool:
    """Whether the check fails; an error of Aixgo that it lets through is a failure too."""
    try:
        async with asyncio.timeout(3600), Stage(backend) as stage:
            await check(stage)
    except (AssertionError, BrokerError):
        return True
    return False


@pytest.mark.parametrize("sabotage", FAILS)
def test_a_broken_promise_is_noticed(sabotage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for name in FAILS[sabotage].split():
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            noticed = runner.run(notices(BY_NAME[name], backend_of(sabotage)))
        assert noticed, f"{name} is content with a broker that {sabotage}"


def test_every_check_can_fail() -> None:
    listed = [name for names in FAILS.values() for name in names.split()]
    assert len(set(listed)) == len(listed)
    meaningful = {
        check.__name__
        for check in broker_checks.ALL
        if broker_checks.no_meaning(check, "memory") is None
    }
    assert set(listed) | NOT_THE_BROKERS == meaningful

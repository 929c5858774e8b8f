"""A disk without room: an error within seconds that says so, and work goes on when there is room.

The server's files may not grow over a limit here, which needs no rights and no disk of its own. A
server that fails to write gives no answer at all, and keeps failing until it is restarted.
"""

from __future__ import annotations

import asyncio
import os
import resource

import pytest

from aixgo.broker import Broker, StreamConfig
from aixgo.broker.nats import NatsBroker, appends
from aixgo.cli.doctor import _writable
from aixgo.errors import DiskFull
from aixgo.subjects import CALLS, STREAMS, Names
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats

LOG = StreamConfig(name="L", subjects=("l.>",))
FILE_BYTES = 512 * 1024
RECORD = os.urandom(60_000)


def limit_files(server: NatsServer, size: int) -> None:
    """Let no file of the server grow over `size` bytes."""
    assert server.pid is not None
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def fill(broker: Broker, subject: str) -> None:
    """Append until it fails."""
    for _ in range(2 * FILE_BYTES // len(RECORD)):
        await broker.append(subject, RECORD)


async def test_a_full_disk_is_an_error_within_seconds(server: NatsServer) -> None:
    async with await NatsBroker.connect(server.url) as broker:
        await broker.ensure_stream(LOG)
        limit_files(server, FILE_BYTES)
        loop = asyncio.get_running_loop()
        with pytest.raises(DiskFull, match=r"disk.* restart the server"):
            await fill(broker, "l.a")
        began = loop.time()
        with pytest.raises(DiskFull):
            await broker.append("l.a", b"one more", timeout=60.0)
        assert loop.time() - began < appends.PATIENCE_SECONDS + appends.ASK_WHY_SECONDS + 5.0


@pytest.mark.long
async def test_work_goes_on_after_a_restart_with_room(server: NatsServer) -> None:
    async with await NatsBroker.connect(server.url) as broker:
        await broker.ensure_stream(LOG)
        first = await broker.append("l.first", b"kept")
        limit_files(server, FILE_BYTES)
        with pytest.raises(DiskFull):
            await fill(broker, "l.a")
        await server.restart()  # a new process, without the limit
        again = await broker.append("l.a", b"after")
        assert again.sequence > first.sequence
        record = await broker.at("L", first.sequence)
        assert record is not None
        assert record.data == b"kept"


@pytest.mark.long
async def test_doctor_says_that_the_server_must_be_restarted(server: NatsServer) -> None:
    names = Names("full")
    async with await NatsBroker.connect(server.url) as broker:
        for short in STREAMS:
            subjects = (f"{names.prefix}{short.lower()}.>",)
            await broker.ensure_stream(StreamConfig(name=names.stream(short), subjects=subjects))
        assert [check.state for check in await _writable(broker, names)] == ["ok"]
        limit_files(server, FILE_BYTES)
        with pytest.raises(DiskFull):
            await fill(broker, f"{names.prefix}calls.a")
        (check,) = await _writable(broker, names)
        assert (check.what, check.state) == (f"disk of {CALLS}", "failed")
        assert "restart the server" in check.detail

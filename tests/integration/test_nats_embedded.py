"""The embedded server: private, ends with its owner however that ends, keeps a given store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aixgo.broker import StreamConfig, embedded
from aixgo.broker.embedded import EmbeddedServer, find_server
from aixgo.broker.nats import NatsBroker
from aixgo.broker.open import open_broker
from aixgo.errors import AuthenticationFailed, ConfigError, MissingExtra, Unreachable
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.nats

LOG = StreamConfig(name="L", subjects=("l.>",))


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while is_alive(pid):  # noqa: ASYNC110 # a process that is not our child
            await asyncio.sleep(0.01)


async def test_an_embedded_broker_works_and_leaves_nothing_behind() -> None:
    async with EmbeddedServer() as server:
        process = server._process
        assert process is not None
        pid, folder = process.pid, process.folder
        assert pid is not None
        async with await NatsBroker.connect(server.url) as broker:
            await broker.ensure_stream(LOG)
            assert (await broker.append("l.a", b"")).sequence == 1
        assert folder.is_dir()
    assert not is_alive(pid)
    assert not folder.exists()


async def test_nobody_without_the_token_can_use_it() -> None:
    async with EmbeddedServer() as server:
        with pytest.raises(AuthenticationFailed):
            await NatsBroker.connect("nats://" + server.url.rpartition("@")[2])


async def test_a_given_store_keeps_its_streams_for_the_next_start(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    async with open_broker("embedded", store=store) as broker:
        await broker.ensure_stream(LOG)
        await broker.append("l.a", b"kept")
    async with open_broker("embedded", store=store) as broker:
        record = await broker.last("L", "l.a")
        assert record is not None
        assert record.data == b"kept"


async def test_the_configuration_with_the_token_can_be_read_by_its_owner_only(
    tmp_path: Path,
) -> None:
    async with EmbeddedServer(tmp_path):
        assert (tmp_path / "server.conf").stat().st_mode & 0o077 == 0


async def test_a_store_serves_one_server_at_a_time(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path):
        with pytest.raises(ConfigError, match="used by another process"):
            await EmbeddedServer(tmp_path).__aenter__()
    async with EmbeddedServer(tmp_path):
        pass


OWNER = """
import asyncio, sys
from aixgo.broker.embedded import EmbeddedServer
async def main():
    async with EmbeddedServer() as server:
        print(server._process.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_server_ends_when_its_owner_is_killed(number: signal.Signals) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OWNER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    assert is_alive(pid)
    owner.send_signal(number)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await owner.wait()
    await until_dead(pid)


async def test_a_signal_to_the_terminal_is_left_to_the_owner() -> None:
    """Ctrl-C reaches every process of the group; the owner drains before its server may end."""
    async with EmbeddedServer() as server:
        assert server._process is not None
        assert server._process.pid is not None
        assert os.getpgid(server._process.pid) != os.getpgid(0)


async def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    binary = tmp_path / "broken-server"
    binary.write_text("#!/bin/sh\necho 'no licence to serve' >&2\nexit 1\n")
    binary.chmod(0o755)
    with pytest.raises(Unreachable, match="no licence to serve"):
        await EmbeddedServer(server=binary).__aenter__()


async def test_a_server_that_never_listens_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_SECONDS", 0.2)
    binary = tmp_path / "silent-server"
    binary.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    binary.chmod(0o755)
    with pytest.raises(Unreachable, match=r"did not listen within 0\.2 s"):
        await EmbeddedServer(server=binary).__aenter__()
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_binary_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-server"):
        find_server(tmp_path / "no-such-server")


def test_without_any_server_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"aixgo\[embedded\]"):
        find_server()


# -- open_broker ---------------------------------------------------------------------------------


async def test_the_address_chooses_the_broker() -> None:
    async with open_broker("memory", name="m") as memory:
        assert memory.name == "memory"
    async with open_broker("embedded", name="e") as broker:
        assert broker.name == "nats"
        assert broker.connected
    assert not broker.connected


@pytest.mark.parametrize("address", ["redis://localhost", "localhost:4222", "", "memry"])
async def test_an_unknown_address_lists_the_known_ones(address: str) -> None:
    with pytest.raises(ConfigError, match="'memory', 'embedded'"):
        async with open_broker(address):
            pass


async def test_the_password_of_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_broker("amqp://ann:secret@host"):
            pass
    assert "secret" not in str(caught.value)


async def test_options_that_an_address_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match="'token'"):
        async with open_broker("memory", token="x"):
            pass
    with pytest.raises(ConfigError, match="'embedded'"):
        async with open_broker("memory", store="x"):
            pass


def test_the_memory_broker_needs_no_nats() -> None:
    code = (
        "import asyncio, sys; sys.modules['nats'] = None\n"
        "from aixgo.broker.open import open_broker\n"
        "async def main():\n"
        "    async with open_broker('memory') as broker: await broker.publish('a', b'')\n"
        "    try:\n"
        "        async with open_broker('nats://localhost:4222'): pass\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("MissingExtra the NATS broker needs")
    assert "aixgo[nats]" in done.stdout

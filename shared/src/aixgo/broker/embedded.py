"""A private nats-server: a child process on a loopback port, for one machine without a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self

from aixgo.errors import ConfigError, MissingExtra, Unreachable

START_SECONDS = 10.0
"""For a server to listen; 0.1 s on an empty store, more when it has much to recover."""

STOP_SECONDS = 5.0
"""For a server to write its state after SIGTERM; then it is killed, which loses no message."""

POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 2000

_SERVER = "nats-server"

_WATCH = 'read -r _; kill "$1" 2>/dev/null'
"""Ends the server when the pipe from its parent closes, however the parent dies."""


def find_server(given: str | Path | None = None) -> Path:
    """Return the nats-server to start: the given one, this environment's, or the one on PATH.

    Raises:
        ConfigError: the given one is not there.
        MissingExtra: there is none anywhere.
    """
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise ConfigError(f"no nats-server at {str(path)!r}; give the path of its binary")
        return path
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / _SERVER).is_file():
            return folder / _SERVER
    found = shutil.which(_SERVER)
    if found is None:
        raise MissingExtra("the embedded NATS server", "embedded")
    return Path(found)


class ServerProcess:
    """A nats-server process with JetStream in a folder; can be killed and started again.

    Args:
        folder: for configuration, log and streams; the streams survive a restart.
        port: 0 takes a free one and keeps it over restarts.
        config: more lines for the server's configuration.
        jetstream: keep streams.
        sync: how often they are synced to the disk, such as `always`; the server's own without it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str | Path | None = None,
        port: int = 0,
        config: str = "",
        jetstream: bool = True,
        sync: str = "",
    ) -> None:
        self.folder = folder
        self.port = port
        self._binary = find_server(binary)
        self._config = config
        self._jetstream, self._sync = jetstream, sync
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return None if self._process is None else self._process.pid

    def spawn(self) -> None:
        """Start the process; it is not ready yet."""
        self._remove_ports_file()
        path = self.folder / "server.conf"
        path.touch(mode=0o600)
        path.write_text(self._configuration())
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which drains first
            )
        if os.name == "posix":
            self._watch = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "watch", str(self._process.pid)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )

    def _configuration(self) -> str:
        lines = [
            f'listen: "127.0.0.1:{self.port or -1}"',
            f"ports_file_dir: {json.dumps(str(self.folder))}",
        ]
        if self._jetstream:
            # limits that streams reserve are promises, not space: let all of a topology fit
            lines.append(
                f"jetstream {{ store_dir: {json.dumps(str(self.folder))}, "
                "max_memory_store: 1GB, max_file_store: 1TB"
                + (f", sync_interval: {self._sync} }}" if self._sync else " }")
            )
        return "\n".join([*lines, self._config, ""])

    def _ports_file(self) -> Path:
        return self.folder / f"{self._binary.name}_{self.pid}.ports"

    def _remove_ports_file(self) -> None:
        for path in self.folder.glob(f"{self._binary.name}_*.ports"):
            path.unlink(missing_ok=True)

    def _listens(self) -> bool:
        """Say whether the server has told its port.

        Raises:
            Unreachable: it has ended.
        """
        if self._process is None or self._process.poll() is not None:
            raise Unreachable(
                f"the nats-server {str(self._binary)!r} has ended at its start; its log ends with:"
                f"\n{self.log_tail()}"
            )
        if self.port:
            return True
        with contextlib.suppress(OSError, ValueError, LookupError):
            address = json.loads(self._ports_file().read_text())["nats"][0]
            self.port = int(address.rpartition(":")[2])
            return True
        return False

    def _too_slow(self) -> Unreachable:
        return Unreachable(
            f"the nats-server {str(self._binary)!r} did not listen within {START_SECONDS:g} s; its "
            f"log ends with:\n{self.log_tail()}"
        )

    async def ready(self) -> None:
        """Return when clients can connect.

        Raises:
            Unreachable: it has ended, or is too slow.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                while not (await asyncio.to_thread(self._listens) and await self._greets()):  # noqa: ASYNC110 # a process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self._too_slow() from None

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            return await reader.read(4) == b"INFO"
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def wait_ready(self) -> None:
        """Do as `ready`, but block the thread; for synchronous fixtures.

        Raises:
            Unreachable: it has ended, or is too slow.
        """
        until = time.monotonic() + START_SECONDS
        while not (self._listens() and self._answers()):
            if time.monotonic() > until:
                raise self._too_slow()
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, within: float = STOP_SECONDS) -> None:
        """End the server and return when it has ended; after `within` seconds it is killed."""
        process, watch, self._process, self._watch = self._process, self._watch, None, None
        if watch is not None and watch.stdin is not None:
            watch.kill()
            watch.stdin.close()
            watch.wait()
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(within)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        try:
            return (self.folder / "server.log").read_text(errors="replace")[-LOG_TAIL_BYTES:]
        except OSError:
            return "(no log)"


class EmbeddedServer:
    """Starts a nats-server of its own that ends with the block, or with this process.

    No other user of the machine can use it: it listens on loopback and asks for a random token.

    Args:
        store: folder that keeps the streams; without it they are gone with the block.
        server: path of the nats-server binary; see `find_server`.
    """

    def __init__(
        self, store: str | Path | None = None, *, server: str | Path | None = None
    ) -> None:
        self._given = None if store is None else Path(store)
        self._binary = find_server(server)
        self._token = secrets.token_urlsafe(24)
        self._process: ServerProcess | None = None
        self._stack = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Address with the token, which is all that a client needs to use the server."""
        port = 0 if self._process is None else self._process.port
        return f"nats://{self._token}@127.0.0.1:{port}"

    async def __aenter__(self) -> Self:
        """Start the server.

        Raises:
            ConfigError: another process uses the store.
            Unreachable: the server does not start; says the end of its log.
        """
        starting = asyncio.create_task(asyncio.to_thread(self._spawn), name="embedded-server")
        try:
            self._process = await asyncio.shield(starting)
            await self._process.ready()
        except BaseException:
            await asyncio.wait([starting])
            await asyncio.to_thread(self._stack.close)
            raise
        return self

    def _spawn(self) -> ServerProcess:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(_store(self._given))
            process = ServerProcess(
                folder,
                binary=self._binary,
                # a busy machine may need more than the two seconds in which a client must sign in
                config=f"authorization {{ timeout: 30, token: {json.dumps(self._token)} }}",
            )
            stack.callback(process.end)
            process.spawn()
            self._stack = stack.pop_all()
        return process

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._stack.close)


@contextlib.contextmanager
def _store(given: Path | None) -> Generator[Path, None, None]:
    """Give a folder to one server: a temporary one, or the given one under a lock."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="aixgo-nats-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    given.mkdir(parents=True, exist_ok=True)
    with (given / "lock").open("w") as lock:
        _lock(lock.fileno(), given)
        yield given


def _lock(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two servers on one store are the user's care
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(
            f"the store {str(folder)!r} is used by another process's embedded server; give this "
            "one another folder, or connect to that server"
        ) from None

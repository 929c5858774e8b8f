"""A real nats-server for tests: starts in 0.1 s, keeps its port and its streams over a kill.

with NatsServer() as server:
    async with open_broker(server.url) as broker:
        ...
        await server.restart()  # kill -9, then start with the same store
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from aixgo.broker.embedded import ServerProcess


class NatsServer:
    """A server in a temporary folder; ends with its block, or with this process.

    Args:
        config: more lines for the server's configuration, such as users and permissions.
        jetstream: keep streams.
        sync: its `sync_interval`, such as `always`; without it the server's own, two minutes.
        server: path of the nats-server binary, if not the installed one.
    """

    def __init__(
        self,
        config: str = "",
        *,
        jetstream: bool = True,
        sync: str = "",
        server: str | Path | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="aixgo-test-", ignore_cleanup_errors=True)
        self._process = ServerProcess(
            Path(self._folder.name), binary=server, config=config, jetstream=jetstream, sync=sync
        )

    def __enter__(self) -> Self:
        """Start the server; clients can connect."""
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server and remove what it kept."""
        self._process.end(signal.SIGKILL)
        self._folder.cleanup()

    @property
    def port(self) -> int:
        """Port on loopback; the same over restarts."""
        return self._process.port

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Address without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    def url_of(self, user: str, password: str) -> str:
        """Return the address with a user's credentials."""
        return f"nats://{user}:{password}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and block until clients can connect (about 0.1 s)."""
        self._process.spawn()
        self._process.wait_ready()

    def spawn(self) -> None:
        """Start without waiting for it; see `ready`."""
        self._process.spawn()

    async def ready(self) -> None:
        """Return when clients can connect."""
        await self._process.ready()

    def kill(self) -> None:
        """End it as `kill -9` does; nothing more is written."""
        self._process.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order; it writes its state first."""
        self._process.end()

    async def restart(self) -> None:
        """Kill it and start it again with what it had stored."""
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.spawn)
        await self.ready()

    def pause(self) -> None:
        """Stop its clock: connections stay open and nothing answers."""
        self._process.send(signal.SIGSTOP)
        if self._process.pid is not None:  # it may run for a moment more
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._process.send(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self._process.log_tail()

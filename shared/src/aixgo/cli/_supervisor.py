"""One OS process for each agent: started, watched, restarted with back-off, drained together."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from aixgo.cli._failures import WRONG
from aixgo.cli._first import first_of
from aixgo.cli._terminal import one_line
from aixgo.errors import ConfigError, NotReady
from aixgo.hosting.process import DRAIN_SECONDS
from aixgo.models.bus import GATEWAY

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
"""Before a restart; twice as long after each, so that a broken agent does not burn a processor."""

STEADY_SECONDS = 60.0
"""An agent that lived for this time begins again with the first wait."""

EXIT_SECONDS = DRAIN_SECONDS + 5.0
"""From SIGTERM to SIGKILL: the drain, and time for telemetry to flush."""

READY_SECONDS = 60.0
"""For all agents to serve, the first time."""

LINE_BYTES = 1024 * 1024
"""Longest log line of an agent; what is longer is cut."""


class Shows(Protocol):
    """Takes an agent's name and something to show of it."""

    def logged(self, name: str, record: dict[str, Any]) -> None:
        """Take a log line."""
        ...

    def printed(self, name: str, line: str) -> None:
        """Take a line of its stdout."""
        ...

    def told(self, name: str, text: str) -> None:
        """Take what became of its process."""
        ...


@dataclass
class Child:
    """The process of one agent."""

    name: str
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0
    last: str = ""
    """Its last line, to say what it did."""
    trouble: str = ""
    """The last line of this process that was a warning or worse, to say why it ended."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process runs."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                # not send_signal: it reaps an ended process before the loop sees its exit code
                os.kill(self.process.pid, number)


class Supervisor:
    """Runs `aixgo service` for each agent until `stop`.

    Args:
        names: of the agents; the model gateway is stopped last, because others need it to finish.
        arguments: of `aixgo service`, after the name.
        environment: added to this process's own.
    """

    def __init__(
        self,
        names: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        shows: Shows,
    ) -> None:
        self.children = [Child(name) for name in names]
        self._arguments, self._environment, self._shows = arguments, environment, shows
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every agent."""
        for child in self.children:
            self._keepers.append(asyncio.create_task(self._keep(child), name=child.name))

    async def until_ready(self) -> None:
        """Return when every agent serves.

        Raises:
            ConfigError: one refuses its configuration.
            NotReady: one does not serve within `READY_SECONDS`; says what it said last.
        """
        for child in self.children:
            if not await first_of(child.ready.wait(), self.failed(), seconds=READY_SECONDS):
                raise NotReady(
                    f"agent {child.name!r} does not serve after {READY_SECONDS:g} s; its last line "
                    f"was: {child.last or '(none)'}"
                )

    async def failed(self) -> None:
        """Return never, or raise when an agent cannot be kept.

        Raises:
            ConfigError: its configuration is wrong; restarting would not help.
        """
        # not gather: who stops waiting for them must not stop them
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_EXCEPTION)
        for keeper in done:
            keeper.result()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain all agents, the model gateway last; `hurry` ends the waiting."""
        self._stopping.set()
        others = [child for child in self.children if child.name != GATEWAY]
        gateway = [child for child in self.children if child.name == GATEWAY]
        for group in (others, gateway):
            await self._end(group, hurry)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _end(self, children: Sequence[Child], hurry: asyncio.Event) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        await first_of(_ended(children), hurry.wait(), seconds=EXIT_SECONDS)
        for child in children:
            child.signal(signal.SIGKILL)
        await _ended(children)

    # -- one agent -----------------------------------------------------------------------------

    async def _keep(self, child: Child) -> None:
        """Run an agent's process again and again until the supervisor stops.

        Raises:
            ConfigError: the process says that its configuration is wrong.
        """
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run(child)
            child.ready.clear()
            if self._stopping.is_set():
                return
            if code == WRONG:
                raise ConfigError(f"agent {child.name!r}: {child.last}")
            if time.monotonic() - began > STEADY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            child.restarts += 1
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            again = f"starting it again in {wait:g} s (restart {child.restarts})"
            why = f"; it said: {one_line(child.trouble, 200)}" if child.trouble else ""
            self._shows.told(child.name, f"ended with {how}; {again}{why}")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _run(self, child: Child) -> int:
        child.trouble = ""
        child.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aixgo.cli", "service", child.name, *self._arguments),
            # what is printed is to be seen when it is printed, also through a pipe
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            stdin=asyncio.subprocess.PIPE,  # closes when this process dies, whatever way
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for this process, which drains them in order
        )
        out, err = child.process.stdout, child.process.stderr
        assert out is not None
        assert err is not None
        try:
            await asyncio.gather(
                self._read(child, out, lambda line: self._print(child, line)),
                self._read(child, err, lambda line: self._log(child, line)),
            )
            return await child.process.wait()
        except asyncio.CancelledError:
            child.signal(signal.SIGKILL)
            await child.process.wait()
            raise

    async def _read(
        self, child: Child, lines: asyncio.StreamReader, take: Callable[[bytes], None]
    ) -> None:
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than LINE_BYTES; the reader dropped it
                told = f"wrote a line of more than {LINE_BYTES:,} bytes; it is left out"
                self._shows.told(child.name, told)
                continue
            if not line:
                return
            take(line)

    def _print(self, child: Child, line: bytes) -> None:
        self._shows.printed(child.name, line.decode(errors="replace").rstrip("\r\n"))

    def _log(self, child: Child, line: bytes) -> None:
        record = _record(line)
        child.last = str(record.get("message", ""))
        if record.get("level") not in ("debug", "info"):
            child.trouble = child.last
        self._shows.logged(child.name, record)
        if record.get("message") == "service.ready":
            child.ready.set()


async def _ended(children: Sequence[Child]) -> None:
    """Return when the processes have ended."""
    for child in children:
        if child.process is not None:
            await child.process.wait()


def _record(line: bytes) -> dict[str, Any]:
    """Return a log line's fields; a line that is no JSON is a message as it stands."""
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(line)
        if isinstance(found, dict):
            return found
    return {"level": "error", "message": line.decode(errors="replace").rstrip()}

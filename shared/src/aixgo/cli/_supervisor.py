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
from typing import Any

import msgspec

from aixgo.cli._failures import WRONG
from aixgo.errors import ConfigError, NotReady
from aixgo.hosting.process import DRAIN_SECONDS
from aixgo.models.bus import GATEWAY

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
"""Before a restart; twice as long after each, so that a broken agent does not burn a processor."""

STEADY_SECONDS = 60.0
"""An agent that lived so long begins again with the first wait."""

EXIT_SECONDS = DRAIN_SECONDS + 5.0
"""From SIGTERM to SIGKILL: the drain, and time for telemetry to flush."""

READY_SECONDS = 60.0
"""For all agents to serve, the first time."""

LINE_BYTES = 1024 * 1024
"""Longest log line of an agent; what is longer is cut."""

Show = Callable[[str, dict[str, Any]], None]
"""Takes an agent's name and one of its log lines."""


@dataclass
class Child:
    """The process of one agent."""

    name: str
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0
    last: str = ""
    """Its last line, to say why it ended."""

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
        show: Show,
    ) -> None:
        self.children = [Child(name) for name in names]
        self._arguments, self._environment, self._show = arguments, environment, show
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
            waiting = asyncio.create_task(child.ready.wait())
            keeper = next(task for task in self._keepers if task.get_name() == child.name)
            done, _ = await asyncio.wait(
                {waiting, keeper}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
            if keeper in done:
                keeper.result()
            if not done:
                raise NotReady(
                    f"agent {child.name!r} does not serve after {READY_SECONDS:g} s; its last line "
                    f"was: {child.last or '(none)'}"
                )

    async def failed(self) -> None:
        """Return never, or raise when an agent cannot be kept.

        Raises:
            ConfigError: its configuration is wrong; restarting would not help.
        """
        await asyncio.gather(*self._keepers)

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
        waits = {
            asyncio.create_task(child.process.wait())
            for child in children
            if child.process is not None
        }
        if not waits:
            return
        hurried = asyncio.create_task(hurry.wait())
        until = time.monotonic() + EXIT_SECONDS
        while waits and not hurried.done() and time.monotonic() < until:
            await asyncio.wait(
                {*waits, hurried},
                timeout=max(0.0, until - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            waits = {task for task in waits if not task.done()}
        hurried.cancel()
        for child in children:
            child.signal(signal.SIGKILL)
        if waits:
            await asyncio.wait(waits)

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
            self._say(child, f"ended with {how}; starting it again in {wait:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _run(self, child: Child) -> int:
        child.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aixgo.cli", "service", child.name, *self._arguments),
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.PIPE,  # closes when this process dies, whatever way
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for this process, which drains them in order
        )
        assert child.process.stderr is not None
        try:
            await self._read(child, child.process.stderr)
            return await child.process.wait()
        except asyncio.CancelledError:
            child.signal(signal.SIGKILL)
            await child.process.wait()
            raise

    async def _read(self, child: Child, lines: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than LINE_BYTES; the reader dropped it
                self._say(child, f"wrote a line of more than {LINE_BYTES:,} bytes; it is left out")
                continue
            if not line:
                return
            record = _record(line)
            child.last = str(record.get("message", ""))
            self._show(child.name, record)
            if record.get("message") == "service.ready":
                child.ready.set()

    def _say(self, child: Child, text: str) -> None:
        self._show(child.name, {"level": "warning", "message": text})


def _record(line: bytes) -> dict[str, Any]:
    """Return a log line's fields; a line that is no JSON is a message as it stands."""
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(line)
        if isinstance(found, dict):
            return found
    return {"level": "error", "message": line.decode(errors="replace").rstrip()}

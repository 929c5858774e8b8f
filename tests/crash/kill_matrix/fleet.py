"""The service processes and the server: who is killed is started again, as a supervisor does.

Processes are forks of one that has imported everything, so starting one costs milliseconds and the
test spends its time on what is killed, not on imports.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aixgo.testing.nats_server import NatsServer

from . import worker
from .cluster import Cluster

SERVER = "server"
WATCH_SECONDS = 0.1
"""Between two looks for processes that have ended by themselves."""

MAX_EXITS = 20
"""Processes that ended by themselves; more are a crash loop, and waiting longer is no use."""

LONGEST_OUTAGE_SECONDS = 0.3

_forks = multiprocessing.get_context("forkserver")
Process = multiprocessing.context.ForkServerProcess


@dataclass(frozen=True)
class Kill:
    """SIGKILL to one or more at the same moment (Unix seconds)."""

    moment: float
    victims: tuple[str, ...]
    pids: frozenset[int]


class CrashLoop(Exception):
    """Service processes end by themselves again and again."""


class Fleet:
    """Processes of each kind of service, and the server that they use.

    Args:
        kinds: which services to start.
        size: processes of each.
    """

    def __init__(
        self,
        server: NatsServer | Cluster,
        place: worker.Place,
        kinds: Iterable[str],
        size: int,
        chance: random.Random,
    ) -> None:
        self._server, self._place, self._chance = server, place, chance
        self._log = place.folder / "services.log"
        self._log.touch()
        _make_importable()
        self._running: dict[str, list[Process]] = {
            kind: [self._spawn(kind) for _ in range(size)] for kind in kinds
        }
        self.kills: list[Kill] = []
        self.exits: list[str] = []
        """Processes that ended without being killed."""

    def _spawn(self, kind: str) -> Process:
        process = _forks.Process(target=worker.run, args=(self._place, kind), daemon=True)
        process.start()
        return process

    @property
    def pids(self) -> set[int]:
        """Processes that run now."""
        return {
            process.pid or 0
            for group in self._running.values()
            for process in group
            if process.is_alive()
        }

    def kill(self, victims: tuple[str, ...]) -> Kill:
        """Kill a process of each kind, and the server if it is named, at one moment."""
        kinds = [victim for victim in victims if victim != SERVER]
        dying = [self._chance.choice(self._running[kind]) for kind in kinds]
        moment = time.time()
        for process in dying:
            process.kill()
        if SERVER in victims and isinstance(self._server, NatsServer):
            self._server.kill()
        for process in dying:
            process.join()
        kill = Kill(moment, victims, frozenset(process.pid or 0 for process in dying))
        self.kills.append(kill)
        return kill

    def note_fault(self) -> None:
        """Count something that happens to the servers now, and hits every run that goes on."""
        self.kills.append(Kill(time.time(), (SERVER,), frozenset()))

    async def restore(self, kill: Kill) -> None:
        """Start again who was killed; the services need not wait for the server."""
        for kind, group in self._running.items():
            for at, process in enumerate(group):
                if process.pid in kill.pids:
                    group[at] = self._spawn(kind)
        if SERVER in kill.victims and isinstance(self._server, NatsServer):
            await asyncio.sleep(self._chance.uniform(0, LONGEST_OUTAGE_SECONDS))
            self._server.spawn()
            await self._server.ready()

    async def supervise(self) -> None:
        """Start again who ends by itself; for ever.

        Raises:
            CrashLoop: it does not help.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            killed = {pid for kill in self.kills for pid in kill.pids}
            for kind, group in self._running.items():
                for at, process in enumerate(group):
                    if not process.is_alive() and process.pid not in killed:
                        self._report(f"{kind} {process.pid} ended with {process.exitcode}")
                        group[at] = self._spawn(kind)

    def _report(self, text: str) -> None:
        self.exits.append(text)
        with self._log.open("a") as log:
            log.write(f"fleet: {text}; started again\n")
        if len(self.exits) > MAX_EXITS:
            raise CrashLoop(
                f"{len(self.exits)} processes ended by themselves, the last: {text}; their log "
                f"ends with:\n{self.log_tail()}"
            )

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of what the services wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End all service processes."""
        everyone = [process for group in self._running.values() for process in group]
        for process in everyone:
            process.kill()
        for process in everyone:
            process.join()


def _make_importable() -> None:
    """Let new processes import the worker by the name that it has here, however tests are run."""
    root = str(Path(__file__).parents[__name__.count(".")])
    if root not in sys.path:
        sys.path.append(root)
    _forks.set_forkserver_preload([worker.__name__])

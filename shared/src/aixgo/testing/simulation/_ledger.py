"""The books of a simulation: what was accepted, executed and stored, and what must not be.

They are kept outside of the simulated processes, from what reaches the server and the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aixgo.broker.memory.server import MemoryServer
from aixgo.broker.port import Appended
from aixgo.envelope import Envelope
from aixgo.subjects import CALLS, RESULTS, Names, step_token


@dataclass(slots=True)
class _Step:
    """One step: executions that began, and those after which another one is due."""

    began: int = 0
    over: int = 0


@dataclass
class Ledger:
    """What happened in one seed.

    Attributes:
        accepted: subjects of the runs' own calls that the server stored.
        broken: promises that were broken, in words.
    """

    server: MemoryServer
    names: Names
    broken: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    executions: int = 0
    repeated: int = 0
    model_calls: int = 0
    _steps: dict[str, _Step] = field(default_factory=dict)
    _looks: dict[asyncio.Task[object] | None, set[str]] = field(default_factory=dict)

    def recorded(self, subject: str) -> int:
        """Return the sequence of the result at a subject; 0: there is none."""
        stream = self.server.streams.get(self.names.stream(RESULTS))
        return 0 if stream is None else stream.records.last_of(subject)

    # -- what reaches the server ---------------------------------------------------------------

    def watch(self, subject: str, store: Callable[[], Appended]) -> Appended:
        """Let a message be stored, and see whether it may be."""
        tail = subject.removeprefix(self.names.prefix)
        before = self.recorded(subject) if tail.startswith("res.") else 0
        appended = store()
        if not appended.duplicate:
            if before:
                self.broken.append(f"the result {tail} was replaced: the first one must stand")
            if tail.startswith("call.") and tail.endswith(".root"):
                self.accepted[f"{self.names.prefix}res.{tail[5:]}"] = tail
        return appended

    def looked(self, subject: str) -> None:
        """Take note that the running task asked for a result, and there was none."""
        self._looks.setdefault(asyncio.current_task(), set()).add(subject)

    # -- executions ----------------------------------------------------------------------------

    def began(self, agent: str, request: Envelope) -> str:
        """Take note that a handler begins; returns the subject of its result."""
        subject = self.names.result(agent, request.run, request.step)
        step = self._steps.setdefault(subject, _Step())
        self.executions += 1
        if step.began > step.over:
            self.repeated += 1
        step.began += 1
        # a worker looks and begins at once; a result that came in between was not there to see
        looks = self._looks.pop(asyncio.current_task(), set())
        if self.recorded(subject) and subject not in looks:
            self.broken.append(
                f"{agent} began {label(request)} again, although its result was recorded"
            )
        return subject

    def shall_begin_again(self, subject: str) -> None:
        """Note that a handler failed or parked: its next execution is not a repetition."""
        self._steps[subject].over += 1

    def paid(self) -> None:
        """Take note that the model is asked."""
        self.model_calls += 1

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the tasks that looked."""
        self._looks.clear()

    def unfinished(self) -> list[str]:
        """Return what was accepted and has no result, and what is still in the queue."""
        found = [tail for subject, tail in self.accepted.items() if not self.recorded(subject)]
        calls = self.server.streams.get(self.names.stream(CALLS))
        queued = [] if calls is None else calls.records.select(">", 1)
        known = set(found)
        for record in queued:
            tail = record.subject.removeprefix(self.names.prefix)
            if tail not in known:
                found.append(tail)
        return found


def label(request: Envelope) -> str:
    """Return how a call is named in traces: the end of its run, and its step."""
    return f"{request.run[-6:]}/{request.step or step_token('')}"

"""What is told of a run and of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from aixgo.calls.history import Happened
from aixgo.envelope import Failure, Usage
from aixgo.errors import NotSupported

RunStatus = Literal["queued", "running", "parked", "done", "error", "expired", "cancelled"]
"""Where a run stands; the first three are not over."""

LIVE: tuple[RunStatus, ...] = ("queued", "running", "parked")
"""Of what is not over."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run in one line.

    Attributes:
        agent: whose call began it; empty for the run of an event.
        status: `queued` waits for a worker or for its next attempt, `running` is with a worker,
            `parked` waits for a person or a timer.
        started: Unix seconds.
        seconds: from its start to its result, or up to now.
        usage: of all its steps that are over; reused ones of a fork are not counted again.
    """

    run_id: str
    agent: str
    status: RunStatus
    started: float
    seconds: float
    usage: Usage


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run, with those that it caused.

    Attributes:
        path: inside the run; empty for the run's own call.
        agent: who executes it; for a recorded value, whose it is.
        kind: `call`, `model`, `tool`, or what a handler did by itself: `record`, `gather`, `sleep`,
            `ask`, `emit`, `version`.
        attempts: executions up to now; 0 for what is only recorded, as in a fork.
        seconds: of its last execution; since it was called, while it is not over.
        ended: Unix seconds of its result; None while it has none.
        usage: of the step and everything below it.
        value: what it gave: a result, a recorded value, an answer, a model's response; a JSON
            value, or `msgspec.UNSET` while it has none and when it was not read.
        stored: bytes of a value that lies in the object store; `Runs.tree(…, whole=True)` reads it.
        error: why it failed, or why its last execution did.
        question, options: what a person is asked, when it is parked for that.
        until: Unix seconds at which it goes on by itself, when it is parked.
        reused: id of the run that executed it, when a fork took it over.
        steps: what it caused, in the order of their results, unfinished ones last.
    """

    path: str
    agent: str
    kind: str
    status: RunStatus
    attempts: int
    seconds: float
    ended: float | None
    usage: Usage
    value: Any = msgspec.UNSET
    stored: int = 0
    error: Failure | None = None
    question: Any = None
    options: tuple[str, ...] = ()
    until: float | None = None
    reused: str = ""
    steps: tuple[Step, ...] = ()

    def walk(self) -> Iterator[Step]:
        """Yield the step and everything below it, from the top."""
        yield self
        for step in self.steps:
            yield from step.walk()


class RunTree(Run, frozen=True, kw_only=True):
    """A run with everything that is known of it.

    Attributes:
        steps: the run's own call; for the run of an event, what its subscribers did.
        history: what happened besides results, oldest first.
        input: of the run's own call, a JSON value; `msgspec.UNSET` when it is not kept.
    """

    steps: tuple[Step, ...]
    history: tuple[Happened, ...]
    input: Any = msgspec.UNSET

    def check_own_call(self) -> None:
        """Refuse what needs the call that began the run.

        Raises:
            NotSupported: there is none, or it is no longer known.
        """
        if not self.agent:
            raise NotSupported(
                f"no call of its own is known of run {self.run_id}: an event began it, or its "
                "results are no longer kept (`retention`); only a run that a call began can be "
                "cancelled or forked"
            )

    def owner(self, path: str) -> str:
        """Return the agent whose handler takes a step, or for an agent's call that agent itself."""
        for step in self.walk():
            if step.path == path and step.kind == "call":
                return step.agent
            if any(one.path == path and one.kind != "call" for one in step.steps):
                return step.agent
        return ""

    def walk(self) -> Iterator[Step]:
        """Yield every step, from the top."""
        for step in self.steps:
            yield from step.walk()

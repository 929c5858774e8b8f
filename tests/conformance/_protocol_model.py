"""What the protocol machine knows of its calls, executions and workers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from aixgo.broker import Broker
from aixgo.calls.worker import Worker
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope

AGENT = "worker"
POLICY = Retry(max_attempts=3, initial_backoff=0.05, max_backoff=0.05)
MOST_CALLS = 4
MOST_WORKERS = 4
"""Connections at once; the dead ones are counted too."""


@dataclass(frozen=True)
class Pace:
    """How long things take on a broker; seconds.

    Attributes:
        ack_wait: until what nobody answers comes back.
        deadline: of the calls that may expire.
        soon: for what follows at once.
        patience: for what must happen.
        look: between two looks whether it has.
        exact: whether the same steps take the same time, to the last digit.
    """

    ack_wait: float
    deadline: float
    soon: float
    patience: float
    look: float
    exact: bool = False


VIRTUAL = Pace(ack_wait=30.0, deadline=45.0, soon=20.0, patience=300.0, look=0.25, exact=True)
REAL = Pace(ack_wait=1.0, deadline=2.0, soon=20.0, patience=20.0, look=0.01)


@dataclass(eq=False)
class Execution:
    """A handler that runs until a rule says how it ends."""

    number: int
    call: Call
    host: Host
    attempt: int
    parks: int
    end: asyncio.Future[str]
    over: bool = False


@dataclass(eq=False)
class Call:
    """A call, and all that is known of it."""

    request: Envelope
    waiters: list[asyncio.Task[Envelope]] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    record: tuple[int, bytes] | None = None
    """Sequence and bytes of its result, as they were seen first."""
    failed_for_good: bool = False
    lost: int = 0
    """Executions whose worker died or was frozen."""
    answers: set[int] = field(default_factory=set)
    """Questions that were answered."""
    may_double: bool = False
    """Whether two workers that live may execute it at once."""

    @property
    def may_expire(self) -> bool:
        return self.request.deadline is not None


@dataclass(eq=False)
class Host:
    """A worker on a connection of its own."""

    name: str
    broker: Broker
    worker: Worker
    cut: AsyncExitStack | None = None
    """While its connection is away."""
    dead: bool = False

    @property
    def live(self) -> bool:
        return not self.dead and self.cut is None

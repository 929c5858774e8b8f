"""What a worker has at work: one execution of one call, and how it may be told to stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aixgo.broker.port import Consumption, Delivery
from aixgo.calls.exclusive import Hold
from aixgo.calls.tally import NOTHING, Tries
from aixgo.envelope import Envelope


@dataclass(slots=True, eq=False)
class Work:
    """A delivery that is being worked on.

    Attributes:
        task: that executes it; None while nothing can be cancelled, before and after.
        since: loop time of its beginning.
        cancelled: why it was told to stop by its caller.
        stopping: loop time at which it was first told to stop.
        hold: of an exclusive call.
        tries: what became of earlier deliveries.
        left: it did not stop when it was told to; it was answered without it.
        instead: takes deliveries in the slot that it keeps.
    """

    delivery: Delivery
    request: Envelope
    task: asyncio.Task[None] | None
    since: float
    cancelled: str | None = None
    stopping: float | None = None
    hold: Hold | None = None
    tries: Tries = NOTHING
    left: bool = False
    instead: Consumption | None = None

    def stop(self, moment: float) -> None:
        """Cancel the execution, if it can be."""
        if self.task is None:
            return
        if self.stopping is None:
            self.stopping = moment
        self.task.cancel()


@dataclass(slots=True)
class Counts:
    """What a worker has done since it started.

    Attributes:
        received: executions that began.
        succeeded, failed: calls that came to a value, or to something else.
        retried: executions that failed and are repeated.
        skipped: deliveries with which nothing had to be done, or that others do.
        busy_seconds: of all executions together.
        last_error: why the last call failed.
    """

    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    busy_seconds: float = 0.0
    last_error: str = ""

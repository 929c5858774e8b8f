"""What every broker promises: one plain async function a promise, for any adapter.

An adapter's author writes a `Backend` (`memory_backend.py` is the shortest example) and runs them
all; pytest is not needed:

    outcomes = await check_all(backend, ALL)
    broken = {check.__name__: error for check, error in outcomes.items() if error}

A check returns when the promise is kept and raises AssertionError, with the expected and the seen,
when it is not. Times are seconds of the event loop: on an in-process broker with a virtual clock
(`aixgo.testing.virtual_time`) all of them together take half a second.
"""

from __future__ import annotations

import inspect
import re

from aixgo.testing.broker_checks import (
    admin,
    appends,
    bus,
    connections,
    consumers,
    deliveries,
    failures,
    keyvalue,
    limits,
    objects,
    pulling,
    reads,
    schedules,
    wire,
)
from aixgo.testing.broker_checks._promises import PROMISES
from aixgo.testing.broker_checks._run import check_all
from aixgo.testing.broker_checks._stage import Backend, Check, Stage, alone, no_meaning, not_on
from aixgo.testing.expect import checks_of

__all__ = [
    "ALL",
    "PROMISES",
    "Backend",
    "Check",
    "Stage",
    "alone",
    "check_all",
    "lines",
    "no_meaning",
    "not_on",
]

_LINE = re.compile(r"Promise (\d+):")


ALL: tuple[Check, ...] = tuple(
    checks_of(
        bus,
        wire,
        connections,
        appends,
        limits,
        deliveries,
        consumers,
        pulling,
        reads,
        schedules,
        keyvalue,
        objects,
        admin,
        failures,
    )
)
"""Every promise, family by family."""


def lines(check: Check) -> set[int]:
    """Return the lines of `PROMISES` that a check's docstring cites."""
    return {int(number) for number in _LINE.findall(inspect.getdoc(check) or "")}

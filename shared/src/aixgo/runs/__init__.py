"""Runs, for people and tools: list them, look inside, begin another one from a recorded step.

Everything is read from what the protocol keeps anyway: results, queued and parked calls, timers,
and the history of what went wrong in between.
"""

from aixgo.calls.history import Happened
from aixgo.runs.diff import Difference, differences
from aixgo.runs.runs import Runs
from aixgo.runs.shapes import LIVE, Run, RunStatus, RunTree, Step

__all__ = [
    "LIVE",
    "Difference",
    "Happened",
    "Run",
    "RunStatus",
    "RunTree",
    "Runs",
    "Step",
    "differences",
]

"""`Runs`: the runs of a namespace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aixgo.broker._port import Broker
from aixgo.calls.claim_check import ClaimCheck
from aixgo.calls.history import Happened, History
from aixgo.calls.results import Results
from aixgo.clock import now
from aixgo.envelope import NO_USAGE, Envelope, Usage, decode
from aixgo.errors import NoRun
from aixgo.runs._fork import Fork
from aixgo.runs._records import SCANNED, Key, Open, OpenCalls
from aixgo.runs._shapes import LIVE, Run, RunStatus, RunTree, Step
from aixgo.runs._tree import steps_of
from aixgo.subjects import RESULTS, Names, token

FIRST_WINDOW = 256
"""Sequences of RESULTS that the first look backwards spans; each next one spans twice as many."""

PLAUSIBLE_SECONDS = 31 * 86_400.0
"""No record of a run is older, so an id that says so was chosen by somebody."""

FORK_TIMEOUT = 300.0
"""Seconds that a fork has when nothing is said, as for any call."""


class Runs:
    """The runs of a namespace, over a connection.

    Args:
        source: name of the caller in the calls of forks.
    """

    def __init__(self, broker: Broker, names: Names, *, source: str = "client") -> None:
        self._broker, self._names, self._source = broker, names, source
        self._results = Results(broker, names, ClaimCheck(broker, names))
        self._open = OpenCalls(broker, names)
        self._history = History(broker, names)

    async def list(self, limit: int = 50, status: RunStatus | None = None) -> Sequence[Run]:
        """Return runs that a call began, the newest first.

        Args:
            limit: at most so many.
            status: only those; looks at the newest 10,000 results.

        Raises:
            StreamNotFound: the namespace is not provisioned.
        """
        # in this order, so that a run which ends in between is not missed
        unfinished = await self._open.roots()
        found = {run: _unfinished(call) for (run, _), call in unfinished.items()}
        if status not in LIVE or found:
            wanted = {status} if status not in LIVE else set()
            found |= await self._finished(limit, {*wanted, *()}, set(found))
        chosen = [run for run in found.values() if status in (None, run.status)]
        return sorted(chosen, key=lambda run: run.started, reverse=True)[:limit]

"""Names of the headers with which NATS and Aixgo say more about a message than its body does."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final

from aixgo.broker.checks import FARTHEST, whole_seconds
from aixgo.clock import rfc3339
from aixgo.errors import ConfigError

# -- what a writer asks of a stream ------------------------------------------------------------

MSG_ID: Final = "Nats-Msg-Id"
TTL: Final = "Nats-TTL"
ROLLUP: Final = "Nats-Rollup"
EXPECT_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECT_SUBJECT_FILTER: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
SCHEDULE_TTL: Final = "Nats-Schedule-TTL"

# -- what a stream says about a record ---------------------------------------------------------

STREAM: Final = "Nats-Stream"
SUBJECT: Final = "Nats-Subject"
SEQUENCE: Final = "Nats-Sequence"
LAST_SEQUENCE: Final = "Nats-Last-Sequence"
TIME_STAMP: Final = "Nats-Time-Stamp"
PENDING_MESSAGES: Final = "Nats-Pending-Messages"
NUM_PENDING: Final = "Nats-Num-Pending"
UP_TO_SEQUENCE: Final = "Nats-UpTo-Sequence"
MARKER_REASON: Final = "Nats-Marker-Reason"
SCHEDULER: Final = "Nats-Scheduler"
SCHEDULE_NEXT: Final = "Nats-Schedule-Next"

# -- conventions over a log --------------------------------------------------------------------

KV_OPERATION: Final = "KV-Operation"
WRITER: Final = "Aixgo-Writer"
"""Tells one writer's compare-and-set from an equal one of another writer."""


def scheduled(at: float, target: str, ttl: float) -> dict[str, str]:
    """Return the headers of a record that becomes a message on `target` at Unix time `at`.

    What is later than the server's clock can say fires at its end.

    Raises:
        ConfigError: the time is not a number.
        StreamRefused: `ttl` is below 1 s.
    """
    if math.isnan(at):
        raise ConfigError("a schedule at nan s cannot fire; give Unix seconds")
    moment = rfc3339(min(max(at, 0.0), FARTHEST))
    headers = {SCHEDULE: f"@at {moment}", SCHEDULE_TARGET: target}
    if ttl:
        headers[SCHEDULE_TTL] = f"{whole_seconds(target, ttl)}s"
    return headers


class LateHeaders(Mapping[str, str]):
    """Headers that are read when one is asked for; most of them never are."""

    __slots__ = ("_found",)

    _found: dict[str, str] | None
    """What `_read` returned; None at first."""

    @abstractmethod
    def _read(self) -> dict[str, str]:
        """Return the headers; called once."""

    def _all(self) -> dict[str, str]:
        found = self._found
        if found is None:
            found = self._found = self._read()
        return found

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

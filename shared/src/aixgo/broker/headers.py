"""Names of the headers with which NATS and Aixgo say more about a message than its body does."""

from __future__ import annotations

from typing import Final

from aixgo.clock import rfc3339

# -- what a writer asks of a stream ------------------------------------------------------------

MSG_ID: Final = "Nats-Msg-Id"
TTL: Final = "Nats-TTL"
ROLLUP: Final = "Nats-Rollup"
EXPECT_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
SCHEDULE_TTL: Final = "Nats-Schedule-TTL"

# -- what a stream says about a record ---------------------------------------------------------

STREAM: Final = "Nats-Stream"
SUBJECT: Final = "Nats-Subject"
SEQUENCE: Final = "Nats-Sequence"
LAST_SEQUENCE: Final = "Nats-Last-Sequence"
TIME_STAMP: Final = "Nats-Time-Stamp"
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
    """Return the headers of a record that becomes a message on `target` at Unix time `at`."""
    headers = {SCHEDULE: f"@at {rfc3339(at)}", SCHEDULE_TARGET: target}
    if ttl:
        headers[SCHEDULE_TTL] = f"{ttl:.0f}s"
    return headers

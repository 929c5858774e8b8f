"""History: what happened in a run besides its results, for people.

A record is one publish that is not waited for, and none is written on the way of a call that simply
succeeds. So history costs next to nothing, and a record can be lost with a connection; what counts
is in RESULTS.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from aixgo.broker.port import Broker
from aixgo.clock import is_sensible, now
from aixgo.envelope import UNREADABLE, Envelope, Failure
from aixgo.errors import AixgoError, InvalidPayload
from aixgo.subjects import HISTORY, Names

log = logging.getLogger("aixgo.calls")

_MESSAGE_CHARS = 2_000
"""Of an error's message; the whole one is in the result or in the dead letter."""

What = Literal[
    "failed",
    "parked",
    "woken",
    "dead_letter",
    "replayed",
    "recovered",
    "cancelled",
    "forked",
    "in_doubt",
    "resolved",
]


class Happened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of the HISTORY stream.

    Attributes:
        what: `failed` is an execution that will be repeated; `dead_letter` one that will not;
            `recovered` that a server lost the call and it was published again;
            `in_doubt` a tool's execution that may have taken place, `resolved` when that is known.
        run, agent, step: which call.
        at: Unix seconds.
        attempt: executions of the call up to then.
        error: why it failed.
        retry_in: seconds until the next execution.
        until: Unix seconds at which a parked call wakes by itself.
        awaited: steps whose results wake a parked call.
        detail: a reason, or what a fork was made of.
    """

    what: What
    run: str
    agent: str
    step: str
    at: float
    attempt: int = 0
    error: Failure | None = None
    retry_in: float | None = None
    until: float | None = None
    awaited: tuple[str, ...] = ()
    detail: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Happened)


def decode_happened(data: bytes) -> Happened:
    """Return the record in a message of `hist.<run>`.

    Raises:
        InvalidPayload: it is none.
    """
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise InvalidPayload(f"not a history record: {error} (in {len(data):,} bytes)") from error


class History:
    """The HISTORY stream of a namespace."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker, self._names = broker, names

    async def add(
        self,
        what: What,
        call: Envelope,
        *,
        attempt: int = 0,
        error: Failure | None = None,
        retry_in: float | None = None,
        until: float | None = None,
        awaited: tuple[str, ...] = (),
        detail: str = "",
    ) -> None:
        """Write what happened to a call; never waits and never fails."""
        if error is not None and len(error.message) > _MESSAGE_CHARS:
            error = replace(error, message=f"{error.message[:_MESSAGE_CHARS]}…")
        record = Happened(
            what=what,
            run=call.run,
            agent=call.target,
            step=call.step,
            at=now(),
            attempt=attempt,
            error=error,
            retry_in=retry_in,
            until=until,
            awaited=awaited,
            detail=detail[:_MESSAGE_CHARS],
        )
        try:
            await self._broker.publish(self._names.history(call.run), _encoder.encode(record))
        except AixgoError as failed:
            log.warning("history.not_written", extra={"run": call.run, "error": failed.code})

    async def of_run(self, run: str) -> Sequence[Happened]:
        """Return what happened in a run, in order; records of other writers are left out."""
        stream = self._names.stream(HISTORY)
        found = []
        for record in await self._broker.read(stream, self._names.history(run)):
            try:
                happened = decode_happened(record.data)
                if not is_sensible(happened.at):
                    happened = replace(happened, at=record.time)
                found.append(happened)
            except InvalidPayload:
                log.debug("history.unreadable", extra={"run": run, "sequence": record.sequence})
        return found

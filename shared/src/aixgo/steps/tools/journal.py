"""What is recorded of a `once` step besides its result: each note is written once, by one owner.

They lie below the step's path in RESULTS, numbered by execution: `…/reserved/1`, and only where
something went wrong `…/doubt/1`, `…/ask/1` (what a person answered) and `…/verdict/1`.
"""

from __future__ import annotations

import asyncio
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from aixgo.broker.port import Expect
from aixgo.calls.payload_store import fits
from aixgo.calls.results import NOTE, result_of
from aixgo.calls.room import STEP_RESULTS
from aixgo.envelope import Envelope, Failure, encode
from aixgo.errors import RequestTimeout, WrongSequence
from aixgo.steps.tools.step import ToolStep
from aixgo.subjects import RESULTS

T = TypeVar("T")

_ABSENT = Expect(subject_sequence=0)

_LOOKS = 50
_LOOK_AGAIN_SECONDS = 0.1
"""A replica that lags behind shows a record only after a moment."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One owner may execute the tool, and no other.

    Attributes:
        owner: id of the execution of the handler that has it.
        number: of the execution of the tool, from 1.
        since, until: Unix seconds; after `until` the owner neither begins nor goes on.
    """

    owner: str
    number: int
    since: float
    until: float


class Doubt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """It is not known whether an execution took place.

    Attributes:
        error: how it ended, as far as its owner could tell.
    """

    at: float
    error: Failure


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether an execution took place.

    Attributes:
        value: of the tool, when it did.
        by: who said so.
        owner: as in the reservation: who wrote it down.
        epoch: of the run; after a replay of dead letters a tool has all its attempts again.
        error: why it did not take place, when the tool itself said so.
    """

    done: bool
    by: Literal["tool", "reconcile", "person"]
    owner: str
    value: msgspec.Raw = msgspec.Raw(b"null")
    epoch: int = 0
    error: Failure | None = None


def noted(record: Envelope) -> str:
    """Return the path of the step that a record is a note of; empty when it is not a note."""
    return record.step.rsplit("/", 2)[0] if NOTE in record.meta else ""


class ToolJournal:
    """The notes of one step."""

    def __init__(self, step: ToolStep) -> None:
        self._step = step

    def path(self, kind: str, number: int) -> str:
        """Return the path of a note."""
        return f"{self._step.path}/{kind}/{number}"

    async def reserve(self, wanted: Reservation) -> Reservation:
        """Return the reservation of that number that stands, this or an earlier one.

        Raises:
            ReplayMismatch: the earlier one was made with other arguments.
        """
        return await self._write("reserved", wanted.number, wanted)

    async def doubt(self, number: int) -> Doubt | None:
        """Return the doubt about an execution, if there is one."""
        return await self._read("doubt", number, Doubt)

    async def add_doubt(self, number: int, doubt: Doubt) -> Doubt:
        """Return the doubt that stands."""
        return await self._write("doubt", number, doubt)

    async def verdict(self, number: int) -> Verdict | None:
        """Return the verdict about an execution, if there is one."""
        return await self._read("verdict", number, Verdict)

    async def judge(self, number: int, verdict: Verdict) -> Verdict:
        """Return the verdict that stands."""
        return await self._write("verdict", number, verdict)

    async def answer(self, number: int) -> bytes | None:
        """Return the JSON that a person answered, if one has."""
        found = await self._get(self.path("ask", number))
        return None if found is None else found.body

    # -- records -------------------------------------------------------------------------------

    async def _read(self, kind: str, number: int, shape: type[T]) -> T | None:
        found = await self._get(self.path(kind, number))
        return None if found is None else msgspec.json.decode(found.body, type=shape)

    async def _get(self, path: str) -> Envelope | None:
        step = self._step
        results = step.caller.space.results
        found = await results.get(step.agent, step.request.run, path, decisive=True)
        return None if found is None else await step.caller.space.payloads.fetch(found)

    async def _write(self, kind: str, number: int, note: T) -> T:
        """Write a note if there is none; returns the one that stands.

        Stricter than `Results.settle`: what cannot be read is never taken for one's own.
        """
        step, path = self._step, self.path(kind, number)
        frame = result_of(
            replace(step.request, step=path),
            step.agent,
            "done",
            payload=msgspec.Raw(msgspec.json.encode(note)),
            meta={"tool": step.tool.spec.name, NOTE: kind},
        )
        space = step.caller.space
        subject = space.names.result(step.agent, step.request.run, path)
        data = encode(frame if fits(frame) else await space.payloads.leave(frame))
        await space.room.wait(RESULTS, STEP_RESULTS, len(data))
        try:
            await space.broker.append(subject, data, expect=_ABSENT)
        except WrongSequence:
            standing = await self._standing(path)
            step.check(standing)
            return msgspec.json.decode(standing.body, type=type(note))
        return note

    async def _standing(self, path: str) -> Envelope:
        for _ in range(_LOOKS):
            found = await self._get(path)
            if found is not None:
                return found
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        raise RequestTimeout(
            f"the broker keeps a record of step {path!r} but did not show it within "
            f"{_LOOKS * _LOOK_AGAIN_SECONDS:g} s; are its replicas in step? `aixgo doctor`"
        )

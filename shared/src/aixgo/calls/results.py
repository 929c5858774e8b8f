"""Result records: every call ends with exactly one, and the first one stands for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from aixgo.broker.port import Expect, Log, Record
from aixgo.calls.foreign import Foreign
from aixgo.calls.payload_store import PayloadStore, claim_of, fits, travelling_bytes
from aixgo.calls.room import STEP_RESULTS, Room
from aixgo.clock import is_sensible, now
from aixgo.envelope import (
    CLAIM_CHECK_BYTES,
    Envelope,
    Failure,
    Origin,
    Status,
    Usage,
    decode,
    encode,
    new_id,
)
from aixgo.errors import (
    AixgoError,
    Cancelled,
    DeadlineExceeded,
    InvalidPayload,
    RemoteError,
    RequestTimeout,
    WrongSequence,
    code_of,
    cut,
    sendable,
    text_of,
)
from aixgo.subjects import RESULTS, Names, step_of

_ABSENT = Expect(subject_sequence=0)

_SETTLE_ATTEMPTS = 10
"""Tries to store a result that is refused because of one that cannot be found."""

_SETTLE_PAUSE_SECONDS = 0.5
"""Between two of them; together longer than an election."""

NOTE = "aixgo.note"
"""Key in the metadata of a record that says how a tool came to its value, and is no step itself."""


class Results:
    """The RESULTS stream of a namespace: one record for each step, written once."""

    def __init__(
        self, broker: Log, names: Names, payloads: PayloadStore, foreign: Foreign, room: Room
    ) -> None:
        self._broker, self._names, self._payloads = broker, names, payloads
        self._foreign, self._room = foreign, room
        self._stream = names.stream(RESULTS)

    async def get(
        self, agent: str, run: str, step: str, *, decisive: bool = False
    ) -> Envelope | None:
        """Return the step's result as it is stored, or None.

        Args:
            decisive: the step is executed if there is none, so the answer must not be a replica's
                that is behind.
        """
        subject = self._names.result(agent, run, step)
        record = await self._broker.last(self._stream, subject, decisive=decisive)
        return None if record is None else decode(record.data)

    async def stands(self, agent: str, run: str, step: str, *, decisive: bool = False) -> bool:
        """Whether the step has its result; `decisive` as for `get`."""
        subject = self._names.result(agent, run, step)
        return await self._broker.last(self._stream, subject, decisive=decisive) is not None

    async def stands_at(self, subject: str, *, decisive: bool = False) -> bool:
        """Whether there is a result of this subject; `decisive` as for `get`."""
        return await self._broker.last(self._stream, subject, decisive=decisive) is not None

    async def of_run(self, run: str) -> dict[str, Envelope]:
        """Return all results of a run by subject, in one batch; what cannot be read is left out."""
        found = {}
        for record in await self._broker.read(self._stream, self._names.results_of(run)):
            result = self.of(record)
            if result is not None:
                found[record.subject] = result
        return found

    def of(self, record: Record) -> Envelope | None:
        """Return the result in a record; None, and counted, if it is not one.

        A time that cannot be is the record's own.
        """
        try:
            result = decode(record.data)
        except InvalidPayload:
            self._foreign.add(record)
            return None
        about = self._names.parse(record.subject)
        if about is None or result.run != about.run:
            self._foreign.add(record)
            return None
        if not is_sensible(result.sent_at):
            result = replace(result, sent_at=record.time)
        return result

    async def settle(
        self, agent: str, result: Envelope, *, timeout: float = 30.0, ends: bool = False
    ) -> Envelope:
        """Store a step's result if it has none; returns the result that stands, this or another.

        Args:
            ends: it lets a run go on that waits for it, as an answer does, so all the room there
                is may be used. What ends a run, or a step without a value, always may.

        Raises:
            StreamFull, RequestTimeout: nothing is stored; the delivery must come back.
        """
        if result.status == "done" and result.step and not ends:
            size = travelling_bytes(result)
            if not self._room.fits(RESULTS, STEP_RESULTS, size):
                await self._room.take(RESULTS, STEP_RESULTS, size)
        subject = self._names.result(agent, result.run, result.step)
        data = encode(result)
        if len(data) > CLAIM_CHECK_BYTES:
            data = encode(await self._payloads.leave(result))
        for _ in range(_SETTLE_ATTEMPTS):
            try:
                await self._broker.append(subject, data, expect=_ABSENT, timeout=timeout)
            except WrongSequence:
                standing = await self.get(agent, result.run, result.step, decisive=True)
                if standing is not None:
                    return standing
                # swept between the two, or a leader that is losing its place: nothing is recorded
                await asyncio.sleep(_SETTLE_PAUSE_SECONDS)
            else:
                return result
        raise RequestTimeout(
            f"the result of {subject!r} was refused {_SETTLE_ATTEMPTS} times because there is one, "
            "and none was found; is the cluster electing a leader? The call is delivered again"
        )

    async def settle_own(self, agent: str, result: Envelope) -> Envelope:
        """As `settle`, for a handler in the middle of its work, that waits until there is room.

        Raises:
            RequestTimeout: nothing is stored.
        """
        if result.status == "done":
            await self._room.wait(RESULTS, STEP_RESULTS, travelling_bytes(result))
        return await self.settle(agent, result, ends=True)

    async def settle_unread(self, subject: str, agent: str, failure: Failure) -> None:
        """Store an error result for a call whose bytes could not be read, if its subject is one."""
        about = self._names.parse(subject)
        if about is None or about.verb != "call":
            return
        result = Envelope(
            id=new_id(),
            kind="result",
            source=agent,
            run=about.run,
            step=step_of(about.step) or "",
            sent_at=now(),
            status="error",
            error=failure,
        )
        with suppress(WrongSequence):
            result_subject = self._names.same_step(subject, "res")
            await self._broker.append(result_subject, encode(result), expect=_ABSENT)


def result_of(
    request: Envelope,
    agent: str,
    status: Status,
    *,
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
    meta: dict[str, Any] | None = None,
    error: Failure | None = None,
    usage: Usage | None = None,
    attempt: int = 0,
    seconds: float = 0.0,
    origin: Origin | None = None,
) -> Envelope:
    """Return a result of `request`.

    Args:
        attempt: executions that it took; 0 when nothing was executed.
        seconds: how long the last of them took.
        origin: what the run began with.
    """
    return Envelope(
        id=new_id(),
        kind="result",
        source=agent,
        target=request.source,
        run=request.run,
        step=request.step,
        payload=payload,
        meta=meta or {},
        usage=usage,
        depth=0 if request.kind == "event" else request.depth,
        parent=request.parent,
        attempt=attempt,
        seconds=seconds,
        traceparent=request.traceparent,
        tracestate=request.tracestate,
        sent_at=now(),
        status=status,
        error=error,
        fingerprint=request.fingerprint,
        answers=request.id,
        origin=origin,
    )


def origin_of(request: Envelope) -> Origin:
    """Return what a run began with, from its own call; a large payload is where it came from."""
    large = not fits(request)
    return Origin(
        payload=msgspec.UNSET if large else request.payload,
        blob=claim_of(request.body) if large else request.blob,
        meta=request.meta,
        overrides=request.overrides,
    )


_MESSAGE_CHARACTERS = 8_000
"""Of an error's text that travel: a result has to be stored, whatever a handler put into its error.
"""


def failure_of(error: BaseException, agent: str, attempts: int) -> Failure:
    """Return an exception as it travels; a child's failure keeps its own origin."""
    text = cut(text_of(error), _MESSAGE_CHARACTERS)
    if isinstance(error, RemoteError):
        return Failure(code=error.cause, message=text, agent=error.agent, attempts=error.attempts)
    return Failure(
        code=sendable(code_of(error)),
        message=text,
        agent=agent,
        attempts=attempts,
        retryable=isinstance(error, AixgoError) and error.retryable,
    )


def error_result(
    request: Envelope,
    agent: str,
    error: BaseException,
    *,
    attempts: int,
    usage: Usage | None,
    seconds: float = 0.0,
) -> Envelope:
    """Return the result of a call that failed for good."""
    return result_of(
        request,
        agent,
        "error",
        error=failure_of(error, agent, attempts),
        usage=usage,
        attempt=attempts,
        seconds=seconds,
    )


def expired_result(request: Envelope, agent: str, waited_for: str = "") -> Envelope:
    """Return the result of a call whose deadline passed.

    Args:
        waited_for: the steps that had no result then, for people.
    """
    late = now() - (request.deadline or 0.0)
    waited = f"; it waited for {waited_for}" if waited_for else ""
    text = (
        f"agent {agent!r} gave no result before the deadline, {late:.1f} s ago{waited}; give the "
        "call a longer `timeout`, or look with `aixgo doctor` whether the agent is served"
    )
    return result_of(
        request,
        agent,
        "expired",
        error=Failure(code="deadline_exceeded", message=text, agent=agent),
    )


def cancelled_result(request: Envelope, agent: str, reason: str) -> Envelope:
    """Return the result of a cancelled call."""
    return result_of(
        request, agent, "cancelled", error=Failure(code="cancelled", message=reason, agent=agent)
    )


def raise_for_status(result: Envelope) -> None:
    """Raise what a result other than `done` means to its caller.

    Raises:
        RemoteError: the agent failed; `cause` is the original error's code.
        DeadlineExceeded: the deadline passed.
        Cancelled: it was cancelled.
    """
    if result.status in (None, "done"):
        return
    failure = result.error or Failure(code="error", message="no reason given")
    if result.status == "expired":
        raise DeadlineExceeded(failure.message)
    if result.status == "cancelled":
        raise Cancelled(failure.message)
    agent = failure.agent or result.source
    text = failure.message if agent in failure.message else f"agent {agent!r}: {failure.message}"
    raise RemoteError(text, agent=agent, cause=failure.code, attempts=failure.attempts)

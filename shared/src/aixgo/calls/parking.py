"""Parked calls: what waits for a person or a timer holds no delivery, no task and no memory.

A handler that has to wait ends with `Parked`. Its call is kept in the `parked` bucket, the
delivery is acknowledged without a result, and a durable timer is set where there is something to
wait until. What it waits for (an answer, a child's result, the timer) publishes the call again; the
handler then runs from its first line, and finished steps return their recorded results.

No wake-up can be lost between the look and the parking: the parked call is stored *before* the
worker looks a last time for what it waits for, and the process that stores that looks for the
parked call *after* it. So one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from aixgo.broker.keyvalue import Bucket
from aixgo.broker.port import Broker
from aixgo.calls.call_notes import CallNotes
from aixgo.calls.foreign import Foreign
from aixgo.calls.history import History
from aixgo.calls.identity import publication
from aixgo.calls.pages import pages
from aixgo.calls.results import Results
from aixgo.clock import is_sensible, now
from aixgo.envelope import UNREADABLE, Envelope, encode, new_id
from aixgo.errors import InvalidPayload
from aixgo.payloads import to_payload
from aixgo.subjects import PARKED, Names, bucket_key, is_token, step_token

_QUESTION_BYTES = 64 * 1024
"""Of a question to a person; it is kept beside the parked call, in one record with it."""


class Awaited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step whose result a parked call waits for.

    Attributes:
        agent, step: whose result; the run is the parked call's.
        question: what a person is asked, when it is a person.
        options: answers to choose from; none for any text.
        schemas: JSON schema of the value in an answer `{option: value}`, by option.
    """

    agent: str
    step: str
    question: Any = None
    options: tuple[str, ...] = ()
    schemas: dict[str, dict[str, Any]] = {}

    @classmethod
    def asking(
        cls,
        agent: str,
        step: str,
        question: Any,
        options: Iterable[str],
        schemas: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a question to a person.

        Raises:
            InvalidPayload: it cannot be written as JSON, or is over `_QUESTION_BYTES`.
        """
        said = {} if schemas is None else schemas
        asked = to_payload([question, *options, said] if said else [question, *options])
        size = memoryview(asked).nbytes
        if size > _QUESTION_BYTES:
            raise InvalidPayload(
                f"the question of step {step!r} is {size:,} bytes of JSON with its options, over "
                f"the limit of {_QUESTION_BYTES:,} bytes; ask shortly, and say where the rest is"
            )
        plain, *choices = msgspec.json.decode(asked)
        said = choices.pop() if said else {}
        return cls(agent=agent, step=step, question=plain, options=tuple(choices), schemas=said)


class Parked(BaseException):
    """A handler must wait longer than it may hold a delivery.

    Not an `Exception`: only the runtime should catch it.

    Args:
        until: Unix seconds to wake at; None when only results wake it.
        awaited: steps whose results wake it; any one of them.
    """

    def __init__(self, *, until: float | None = None, awaited: Iterable[Awaited] = ()) -> None:
        self.until, self.awaited = until, tuple(awaited)
        super().__init__(f"parked until {until}, or until one of {self.awaited} has a result")

    @classmethod
    def together(cls, parked: Iterable[Parked]) -> Self:
        """Return one that is woken by whatever wakes one of several."""
        parked = list(parked)
        moments = [one.until for one in parked if one.until is not None]
        return cls(
            until=min(moments) if moments else None,
            awaited=[step for one in parked for step in one.awaited],
        )


class ParkedCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call in the `parked` bucket."""

    request: Envelope
    since: float
    until: float | None = None
    awaited: tuple[Awaited, ...] = ()


LONGEST_SECONDS = 50 * 365 * 86_400.0
"""Of a timer, and of a call's time in the queue: a server counts nanoseconds in 63 bits. What waits
for longer is woken then, and waits again."""

_WAKE_SECONDS = 24 * 3600.0
"""A fired timer that was not taken for that long belongs to a call that expired long before."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ParkedCall)


class Parking:
    """The parked calls of a namespace."""

    def __init__(
        self, broker: Broker, names: Names, notes: CallNotes, history: History, foreign: Foreign
    ) -> None:
        self._broker, self._names = broker, names
        self._notes, self._history, self._foreign = notes, history, foreign
        self._bucket = Bucket(broker, names.bucket(PARKED))

    async def park(
        self, request: Envelope, parked: Parked, executions: int, excused: int = 0
    ) -> ParkedCall:
        """Keep a call until it is woken; its delivery may be acknowledged after a last look.

        Args:
            executions: of the call up to now.
            excused: those among them that were no failures, besides the request's own and this one.
        """
        until = parked.until
        if request.deadline is not None and (until is None or until > request.deadline):
            until = request.deadline  # then a worker says that it expired
        call = ParkedCall(
            request=replace(
                request,
                attempt=executions,
                excused=request.excused + excused + 1,
                woken=True,
            ),
            since=now(),
            until=until,
            awaited=parked.awaited,
        )
        await self._bucket.put(_key(request), _encoder.encode(call))
        if until is not None:
            await self.set_timer(call.request, until)
        return call

    async def put_off(self, request: Envelope, until: float) -> None:
        """Publish a call again at Unix time `until`, for another attempt."""
        if request.woken:  # its timers wake what is in the bucket, because old ones may be about
            call = ParkedCall(request=request, since=now(), until=until)
            await self._bucket.put(_key(request), _encoder.encode(call))
        await self.set_timer(request, until)

    async def wake(self, run: str, step: str) -> bool:
        """Publish a parked call again; False when it is not parked, or no longer."""
        entry = await self._bucket.get(f"{run}.{step_token(step)}")
        if entry is None:
            return False
        call = self._read(f"{run}.{step_token(step)}", entry.value)
        if call is None:
            return False
        request = call.request
        await self.publish(request)
        # it may be executed, and parked anew, before this: then that stays
        await self.remove(request, before=entry.revision + 1)
        await self._history.add("woken", request, attempt=request.attempt)
        return True

    async def publish(self, request: Envelope) -> None:
        """Publish a call again; the same wake-up twice is one call."""
        if self._notes.wanted is not False:
            await self._notes.note(request)
        await self._broker.append(
            self._names.call(request.target, request.run, request.step),
            encode(replace(request, sent_at=now())),
            msg_id=publication(request),
        )

    async def get(self, run: str, step: str) -> ParkedCall | None:
        """Return a parked call, or None."""
        key = f"{run}.{step_token(step)}"
        entry = await self._bucket.get(key)
        return None if entry is None else self._read(key, entry.value)

    async def all(self, run: str = "") -> list[ParkedCall]:
        """Return the parked calls of a run, or of all runs, as they stand in the bucket.

        What is not one is left out, and counted (`Space.foreign`).

        Raises:
            BadSubject: no run can have that id.
        """
        names, found = self._names, []
        for record in await self._broker.read(names.parked_stream, names.parked_in(run)):
            if not record.data:
                continue
            call = self._read(bucket_key(record.subject), record.data)
            if call is None:
                self._foreign.add(record)
                continue
            if not is_sensible(call.since):
                call = replace(call, since=record.time)
            found.append(call)
        return found

    def _read(self, key: str, data: bytes) -> ParkedCall | None:
        """Return the call that is parked under a key; None for what is not one."""
        try:
            call = _decoder.decode(data)
        except UNREADABLE:
            return None
        request = call.request
        if _key(request) != key or not is_token(request.target):
            return None
        return call

    async def tidy(self, results: Results) -> tuple[int, int]:
        """Forget parked calls that have their result, and wake those that wait for nothing.

        A server that is killed may bring back a record that was removed; a process that stores an
        answer may end before it wakes the call.

        Returns:
            How many were forgotten, and how many woken.
        """
        gone = woken = 0
        names = self._names
        every_call = pages(self._broker, names.parked_stream, 1, names.parked_in())
        async with aclosing(every_call) as every:
            async for page in every:
                for record in page:
                    call = self._read(bucket_key(record.subject), record.data)
                    if call is None:
                        continue
                    request = call.request
                    if await results.stands(request.target, request.run, request.step):
                        await self.remove(request, before=record.sequence + 1)
                        gone += 1
                        continue
                    for step in call.awaited:
                        if await results.stands(step.agent, request.run, step.step):
                            woken += await self.wake(request.run, request.step)
                            break
        return gone, woken

    async def remove(self, request: Envelope, *, before: int = 0) -> None:
        """Forget a parked call: it goes on, or it has its result.

        The record goes, not only its value: a marker for each call that was ever parked would stay.

        Args:
            before: only if it was parked at a lower revision; 0 for any.
        """
        names = self._names
        await self._broker.purge(names.parked_stream, names.parked(_key(request)), before=before)

    async def set_timer(self, request: Envelope, until: float) -> None:
        """Publish a call again at Unix time `until`, over restarts of everything."""
        step = (request.target, request.run, request.step)
        await self._broker.schedule(
            self._names.timer(*step),
            encode(request),
            at=min(max(until, now()), now() + LONGEST_SECONDS),
            target=self._names.wake(*step),
            # a call that parks again, because its delivery came back, needs its timer again
            msg_id=f"{publication(request)}:{new_id()[-12:]}",
            ttl=_WAKE_SECONDS,
        )


def _key(request: Envelope) -> str:
    return f"{request.run}.{step_token(request.step)}"

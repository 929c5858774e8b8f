"""The caller's side of a durable call: publish until acknowledged, wait for the one result.

The result arrives as a republished record (`live.res.…`); it is also looked up at every slice of
the wait, because a republished message can be lost and a stored one cannot. The call is published
again at each slice too: the message id and the result record make that harmless.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable

from msgspec.structs import replace

from aixgo.broker.port import BusMessage, Subscription
from aixgo.calls.alarms import Alarm, Alarms
from aixgo.calls.identity import publication
from aixgo.calls.parking import LONGEST_SECONDS, Awaited, Parked
from aixgo.calls.payload_store import fits, travelling_bytes
from aixgo.calls.presence import present
from aixgo.calls.results import expired_result
from aixgo.calls.retry import BROKER_AWAY
from aixgo.calls.room import share_of_call
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.envelope import CLAIM_CHECK_BYTES, Envelope, decode, encode
from aixgo.errors import (
    BrokerError,
    InvalidPayload,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    StreamFull,
    StreamRefused,
    UnknownAgent,
)
from aixgo.models.bus import GATEWAY
from aixgo.pauses import Pauses
from aixgo.subjects import CALLS, token
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing

log = logging.getLogger("aixgo.calls")

LOOK_SECONDS = 2.0
"""A lost republish is noticed after this time; the look itself costs a tenth of a millisecond."""

_SHORTEST_WAIT_SECONDS = 0.05
"""Between two looks after the deadline, when the broker does not answer."""

_TTL_SLACK_SECONDS = 60
"""A call stays in the queue past its deadline for a worker that can still say `expired`."""

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.5
"""Between two tries of a step that finds no room."""

_REFUSED = (StreamFull, StreamRefused, PayloadTooLarge, NoResponders)
"""What says for sure that a call was not queued."""


class _Waiting(Alarm):
    """One result awaited: a future that the subscription or the clock completes."""

    __slots__ = ("alarms", "data", "future", "live")

    def __init__(self, alarms: Alarms) -> None:
        self.alarms = alarms
        self._bucket = self._timer = None
        self.data: bytes | None = None
        self.live: Subscription | None = None
        self.future: asyncio.Future[None] = alarms.loop.create_future()

    def arrive(self, message: BusMessage) -> None:
        self.data = message.data
        if not self.future.done():
            self.future.set_result(None)

    def ring(self) -> None:
        """Let the wait be over."""
        if not self.future.done():
            self.future.set_result(None)

    async def wait(self, seconds: float) -> bytes | None:
        """Return the record, or None when `seconds` are over."""
        if self.data is None:
            if self.future.done():
                self.future = self.alarms.loop.create_future()
            self.alarms.set(self, self.alarms.time() + seconds)
            try:
                await self.future
            finally:
                self.cancel()
        return self.data


class Caller:
    """Makes durable calls in one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._broker, self._names = space.broker, space.names
        self._payloads, self._results = space.payloads, space.results
        self._alarms = Alarms()
        self.time = self._alarms.time
        self.known = space.known
        self._queues: dict[str, tuple[float, bool]] = {}

    async def check(self, agent: str) -> None:
        """Refuse an agent that is not provisioned: a call to it would wait for ever.

        Where this process may not look, the set of agents is open, and that is a warning.

        Raises:
            UnknownAgent: names those that are there.
        """
        if agent in self.known:
            return
        stream = self._names.stream(CALLS)
        try:
            found = await self._broker.consumer_info(stream, token(agent, "agent"))
        except PermissionDenied as error:
            log.warning("agent.not_known", extra={"agent": agent, "error": str(error)})
            self.known.add(agent)
            return
        if found is None:
            there = {*self.known, *await present(self._broker, self._names)}
            raise UnknownAgent(agent, sorted(there))
        self.known.add(agent)

    async def call(self, request: Envelope, *, look: bool, parks: bool = False) -> Envelope:
        """Return the one result of the call, whatever its status, payload in place.

        Args:
            look: look for a result before publishing: for a step that may be recorded already.
            parks: do not wait for a call that is parked.

        Raises:
            Parked: the call is parked, and the caller should be too.
        """
        target = request.target
        waiting = _Waiting(self._alarms)
        waiting.live = await self._listen(request, waiting)
        try:
            # after subscribing: a result that is stored meanwhile is seen by one of the two
            standing = None
            try:
                if look:
                    standing = await self._results.get(target, request.run, request.step)
                if standing is None:
                    if request.step:
                        await self._send_step(request)
                    else:
                        await self.send(request)
            except BROKER_AWAY:
                if request.deadline is None:
                    raise
                # it may be stored, and executed: the wait publishes it, or finds out
            if standing is None:
                standing = await self._result(request, waiting, parks)
        finally:
            # each holds the other; let go, or they wait for the garbage collector
            live, waiting.live = waiting.live, None
            if waiting.data is None and live is not None:
                await live.unsubscribe()
        return standing if standing.blob is None else await self._payloads.fetch(standing)

    def _listen(self, request: Envelope, waiting: _Waiting) -> Awaitable[Subscription]:
        return self._broker.subscribe(
            self._names.live_result(request.target, request.run, request.step),
            waiting.arrive,
            limit=1,
            prompt=True,
        )

    async def _result(self, request: Envelope, waiting: _Waiting, parks: bool) -> Envelope:
        target, deadline = request.target, request.deadline
        circle = target in request.above
        while True:
            left = math.inf if deadline is None else deadline - now()
            data = await waiting.wait(min(LOOK_SECONDS, max(left, _SHORTEST_WAIT_SECONDS)))
            if data is not None:
                live = _believed(request, data)
                if live is not None:
                    return live
                # of another publication, or of another program: only its record counts
                waiting.data = None
                waiting.live = await self._listen(request, waiting)
            try:
                told = data is not None
                standing = await self._results.get(target, request.run, request.step, decisive=told)
                if standing is not None:
                    return standing
                if deadline is not None and now() >= deadline:
                    return await self._results.settle(target, expired_result(request, target))
                parked = await self.space.parking.get(request.run, request.step) is not None
                if not parked:
                    await self._send(request)
                # parked itself, or perhaps in need of the slot that its caller keeps
                if parks and (parked or (data is None and (circle or await self._jammed(request)))):
                    raise Parked(awaited=[Awaited(agent=target, step=request.step)])
            except BrokerError as error:
                # the broker is away or full: the call is published already, so keep waiting
                if not error.retryable or (deadline is not None and now() > deadline + 10.0):
                    raise

    async def _jammed(self, request: Envelope) -> bool:
        """Whether calls of both agents wait for a slot: then each may wait for the other's."""
        if request.target == GATEWAY:  # it calls no agent
            return False
        return await self._queued(request.target) and await self._queued(request.source)

    async def _queued(self, agent: str) -> bool:
        """Whether calls of an agent wait for a slot; asked once in `LOOK_SECONDS`."""
        asked, queued = self._queues.get(agent, (-math.inf, False))
        if self.time() < asked + LOOK_SECONDS:
            return queued
        try:
            info = await self._broker.consumer_info(self._names.stream(CALLS), agent)
        except PermissionDenied:
            info = None
        queued = info is not None and info.pending > 0
        self._queues[agent] = self.time(), queued
        return queued

    async def await_result(
        self, agent: str, run: str, step: str, timeout: float
    ) -> Envelope | None:
        """Return a step's result, waiting at most `timeout` seconds for it; None: not in time."""
        waiting = _Waiting(self._alarms)
        live = await self._broker.subscribe(
            self._names.live_result(agent, run, step), waiting.arrive
        )
        try:
            until = now() + timeout
            while True:
                # what is told is that there is a record; which is what counts
                told, waiting.data = waiting.data is not None, None
                standing = await self._results.get(agent, run, step, decisive=told)
                if standing is not None:
                    return await self._payloads.fetch(standing)
                left = until - now()
                if left <= 0:
                    return None
                await waiting.wait(min(LOOK_SECONDS, left))
        finally:
            await live.unsubscribe()

    async def send(self, request: Envelope) -> None:
        """Publish the call and return when the broker keeps it; again is harmless.

        Raises:
            StreamFull: what is left of the room is kept for runs that were accepted before.
            NoResponders: the CALLS stream is not provisioned.
        """
        if request.step:  # its caller waits for it, and would send it again
            await self._send(request)
            return
        size, room = travelling_bytes(request), self.space.room
        if not room.begins(size):
            await room.begin(size, request.deadline)
        if self.space.notes.wanted is False:
            await self._send(request)
            return
        travelling = request if fits(request) else await self._payloads.leave(request)
        noted = await self.space.notes.note(travelling, first=True)
        try:
            await self._send(travelling)
        except _REFUSED:
            if noted:  # or it would be executed although its sender was told that it is not
                await self.space.notes.forget(travelling)
            raise

    async def _send_step(self, request: Envelope) -> None:
        """Publish the call of a step of an accepted run: it waits for room, and fails for none."""
        room, share = self.space.room, share_of_call(request.depth)
        size = travelling_bytes(request)
        pauses: Pauses | None = None
        while True:
            try:
                if not room.fits(CALLS, share, size):
                    await room.take(CALLS, share, size)
                await self._send(request)
                return
            except StreamFull as full:
                if request.deadline is not None and now() >= request.deadline:
                    return  # no worker has it, and its caller is told that it expired
                if pauses is None:
                    pauses = Pauses(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                    log.warning(
                        "step.waits_for_room",
                        extra={"run": request.run, "step": request.step, "error": str(full)},
                    )
            await pauses.wait()

    def _send(self, request: Envelope) -> Awaitable[None]:
        subject = self._names.call(request.target, request.run, request.step)
        append = self._append_traced if tracing.enabled() else self._append
        return append(subject, request)

    async def _append_traced(self, subject: str, request: Envelope) -> None:
        with tracing.span(
            f"publish {attribute_template(request.target)}",
            "producer",
            traceparent=request.traceparent,
            tracestate=request.tracestate,
            attributes={
                attribute.SYSTEM: self._broker.name,
                attribute.OPERATION: "publish",
                attribute.OPERATION_TYPE: "send",
                attribute.DESTINATION: subject,
                attribute.DESTINATION_TEMPLATE: attribute_template(request.target),
                attribute.MESSAGE_ID: request.id,
                attribute.CONVERSATION_ID: request.run,
                attribute.RUN_ID: request.run,
                attribute.STEP: request.step,
            },
        ) as span:
            await self._append(
                subject,
                replace(request, traceparent=span.traceparent, tracestate=span.tracestate),
            )

    async def _append(self, subject: str, request: Envelope) -> None:
        data = encode(request)
        if len(data) > CLAIM_CHECK_BYTES:
            data = encode(await self._payloads.leave(request))
        traceparent = request.traceparent
        ttl = 0.0
        if request.deadline is not None:
            left = min(request.deadline - now(), LONGEST_SECONDS)
            ttl = max(1.0, math.ceil(left)) + _TTL_SLACK_SECONDS
        await self._broker.append(
            subject,
            data,
            msg_id=publication(request),
            ttl=ttl,
            # for other tools; nothing was recorded of an unsampled trace that they could show
            headers={"traceparent": traceparent} if tracing.sampled(traceparent) else None,
        )


def _believed(request: Envelope, data: bytes) -> Envelope | None:
    """Return a republished result, if its worker made it for this very publication of the call.

    Any program may publish on the subject. A result names the call that it answers by its id, which
    is random and known to those who may read the call; what names another one is looked up.
    """
    try:
        result = decode(data)
    except InvalidPayload:
        return None
    return result if result.answers == request.id and result.kind == "result" else None


def attribute_template(agent: str) -> str:
    """Return the low-cardinality name of an agent's call subject, for spans."""
    return f"call.{agent}"

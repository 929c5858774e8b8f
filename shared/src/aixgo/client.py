"""`Client`: call agents from outside, wherever they are served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msgspec.structs import replace

from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.calls.caller import Caller
from aixgo.calls.dead_letters import DeadLetters
from aixgo.calls.events import publish_event
from aixgo.calls.presence import present
from aixgo.calls.questions import Question, give_answer, open_questions
from aixgo.calls.results import raise_for_status
from aixgo.calls.revive import replay as replay_letter
from aixgo.calls.space import Space
from aixgo.clock import LONGEST_SECONDS, now
from aixgo.config.agents import OnFull
from aixgo.config.sessions import SessionSettings
from aixgo.envelope import Envelope, decode, encode, fingerprint, new_id
from aixgo.errors import (
    AixgoError,
    BrokerError,
    DeadlineExceeded,
    NoResponders,
    RequestTimeout,
)
from aixgo.message import Message
from aixgo.payloads import to_meta, to_payload, to_seconds
from aixgo.stores.sessions import Sessions
from aixgo.stores.sessions.open import open_sessions
from aixgo.stores.sessions.port import SESSION, USER, checked
from aixgo.subjects import CALLS, Names, token
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing

if TYPE_CHECKING:  # who only calls does not load them
    from aixgo.runs.runs import Runs
    from aixgo.runs.watch import RunEvents

__all__ = ["DEFAULT_TIMEOUT", "Client", "Question", "Traffic", "connect"]

log = logging.getLogger("aixgo.client")
T = TypeVar("T")

DEFAULT_TIMEOUT = 300.0
"""Seconds that a call waits when it names no timeout."""


@dataclass(slots=True)
class Traffic:
    """What went through a client since it was opened; latencies are seconds."""

    sent: int = 0
    received: int = 0
    succeeded: int = 0
    failed: int = 0
    latency: float = 0.0


class Client:
    """Calls agents over a broker connection; it serves none itself.

    Args:
        source: name of the caller in envelopes.

    Attributes:
        space: what the broker keeps of the namespace, for tools and tests.
    """

    def __init__(self, broker: Broker, names: Names, *, source: str = "client") -> None:
        self.broker, self.names, self._source = broker, names, source
        self.space = Space(broker, names)
        self._caller = Caller(self.space)
        self._traffic = Traffic()

    # -- calls ---------------------------------------------------------------------------------

    async def call(
        self,
        agent: str,
        data: Any = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        meta: Mapping[str, Any] | None = None,
        run_id: str = "",
        session: str = "",
        user: str = "",
    ) -> Message:
        """Start a run: call an agent durably and return its one result.

        Cancelling the wait cancels the run; `send` starts one without waiting for it.

        Args:
            timeout: seconds; everything below inherits the deadline.
            run_id: id of the run (`aixgo.envelope.new_id()`); the same id again returns the same
                result and runs nothing twice, as long as results are kept (`retention.keep`; 24 h,
                10 min on the memory broker).
            session: the conversation that this message belongs to, 1 to 256 characters. The agent,
                and those that it calls, remember what was said in it before.
            user: for whom the run works; a session belongs to the user with whom it began.

        Raises:
            UnknownAgent: no agent of that name is provisioned.
            RemoteError: the agent failed for good.
            DeadlineExceeded: no result within `timeout`.
            Cancelled: the run was cancelled.
            InvalidPayload: `data` cannot be sent.
            StreamFull: the system has more work queued than it may keep (backpressure).
        """
        if agent not in self._caller.known:
            await self._caller.check(agent)
        if session or user:
            meta = _for_whom(meta, session, user)
        request = self._request(agent, data, timeout, meta, run_id)
        if not tracing.enabled():
            return await self._answer(request, look=bool(run_id))
        with self._root_span(request) as span:
            traced = replace(request, traceparent=span.traceparent, tracestate=span.tracestate)
            return await self._answer(traced, look=bool(run_id))

    async def _answer(self, request: Envelope, *, look: bool) -> Message:
        traffic, clock = self._traffic, self._caller.time
        began = clock()
        traffic.sent += 1
        try:
            result = await self._caller.call(request, look=look)
            traffic.received += 1
            raise_for_status(result)
        except asyncio.CancelledError:
            await self._cancel_quietly(request)
            raise
        except AixgoError:
            traffic.failed += 1
            raise
        traffic.succeeded += 1
        traffic.latency += clock() - began
        return Message(result)

    async def send(
        self,
        agent: str,
        data: Any = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        meta: Mapping[str, Any] | None = None,
        run_id: str = "",
        session: str = "",
        user: str = "",
    ) -> str:
        """Start a run and return its id once the broker keeps it; `result` gets its result.

        Raises:
            UnknownAgent, InvalidPayload, StreamFull: as `call`.
        """
        await self._caller.check(agent)
        if session or user:
            meta = _for_whom(meta, session, user)
        request = self._request(agent, data, timeout, meta, run_id)
        if tracing.enabled():
            with self._root_span(request) as span:
                await self._caller.send(
                    replace(request, traceparent=span.traceparent, tracestate=span.tracestate)
                )
        else:
            await self._caller.send(request)
        self._traffic.sent += 1
        return request.run

    async def result(self, agent: str, run_id: str, *, timeout: float = 0.0) -> Message | None:
        """Return the result of a run that `send` started; None when there is none in time.

        Args:
            timeout: seconds to wait for it; 0 only looks.

        Raises:
            RemoteError, DeadlineExceeded, Cancelled: what the result says.
        """
        seconds = to_seconds(timeout, "timeout", zero=True)
        found = await self._caller.await_result(agent, run_id, "", seconds)
        if found is None:
            return None
        raise_for_status(found)
        return Message(found)

    async def call_parallel(
        self,
        calls: Mapping[str, Any] | Iterable[str],
        data: Any = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> dict[str, Message | AixgoError]:
        """Call several agents at once and return every result, errors kept, in the order given.

        Args:
            calls: agent → data, or names of agents that all get `data`.
        """
        wanted = dict(calls) if isinstance(calls, Mapping) else dict.fromkeys(calls, data)

        async def one(agent: str, payload: Any) -> Message | AixgoError:
            try:
                return await self.call(agent, payload, timeout=timeout)
            except AixgoError as error:
                return error

        outcomes = await _together(one(agent, payload) for agent, payload in wanted.items())
        return dict(zip(wanted, outcomes, strict=True))

    async def broadcast(
        self, data: Any = None, *, agents: Iterable[str] | None = None
    ) -> dict[str, str | AixgoError]:
        """Send to several agents (all that are served, without a list), best effort.

        Returns:
            The run id for each agent, or why it could not be sent to; none stops the others.
        """
        wanted = list(agents) if agents is not None else await self.agents()

        async def one(agent: str) -> str | AixgoError:
            try:
                return await self.send(agent, data)
            except AixgoError as error:
                return error

        outcomes = await _together(one(agent) for agent in wanted)
        return dict(zip(wanted, outcomes, strict=True))

    async def rpc(self, agent: str, data: Any = None, *, timeout: float = 5.0) -> Message:
        """Execute an agent once, without a record: fast, not repeated, lost with a crash.

        For short questions that may be asked again. Every result of value goes through `call`.

        Raises:
            NoResponders: no instance of the agent is connected; known at once.
            DeadlineExceeded: no answer within `timeout` seconds.
            RemoteError: the agent failed.
            PayloadTooLarge: rpcs carry no large bodies.
        """
        request = self._request(agent, data, timeout, None, "", "rpc")
        subject = self.names.rpc(agent, "execute")
        try:
            answer = await self.broker.request(subject, encode(request), timeout=timeout)
        except NoResponders as error:
            raise NoResponders(
                f"no instance of agent {agent!r} listens; is the service up? `aixgo doctor` lists "
                "who is, and `call` waits for an instance to come"
            ) from error
        except RequestTimeout as error:
            raise DeadlineExceeded(
                f"agent {agent!r} did not answer an rpc within {timeout:g} s; allow a longer "
                "`timeout`, or use `call`"
            ) from error
        result = decode(answer.data)
        if result.blob is not None:
            result = await self.space.payloads.fetch(result)
        raise_for_status(result)
        return Message(result)

    async def publish(
        self,
        source: str,
        data: Any,
        *,
        meta: Mapping[str, Any] | None = None,
        on_full: OnFull = "wait",
    ) -> str:
        """Publish an event in the name of `source`; returns the id of the run that it begins.

        Args:
            on_full: when subscribers are so far behind that there is no room: `wait` for it, up to
                a minute, or `error` at once.

        Raises:
            StreamFull: there is no room; names the subscribers that are behind.
        """
        event = self._request(source, data, None, meta, "")
        await publish_event(
            self.space,
            source,
            replace(event, source=source),
            msg_id=f"{source}.{event.run}",
            on_full=on_full,
        )
        return event.run

    async def cancel(self, agent: str, run_id: str, reason: str = "cancelled by a client") -> bool:
        """Cancel a run; False when it had its result already, also that of an earlier cancel."""
        request = Envelope(id=new_id(), kind="call", source=self._source, target=agent, run=run_id)
        standing = await self.space.cancels.cancel(request, reason)
        return standing.status == "cancelled" and standing.answers == request.id

    @property
    def dead_letters(self) -> DeadLetters:
        """What could not be handled: list, get, edit, remove and purge it."""
        return self.space.dead_letters

    @cached_property
    def runs(self) -> Runs:
        """The runs of the namespace: list, look inside, fork."""
        from aixgo.runs.runs import Runs

        return Runs(self._caller, source=self._source)

    @property
    def sessions(self) -> Sessions:
        """The sessions of the namespace: list, look inside, restore, fork, remove.

        On a server with permissions only the admin may remove.
        """
        return Sessions(self.space.sessions)

    def watch(self, run_id: str) -> AbstractAsyncContextManager[RunEvents]:
        """Listen to a run from now on; begin before the run does, to miss nothing.

        run = new_id()
        async with client.watch(run) as events:
            await client.send("triage", "My invoice is wrong", run_id=run)
            async for event in events:
                print(event)
        """
        from aixgo.runs.watch import watch

        return watch(self.space, run_id)

    async def replay(self, number: int) -> tuple[str, str]:
        """Let the run of a dead letter go on; returns the agent and the run id for `result`.

        Finished steps are not done again. The run's dead letters are gone; what fails again is a
        new one.

        Raises:
            NoDeadLetter: there is none of that number.
            InvalidPayload: it never was a message.
        """
        call = await replay_letter(self._caller, number)
        return call.target, call.run

    async def questions(self, run_id: str = "") -> list[Question]:
        """Return what people are asked, oldest first: of one run, or of all."""
        return await open_questions(self.space, run_id)

    async def answer(self, run_id: str, answer: Any, *, step: str = "") -> None:
        """Answer the question of a run; the run goes on. The first answer counts.

        Args:
            answer: one of the question's options, or `{option: value}` to say more with it.
            step: which question, when the run asks several at once.

        Raises:
            NoQuestion: the run asks nothing (or no longer), nothing at `step`, or several things
                and no `step` is given; names the steps of its open questions.
            InvalidPayload: the answer is none of the question's options, or its value does not
                fit.
        """
        await give_answer(self.space, run_id, answer, step=step, source=self._source)

    async def agents(self) -> list[str]:
        """Return the names of the agents that an instance serves now, sorted."""
        return list(await present(self.broker, self.names))

    # -- the inside ----------------------------------------------------------------------------

    def _request(
        self,
        agent: str,
        data: Any,
        timeout: float | None,
        meta: Mapping[str, Any] | None,
        run_id: str,
        kind: Literal["call", "rpc"] = "call",
    ) -> Envelope:
        if timeout is not None and not (
            type(timeout) is float and 0.0 < timeout <= LONGEST_SECONDS
        ):
            to_seconds(timeout, "timeout")
        payload = to_payload(data)
        run = token(run_id, "run_id") if run_id else new_id()
        moment = now()
        return Envelope(
            id=new_id(),  # not the run's: it proves who answered (`Envelope.answers`)
            kind=kind,
            source=self._source,
            target=agent,
            run=run,
            payload=payload,
            meta=to_meta(meta) if meta else {},
            deadline=None if timeout is None else moment + timeout,
            traceparent=tracing.root_context(run, checked=not run_id),
            sent_at=moment,
            # no other request can have an id that is made here
            fingerprint=fingerprint(agent, payload) if run_id else "",
        )

    def _root_span(self, request: Envelope) -> tracing.Span:
        return tracing.span(
            f"invoke_agent {request.target}",
            "client",
            attributes={
                attribute.GEN_AI_OPERATION: "invoke_agent",
                attribute.GEN_AI_AGENT_NAME: request.target,
                attribute.RUN_ID: request.run,
            },
        )

    async def _cancel_quietly(self, request: Envelope) -> None:
        """Cancel the run of a caller that stopped waiting; bounded, never an error of its own."""
        try:
            async with asyncio.timeout(2.0):
                await asyncio.shield(
                    self.space.cancels.cancel(request, "the caller stopped waiting")
                )
        except (AixgoError, TimeoutError) as error:
            log.warning("run.not_cancelled", extra={"run": request.run}, exc_info=error)


def _for_whom(meta: Mapping[str, Any] | None, session: str, user: str) -> dict[str, Any]:
    """Return the metadata of a call that belongs to a session, or works for a user.

    Raises:
        InvalidPayload: one of them is not a name.
    """
    named = {key: checked(name, key) for key, name in ((SESSION, session), (USER, user)) if name}
    return {**(meta or {}), **named}


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once and return their values in order; leaving early ends them all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


@asynccontextmanager
async def connect(
    broker: str,
    *,
    namespace: str = "default",
    source: str = "client",
    sessions: str = "",
    **options: Any,
) -> AsyncGenerator[Client, None]:
    """Open a client of a running system.

    async with connect("nats://localhost:4222") as client:
        result = await client.call("triage", "My invoice is wrong")

    Args:
        broker: address of the broker; `options` are those of `open_broker`.
        sessions: address of the store of `Client.sessions`, such as `redis://…` or
            `postgresql://…`, where that is not the broker.

    Raises:
        Unreachable, AuthenticationFailed, ServerTooOld, JetStreamDisabled: each says what to do.
    """
    names = Names(namespace)
    async with open_broker(broker, name=source, **options) as opened:
        with suppress(BrokerError):  # only to compare clocks, for the deadlines of its calls
            await opened.stream_info(names.stream(CALLS))
        client = Client(opened, names, source=source)
        async with open_sessions(SessionSettings.at(sessions), names) as store:
            client.space.sessions = store or client.space.sessions
            yield client

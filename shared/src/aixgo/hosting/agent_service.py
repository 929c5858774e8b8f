"""One agent on a broker: execute what arrives, run its `start`, stop without losing anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from aixgo.agents.agent import Agent
from aixgo.agents.role import Role
from aixgo.broker.port import BusMessage, Subscription
from aixgo.broker.topology import ACK_WAIT_SECONDS
from aixgo.calls.alarms import Alarms
from aixgo.calls.caller import Caller
from aixgo.calls.events import event_id, publish_event
from aixgo.calls.parking import Parked
from aixgo.calls.payload_store import fits
from aixgo.calls.results import error_result, expired_result, origin_of, result_of
from aixgo.calls.space import Space
from aixgo.calls.work import Counts
from aixgo.calls.worker import HandlerFailed, Worker
from aixgo.clock import now
from aixgo.envelope import Envelope, decode, encode, new_id
from aixgo.errors import (
    AgentTimeout,
    AixgoError,
    DeadlineExceeded,
    HandlerExited,
    InboxFull,
    NotReady,
    NotSupported,
    Refused,
)
from aixgo.hosting.discovery import Endpoint
from aixgo.hosting.exits import at_work
from aixgo.hosting.feed import ServiceFeed
from aixgo.message import Message, Reply
from aixgo.payloads import to_meta, to_payload
from aixgo.steps.context import Context
from aixgo.steps.execution import AgentRuntime
from aixgo.subjects import CALLS
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing

log = logging.getLogger("aixgo.hosting.agent_service")

EXECUTE = "execute"
"""Method of `rpc.<agent>.<method>` that executes the agent without durability."""

_CHAIN = 100
"""Errors that are followed back from one to the one before."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """How an agent is connected to the rest of its system.

    Attributes:
        default_model: model of agents that name none.
        sources: agents whose events it handles.
        publishes: whether its answers to events are events of its own.
        ack_wait: seconds after which a dead instance's work goes to another.
    """

    default_model: str = ""
    sources: tuple[str, ...] = ()
    publishes: bool = False
    ack_wait: float = ACK_WAIT_SECONDS


class AgentService:
    """Serves one agent over one connection: durable calls, events, rpc, and its own `start`."""

    def __init__(self, agent: Agent, space: Space, wiring: Wiring) -> None:
        self.agent, self.wiring = agent, wiring
        self.role: Role = agent.build()
        self.space, self._caller = space, Caller(space)
        self._broker, self._names = space.broker, space.names
        spec = agent.spec
        self._runtime = AgentRuntime(
            caller=self._caller,
            spec=spec,
            default_model=wiring.default_model,
            tools=agent.tools,
            hooks=agent.declaration.hooks,
        )
        self._seconds = spec.timeout or spec.limits.timeout
        self._name = spec.name
        self._template, self._rpc_name = f"call.{spec.name}", f"{spec.name}: rpc"
        self._worker = Worker(
            space,
            spec.name,
            self.handle,
            retry=spec.retry,
            concurrency=spec.concurrency,
            sources=wiring.sources,
            ack_wait=wiring.ack_wait,
            exclusive=spec.exclusive,
            longest=self._seconds,
        )
        self._rpc: list[Subscription] = []
        self._rpc_tasks: set[asyncio.Task[None]] = set()
        self._rpcs = 0
        self._feed: ServiceFeed | None = None
        self._running: asyncio.Task[None] | None = None
        self._alarms = Alarms()
        self._started = False
        self._failure: BaseException | None = None

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve; returns when the broker knows the subscriptions.

        Raises:
            StreamNotFound, ConsumerNotFound: the agent is not provisioned.
        """
        names, name = self._names, self.agent.name
        if self.role.style != "reactive":
            self._rpc = [
                await self._broker.subscribe(names.rpc(name, EXECUTE), self._on_rpc, queue=name)
            ]
        await self.agent.tools.open()
        await self._worker.start()
        if self.role.style != "request":
            self._feed = ServiceFeed(
                self.space, self.agent.name, self.agent.spec.on_full, ack_wait=self.wiring.ack_wait
            )
            self._running = asyncio.create_task(self._run(self._feed), name=f"{name}: start")
        await self._broker.flush()
        self._started = True
        log.info("agent.started", extra={"agent": name, "role": self.agent.spec.role})

    async def stop(self, grace: float = 0.0) -> None:
        """Take no more, finish within `grace` seconds, hand over the rest. Idempotent."""
        if not self._started:
            return
        self._started = False
        for subscription in self._rpc:
            await subscription.unsubscribe()
        if self._feed is not None:
            self._feed.stopping.set()
        await self._worker.stop(grace)
        waiting = {task for task in (*self._rpc_tasks, self._running) if task is not None}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=max(grace, 0.1))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await self.role.stop()
        except Exception as error:
            log.error("agent.stop_failed", extra={"agent": self.agent.name}, exc_info=error)
        await self.agent.tools.close()
        log.info("agent.stopped", extra={"agent": self.agent.name})

    @property
    def ready(self) -> bool:
        """Whether it serves: started, its role is ready, its own `start` has not failed."""
        return self._started and self._failure is None and self.role.ready()

    @property
    def failure(self) -> BaseException | None:
        """What ended the role's `start`, or None."""
        return self._failure

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return self._worker.counts

    @property
    def busy(self) -> int:
        """Executions running now."""
        return self._worker.busy + len(self._rpc_tasks)

    def endpoint(self) -> Endpoint:
        """Return the agent as an endpoint for discovery."""
        counts = self.counts
        return Endpoint(
            name=self.agent.name,
            subject=self._names.calls_of(self.agent.name),
            queue_group=self.agent.name,
            metadata={
                "transport": "jetstream",
                "stream": self._names.stream(CALLS),
                "role": self.agent.spec.role,
            },
            requests=counts.received,
            errors=counts.failed,
            last_error=counts.last_error,
            retried=counts.retried,
            seconds=counts.busy_seconds,
        )

    async def _run(self, feed: ServiceFeed) -> None:
        at_work(self._name)
        try:
            await self.role.start(feed)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = error
            log.error("agent.failed", extra={"agent": self.agent.name}, exc_info=error)

    # -- executions ----------------------------------------------------------------------------

    def handle(self, request: Envelope, attempt: int) -> Awaitable[Envelope]:
        """Return the execution of one request, whose result the worker stores.

        Raises:
            HandlerFailed: the role failed, with what it used up to then.
        """
        # children inherit the deadline, so the agent's own limit has to be in it
        moment, seconds = now(), self._seconds
        deadline = request.deadline
        bounded = deadline is None or moment + seconds < deadline
        if deadline is None or bounded:
            request = replace(request, deadline=moment + seconds)
        else:
            seconds = max(0.0, deadline - moment)
        ctx = Context(self._runtime, request, attempt)
        execute = self._execute_traced if tracing.enabled() else self._execute
        return execute(request, ctx, seconds, bounded)

    async def _execute_traced(
        self, request: Envelope, ctx: Context, seconds: float, bounded: bool
    ) -> Envelope:
        with tracing.span(
            f"process {self._template}",
            "consumer",
            traceparent=request.traceparent,
            tracestate=request.tracestate,
            attributes={
                attribute.SYSTEM: self._broker.name,
                attribute.OPERATION: "process",
                attribute.OPERATION_TYPE: "process",
                attribute.DESTINATION_TEMPLATE: self._template,
                attribute.MESSAGE_ID: request.id,
                attribute.AGENT_NAME: self.agent.name,
                attribute.AGENT_ROLE: self.agent.spec.role,
                attribute.GEN_AI_AGENT_NAME: self.agent.name,
                attribute.RUN_ID: request.run,
                attribute.STEP: request.step,
                attribute.ATTEMPT: ctx.attempt,
            },
        ) as span:
            ctx.traceparent, ctx.tracestate = span.traceparent, span.tracestate
            return await self._execute(request, ctx, seconds, bounded)

    async def _execute(
        self, request: Envelope, ctx: Context, seconds: float, bounded: bool
    ) -> Envelope:
        """Run the role for at most this time; `bounded` says that it is the agent's own limit."""
        name, alarms = self._name, self._alarms
        at_work(name)
        began = alarms.time()
        limit = alarms.limit(began + seconds)
        try:
            with limit:
                if request.kind == "event" and request.usage is not None:
                    ctx.check_tokens()
                value = await self._answer_to(request, ctx)
                result = self._result(request, ctx, value, began)
                silent = isinstance(value, Reply) and not value.publish
                if request.kind == "event" and self.wiring.publishes and not silent:
                    event = replace(
                        result,
                        id=event_id(name, request.run, request.step),
                        status=None,
                    )
                    await publish_event(
                        self.space,
                        name,
                        event,
                        msg_id=f"{name}.{request.run}.{request.step}",
                        on_full=self.agent.spec.on_full,
                        depth=ctx.check_event(),
                        usage=ctx.spent,
                    )
                return result
        except (TimeoutError, DeadlineExceeded) as error:
            # a child that ran into the inherited deadline says so a moment before our own limit
            if not limit.expired and (isinstance(error, TimeoutError) or ctx.remaining > 0):
                raise HandlerFailed(error, ctx.usage) from error
            if bounded:
                late = AgentTimeout(name, self._seconds, ctx.waited_for)
                raise HandlerFailed(late, ctx.usage) from error
            return replace(
                expired_result(request, name, ctx.waited_for),
                usage=ctx.usage,
                attempt=ctx.attempt,
                seconds=alarms.time() - began,
            )
        except (Parked, asyncio.CancelledError, GeneratorExit):
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            # a task that lets one of them out ends the loop, and all that it serves
            raise HandlerFailed(HandlerExited(name, error), ctx.usage) from error
        except BaseException as error:
            parked = _caught(error)
            said = error if parked is None else ctx.swallowed(parked)
            raise HandlerFailed(said, ctx.usage) from error
        finally:
            if ctx.tokens is not None:
                await ctx.finish()

    async def _answer_to(self, request: Envelope, ctx: Context) -> Any:
        """Return what the role answers; what is refused on the way is an answer too."""
        try:
            try:
                if ctx.hooking is None:
                    return await self.role.execute(Message(request), ctx)
                return await ctx.handled(Message(request), self.role.execute)
            except BaseExceptionGroup as group:
                raise _core(group, ctx) from group
        except Refused as refused:
            return Reply(refused.reason, meta={"refused": refused.facts})

    def _result(self, request: Envelope, ctx: Context, value: Any, began: float) -> Envelope:
        """Return the result of what a role returned: a `Reply`, or its data alone."""
        ctx.check_end()
        data, meta = (value.data, value.meta) if isinstance(value, Reply) else (value, {})
        if ctx.hooking is not None and ctx.hooking.notes:
            meta = {**meta, "notes": ctx.hooking.notes}
        if isinstance(data, Message):
            payload = data.envelope.payload
            meta = {**data.meta, **meta}
        else:
            payload = to_payload(data)
        return result_of(
            request,
            self._name,
            "done",
            payload=payload,
            meta=to_meta(meta) if meta else meta,
            usage=ctx.usage,
            attempt=ctx.attempt,
            seconds=self._alarms.time() - began,
            origin=None
            if request.depth or not ctx.took_steps or request.kind != "call"
            else origin_of(request),
        )

    # -- rpc -----------------------------------------------------------------------------------

    def _on_rpc(self, message: BusMessage) -> None:
        full = self._rpcs >= self.agent.spec.concurrency
        self._rpcs += 1
        task = self._alarms.loop.create_task(self._serve_rpc(message, full), name=self._rpc_name)
        self._rpc_tasks.add(task)
        task.add_done_callback(self._rpc_tasks.discard)

    async def _serve_rpc(self, message: BusMessage, full: bool) -> None:
        try:
            answer = replace(await self._answer(message, full), kind="reply")
        finally:
            self._rpcs -= 1  # before the caller can know: it may send the next one at once
        if message.reply:
            try:
                payloads = self.space.payloads
                travelling = answer if fits(answer) else await payloads.leave(answer)
                await self._broker.publish(message.reply, encode(travelling))
            except AixgoError:  # the caller's timeout tells it
                log.warning("rpc.unanswered", extra={"agent": self.agent.name}, exc_info=True)

    async def _answer(self, message: BusMessage, full: bool) -> Envelope:
        """Execute an rpc: no result record, no retry, an error at once."""
        request = None
        try:
            request = decode(message.data)
            if full:
                raise InboxFull(
                    f"agent {self.agent.name!r} works on {self.agent.spec.concurrency} rpcs "
                    "already (`concurrency`); try again, or start another instance"
                )
            if not self.ready:
                raise NotReady(f"agent {self.agent.name!r} is starting or stopping; try again")
            return await self.handle(request, 1)
        except HandlerFailed as failed:
            assert request is not None
            return error_result(
                request, self.agent.name, failed.error, attempts=1, usage=failed.usage
            )
        except Parked:
            assert request is not None
            waits = NotSupported(
                f"agent {self.agent.name!r} waits for a person or a timer, which an rpc cannot; "
                "use `call` or `send`"
            )
            return error_result(request, self.agent.name, waits, attempts=1, usage=None)
        except AixgoError as error:
            frame = request or Envelope(id=new_id(), kind="rpc")
            return error_result(frame, self.agent.name, error, attempts=1, usage=None)


def _core(group: BaseExceptionGroup[BaseException], ctx: Context) -> BaseException:
    """Return what a group of errors comes to: its one error, a wait, or the group."""
    waits, others = group.split(Parked)
    if waits is not None:
        parks = [one for one in _leaves(waits) if isinstance(one, Parked)]
        if others is None:
            return Parked.together(parks)
        for parked in parks:
            ctx.excuse(parked)  # the others count
    leaves = list(_leaves(others or group))
    return leaves[0] if len(leaves) == 1 else others or group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _caught(error: BaseException) -> Parked | None:
    """Return the wait that a handler caught before it raised another error, if it did."""
    seen: BaseException | None = error
    for _ in range(_CHAIN):
        if seen is None or isinstance(seen, Parked):
            return seen
        seen = seen.__context__
    return None

"""`Execution`: what the runtime knows and does while a handler runs once.

`Context` is built on it and has what handlers use. Here are the facts of the request,
the results that are recorded of the run, and how a step is made: its path, its frame, a call that
is made only when nothing is recorded, and what its result means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from aixgo.calls.caller import Caller
from aixgo.calls.parking import Awaited, Parked
from aixgo.calls.results import raise_for_status, result_of
from aixgo.calls.token_stream import TokenWriter
from aixgo.clock import now
from aixgo.config.agents import AgentSpec
from aixgo.envelope import NO_USAGE, Envelope, Usage, fingerprint, new_id
from aixgo.errors import DepthExceeded, ParkSwallowed, TokensExceeded
from aixgo.hooks.chain import NO_HOOKS, Hooks
from aixgo.message import Message
from aixgo.steps.mismatch import check_taken, mismatch
from aixgo.steps.scopes import Scope, branch
from aixgo.telemetry.logs import FactsLogger
from aixgo.tools.toolbox import NO_TOOLS, Toolbox

T = TypeVar("T")

_STEPS_TOLD = 3
"""Steps that an error names; a run may wait for thousands."""

JSON_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRuntime:
    """What the contexts of one agent share: the way out, its declaration, the default model."""

    caller: Caller
    spec: AgentSpec
    default_model: str = ""
    publishes: bool = False
    tools: Toolbox = NO_TOOLS
    hooks: Hooks = NO_HOOKS


class Execution:
    """One execution of a request, as the runtime sees it."""

    def __init__(self, runtime: AgentRuntime, request: Envelope, attempt: int) -> None:
        self._runtime, self._request, self._attempt = runtime, request, attempt
        self._caller, self._space = runtime.caller, runtime.caller.space
        self._own_scope: Scope | None = None
        self._recorded: dict[str, Envelope] | None = None
        self._waits: list[Parked] | None = None
        self._usage = NO_USAGE
        self._worked = 0.0
        self._cut_off: list[str] = []
        self.tokens: TokenWriter | None = None
        self.traceparent, self.tracestate = request.traceparent, request.tracestate

    # -- what is known -------------------------------------------------------------------------

    @property
    def agent(self) -> str:
        """Name of the agent that runs."""
        return self._runtime.spec.name

    @property
    def namespace(self) -> str:
        """Name of the system."""
        return self._space.names.namespace

    @property
    def run_id(self) -> str:
        """Id of the run: the same for everything that one outside request caused."""
        return self._request.run

    @property
    def step(self) -> str:
        """Path of this call inside the run; empty for the run's own call."""
        return self._request.step

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits: the one trace of the run."""
        return self.traceparent[3:35]

    @property
    def attempt(self) -> int:
        """Executions of this call so far, this one included; 1 for the first."""
        return self._attempt

    @property
    def depth(self) -> int:
        """Calls above this one."""
        return self._request.depth

    @property
    def epoch(self) -> int:
        """How often the run was forked or its dead letters were replayed; 0 for most."""
        return self._request.epoch

    @property
    def deadline(self) -> float | None:
        """Unix seconds after which the result is not waited for; children inherit it."""
        return self._request.deadline

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one, never below 0."""
        deadline = self._request.deadline
        return float("inf") if deadline is None else max(0.0, deadline - now())

    @property
    def usage(self) -> Usage:
        """Tokens, cost and model calls of this call's steps up to now."""
        return self._usage

    @property
    def worked(self) -> float:
        """Seconds that the finished steps of this call took, by their records.

        The same in every execution, unlike a clock; waits for people and queues do not count.
        """
        return self._worked

    @property
    def spent(self) -> Usage | None:
        """What an event has to carry: this usage, and that of the events that led here."""
        before = self._request.usage
        total = self._usage if before is None else before + self._usage
        return None if total == NO_USAGE else total

    @property
    def meta(self) -> Mapping[str, Any]:
        """Metadata that the caller sent."""
        return self._request.meta

    @property
    def took_steps(self) -> bool:
        """Whether this execution took a step up to now."""
        return self._own_scope is not None and self._own_scope.used

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logger of the agent; every record carries the agent, the run and the step."""
        return FactsLogger(
            logging.getLogger(f"aixgo.agent.{self.agent}"),
            {"agent": self.agent, "run": self.run_id, "step": self.step},
        )

    # -- the runtime's side --------------------------------------------------------------------

    async def decided(self, path: str, kind: type[T]) -> T | None:
        """Return a decision that was recorded at a path, if this is a repeated execution."""
        standing = await self._standing(self.agent, path)
        return None if standing is None else msgspec.json.decode(standing.body, type=kind)

    async def decide(self, path: str, decision: T) -> T:
        """Record a decision; returns the one that stands, this or an earlier one."""
        standing = await self._settle(path, msgspec.Raw(msgspec.json.encode(decision)))
        return msgspec.json.decode(standing.body, type=type(decision))

    def place(self, name: str, key: str) -> str:
        """Return the path of the next step called `name` here, or of the one named by `key`."""
        return self._path(name, key)

    async def kept(self, path: str) -> bytes | None:
        """Return what was recorded at a path as JSON, if this is a repeated execution."""
        standing = await self._standing(self.agent, path)
        return None if standing is None else (await self._space.payloads.fetch(standing)).body

    async def keep(self, path: str, payload: msgspec.Raw) -> bytes:
        """Record a value of any size; returns the JSON that stands, this or an earlier one."""
        standing = await self._settle(path, payload)
        return (await self._space.payloads.fetch(standing)).body

    @property
    def waited_for(self) -> str:
        """The steps that it waited for when it was stopped, for people; empty for none."""
        return ", ".join(sorted(self._cut_off)[:_STEPS_TOLD])

    async def finish(self) -> None:
        """Flush the streamed tokens; the runtime calls it when the handler has ended."""
        if self.tokens is not None:
            await self.tokens.end()

    def parked(self, parked: Parked) -> Parked:
        """Take note that the handler is told to wait, to raise it; it may not go on after that."""
        self._waits = [*(self._waits or ()), parked]
        return parked

    def excuse(self, error: BaseException | None) -> None:
        """Let the handler go on after all: what waited is a branch that does not count."""
        if self._waits:
            self._waits = [one for one in self._waits if one is not error]

    def swallowed(self, parked: Parked) -> ParkSwallowed:
        """Return the error of a handler that went on although it was told to wait."""
        steps = " or ".join(repr(one.step) for one in parked.awaited)
        return ParkSwallowed(self.agent, f"step {steps}" if steps else "a time to come")

    def check_end(self) -> None:
        """Refuse the end of a handler that was told to wait, or did not take every recorded step.

        Raises:
            ParkSwallowed: it caught the signal to wait.
            ReplayMismatch: names the first step that it did not take.
        """
        if self._waits:
            raise self.swallowed(self._waits[0])
        if self._attempt > 1:
            self._check_taken()

    def _check_taken(self) -> None:
        # a replay takes failed steps away, and a fork may have other input: their ways differ
        if self._recorded and not self._request.epoch:
            check_taken(self.agent, self._request, self._scope, self._recorded)

    def _place(self) -> Scope:
        scope = branch.get()
        return self._scope if scope is None or scope.owner is not self else scope

    @property
    def _scope(self) -> Scope:
        """The handler itself; made with its first step, which many handlers never take."""
        if self._own_scope is None:
            self._own_scope = Scope(self, self._request.step)
        return self._own_scope

    def _path(self, name: str, key: str) -> str:
        return self._place().path(name, key)

    async def _settle(self, path: str, payload: msgspec.Raw) -> Envelope:
        """Record a value of this handler's own; returns the record that stands."""
        frame = result_of(self._frame(self.agent, path, payload, None, {}), self.agent, "done")
        result = msgspec.structs.replace(frame, payload=payload, fingerprint="")
        return await self._space.results.settle_own(self.agent, result)

    def _frame(
        self,
        target: str,
        path: str,
        payload: msgspec.Raw,
        timeout: float | None,
        meta: dict[str, Any],
    ) -> Envelope:
        request = self._request
        deadline = request.deadline
        if timeout is not None:
            limit = now() + timeout
            deadline = limit if deadline is None else min(deadline, limit)
        return Envelope(
            id=new_id(),
            kind="call",
            source=self.agent,
            target=target,
            run=request.run,
            step=path,
            payload=payload,
            meta=meta,
            deadline=deadline,
            depth=request.depth + 1,
            above=(*request.above, self.agent),
            parent=request.step,
            usage=request.usage,
            epoch=request.epoch,
            budget=request.budget,
            overrides=request.overrides,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            sent_at=now(),
            fingerprint=fingerprint(target, payload),
        )

    async def _call(
        self,
        agent: str,
        path: str,
        payload: msgspec.Raw,
        timeout: float | None,
        meta: dict[str, Any],
    ) -> Message:
        limits = self._runtime.spec.limits
        if self._request.depth + 1 > limits.max_depth:
            raise DepthExceeded(
                f"agent {self.agent!r} is {self._request.depth} calls deep and may not call "
                f"{agent!r}: `limits.max_depth` is {limits.max_depth} calls; raise it, or look for "
                "agents that call each other in a circle"
            )
        request = self._frame(agent, path, payload, timeout, meta)
        standing = await self._standing(agent, path)
        if standing is None:
            standing = await self._wait_for(request)
        else:
            standing = await self._space.payloads.fetch(standing)
        return self._take(request, standing)

    async def _wait_for(self, request: Envelope) -> Envelope:
        """Make the call; park when it is parked itself, cancel it when a branch is dropped."""
        if self._attempt > 1 and await self._space.parking.get(request.run, request.step):
            raise self.parked(Parked(awaited=[Awaited(agent=request.target, step=request.step)]))
        if request.target not in self._caller.known:
            await self._caller.check(request.target)
        try:
            return await self._caller.call(request, look=self._attempt > 1, parks=True)
        except Parked as parked:
            raise self.parked(parked) from None
        except asyncio.CancelledError:
            scope = branch.get()
            if scope is not None and scope.owner is self and scope.dropped:
                await self._cancel_step(request.target, request.step)
            else:
                self._cut_off.append(f"step {request.step!r} of agent {request.target!r}")
            raise

    def _take(self, request: Envelope, result: Envelope) -> Message:
        """Check a result against its request, count its usage, raise what it says."""
        if result.fingerprint and result.fingerprint != request.fingerprint:
            raise mismatch(self.agent, request, result, self._recorded or {})
        if result.usage is not None:
            self._usage = self._usage + result.usage
        self._worked += result.seconds
        raise_for_status(result)
        self.check_tokens()
        return Message(result)

    def check_tokens(self) -> None:
        """Refuse to go on when more tokens are used than the agent may use.

        Raises:
            TokensExceeded: an event counts what was used for the events that led to it too.
        """
        limit, used = self._runtime.spec.limits.max_tokens, self._usage.total_tokens
        before = self._request.usage
        led = self._request.kind == "event" and before is not None
        if before is not None and led:
            used += max(0, before.total_tokens)
        if used > limit:
            where = "for the events that led to agent" if led else "below agent"
            raise TokensExceeded(
                f"run {self.run_id} used {used:,} tokens {where} {self.agent!r}, over its "
                f"`limits.max_tokens` of {limit:,} tokens; raise the limit, give the agents less "
                "to read" + (", or look for events that go in a circle" if led else "")
            )

    def check_event(self) -> int:
        """Return the depth of an event that is published here.

        Raises:
            DepthExceeded: calls and events that led to it are nested deeper than the agent may.
        """
        depth, limit = max(0, self._request.depth) + 1, self._runtime.spec.limits.max_depth
        if depth > limit:
            raise DepthExceeded(
                f"agent {self.agent!r} is {depth - 1} calls and events deep and may not publish "
                f"another event: `limits.max_depth` is {limit}; raise it, or look for agents that "
                "answer each other's events in a circle"
            )
        return depth

    async def _cancel_step(self, agent: str, path: str) -> None:
        """Tell the worker of a step of ours that its result is no longer wanted."""
        frame = self._frame(agent, path, JSON_NULL, None, {})
        await self._space.cancels.cancel(frame, f"agent {self.agent!r} stopped listening")

    async def _standing(self, agent: str, path: str) -> Envelope | None:
        """Return the step's recorded result.

        A first execution has none, so nothing is asked; a repeated one, and one of a run that was
        replayed or forked, reads all results of the run in one batch, the first time it needs one.
        When a broker that crashed has forgotten that this is a repetition, the worker's own look-up
        still keeps the step from running twice.
        """
        if self._attempt <= 1 and not self._request.epoch:
            return None
        if self._recorded is None:
            self._recorded = await self._space.results.of_run(self.run_id)
        return self._recorded.get(self._space.names.result(agent, self.run_id, path))

"""One use of a tool: what it knows, how one execution is bounded, how its end is recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aixgo.calls.caller import Caller
from aixgo.calls.results import error_result, result_of
from aixgo.clock import now
from aixgo.envelope import Envelope
from aixgo.errors import DeadlineExceeded, ToolError, ToolTimeout
from aixgo.steps.tools.cut import CUT, shortened
from aixgo.steps.tools.shared import place, value_key, values
from aixgo.subjects import step_token
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing
from aixgo.telemetry.logs import FactsLogger
from aixgo.tools import NeedsAnswers, Tool, ToolContext
from aixgo.tools.asking import marked
from aixgo.tools.port import Arguments

log = logging.getLogger("aixgo.tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStep:
    """A step that executes a tool.

    Attributes:
        request: the step as a call to the agent itself; its deadline is the execution's.
        timeout: seconds for one execution of the tool.
        check: refuses a record that was made for another request (`ReplayMismatch`).
        meta: the run's metadata, as far as the agent was given it.
        answers, state: of the execution before it, when that asked people.
    """

    caller: Caller
    tool: Tool[Any]
    request: Envelope
    timeout: float
    check: Callable[[Envelope], object]
    meta: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)
    state: str = ""

    @property
    def agent(self) -> str:
        """Name of the agent that uses the tool."""
        return self.request.target

    @property
    def path(self) -> str:
        """Path of the step inside the run."""
        return self.request.step

    @property
    def payload(self) -> msgspec.Raw:
        """The arguments as JSON."""
        return msgspec.Raw(self.request.body)

    @property
    def is_over(self) -> bool:
        """Whether the execution's deadline has passed."""
        return self.request.deadline is not None and now() >= self.request.deadline

    @property
    def fields(self) -> dict[str, Any]:
        """What every log record carries."""
        return {
            "agent": self.agent,
            "run": self.request.run,
            "step": self.path,
            "tool": self.tool.spec.name,
        }

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which the tool is executed; waits for `concurrency`."""
        return place(self.caller.space.names.namespace, self.tool.spec)

    def cached(self) -> msgspec.Raw | None:
        """Return the value of an earlier use of a tool with a `cache`, if there is one."""
        found = values().get(self._value_key()) if self.tool.spec.cache else None
        return None if found is None else msgspec.Raw(found)

    def cache(self, value: msgspec.Raw) -> None:
        """Keep a value for later uses, if the tool has a `cache`."""
        if self.tool.spec.cache:
            values().put(self._value_key(), bytes(value), self.tool.spec.cache)

    def _value_key(self) -> bytes:
        namespace, name = self.caller.space.names.namespace, self.tool.spec.name
        return value_key(namespace, self.agent, name, self.meta, self.payload)

    def end_of(self, began: float) -> float:
        """Return the Unix seconds at which an execution that begins then has to end."""
        end = began + self.timeout
        return end if self.request.deadline is None else min(end, self.request.deadline)

    def context(self, attempt: int, deadline: float) -> ToolContext:
        """Return what the tool is told of its execution number `attempt`."""
        request = self.request
        return ToolContext(
            run_id=request.run,
            step=request.step,
            agent=self.agent,
            tool=self.tool.spec.name,
            idempotency_key=f"{request.run}.{step_token(request.step)}",
            attempt=attempt,
            deadline=deadline,
            log=FactsLogger(logging.getLogger(f"aixgo.tools.{self.tool.spec.name}"), self.fields),
            answers=self.answers,
            state=self.state,
        )

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """Execute the tool once, until `ctx.deadline`.

        Raises:
            ToolTimeout: the time for one execution is over.
            DeadlineExceeded: the run's time is over.
            Exception: what the tool raises.
        """
        spec = self.tool.spec
        if not tracing.enabled():
            return await self._limited(arguments, ctx)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with tracing.span(
            f"execute_tool {spec.name}",
            traceparent=self.request.traceparent,
            tracestate=self.request.tracestate,
            attributes={
                attribute.SPAN: "tool.execute",
                attribute.GEN_AI_OPERATION: "execute_tool",
                attribute.GEN_AI_TOOL_NAME: spec.name,
                attribute.GEN_AI_TOOL_CALL_ID: ctx.idempotency_key,
                attribute.TOOL_NAME: spec.name,
                attribute.TOOL_EFFECT: spec.effect,
                attribute.AGENT_NAME: self.agent,
                attribute.RUN_ID: self.request.run,
                attribute.STEP: self.path,
                attribute.ATTEMPT: ctx.attempt,
            },
        ) as span:
            try:
                return await self._limited(arguments, ctx)
            finally:
                span.set(attribute.TOOL_DURATION, round((loop.time() - began) * 1000, 3))

    async def _limited(self, arguments: Arguments, ctx: ToolContext) -> Any:
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        limit = asyncio.timeout(ctx.remaining)
        try:
            async with limit:
                value = await self.tool.execute(arguments, ctx)
            if self.tool.spec.asks and isinstance(value, NeedsAnswers):
                return marked(value)
            return value
        except TimeoutError as error:
            if not limit.expired():
                raise
            if self.is_over:
                raise DeadlineExceeded(
                    f"tool {ctx.tool!r} did not finish before the deadline of run {ctx.run_id}; "
                    "give the run, or the agent, a longer `timeout`"
                ) from error
            raise ToolTimeout(ctx.tool, self.timeout) from error
        except asyncio.CancelledError as error:
            if task.cancelling() > cancels:
                raise
            raise ToolError(
                f"tool {ctx.tool!r} awaited something that was cancelled; catch that in the tool"
            ) from error

    # -- its end -------------------------------------------------------------------------------

    async def standing(self) -> Envelope | None:
        """Return the recorded result as it stands now."""
        results = self.caller.space.results
        return await results.get(self.agent, self.request.run, self.path, decisive=True)

    async def done(self, value: msgspec.Raw, attempts: int, seconds: float) -> Envelope:
        """Record the value, cut if it is too long; returns the result that stands.

        Args:
            attempts: executions that it took; 0 for a cached value.
        """
        kept, whole = shortened(value, self.tool.spec)
        meta: dict[str, Any] = {"tool": self.tool.spec.name}
        if whole:
            meta[CUT] = whole
            log.warning("tool.cut", extra={**self.fields, "bytes": whole})
        if not attempts:
            meta["cached"] = True
        result = result_of(
            self.request,
            self.agent,
            "done",
            payload=kept,
            meta=meta,
            attempt=attempts,
            seconds=seconds,
        )
        return await self.caller.space.results.settle_own(self.agent, result)

    async def failed(self, error: BaseException, attempts: int, seconds: float) -> Envelope:
        """Record that it failed for good; returns the result that stands."""
        log.error("tool.failed", extra={**self.fields, "attempt": attempts}, exc_info=error)
        result = error_result(
            self.request, self.agent, error, attempts=attempts, usage=None, seconds=seconds
        )
        result = msgspec.structs.replace(result, meta={"tool": self.tool.spec.name})
        return await self.caller.space.results.settle_own(self.agent, result)

"""`Context`: the durable steps that a handler can take.

A step's path inside the run is deterministic: the handler's own path, what is called, and an
explicit `key` or the order of use. Its result is recorded once and for ever, so when a crashed
handler runs again from its first line, every finished step gives its recorded result at once and
nothing is called or paid twice. Keep randomness, clocks and I/O inside steps (`record`) and any
async function is a durable workflow.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from aixgo.broker._port import BusMessage
from aixgo.calls.caller import Caller
from aixgo.calls.results import raise_for_status, result_of
from aixgo.calls.tokens import TokenWriter
from aixgo.clock import now
from aixgo.config.agents import AgentSpec
from aixgo.envelope import (
    NO_USAGE,
    Envelope,
    Usage,
    encode,
    fingerprint,
    new_id,
)
from aixgo.errors import (
    ConfigError,
    DepthExceeded,
    ModelError,
    RemoteError,
    ReplayMismatch,
    TokensExceeded,
    by_code,
)
from aixgo.message import Message
from aixgo.models.bus import GATEWAY, BusModel, ModelTask, TokenBatch
from aixgo.models.steps import ModelSteps
from aixgo.schema import to_payload

T = TypeVar("T")
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_JSON_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the contexts of one agent share: the way out, its declaration, the default model."""

    caller: Caller
    spec: AgentSpec
    default_model: str = ""
    publishes: bool = False


class Context:
    """The run as one execution of a handler sees it. Made by the runtime; never kept."""

    __aixgo_context__ = True

    def __init__(self, setting: Setting, request: Envelope, attempt: int) -> None:
        self._setting, self._request, self._attempt = setting, request, attempt
        self._caller = setting.caller
        self._counts: dict[str, int] = {}
        self._used: set[str] = set()
        self._recorded: dict[str, Envelope] | None = None
        self._usage = NO_USAGE
        self._tokens: TokenWriter | None = None
        self.traceparent, self.tracestate = request.traceparent, request.tracestate

    # -- what is known -------------------------------------------------------------------------

    @property
    def agent(self) -> str:
        """Name of the agent that runs."""
        return self._setting.spec.name

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
    def deadline(self) -> float | None:
        """Unix seconds after which nobody waits for the result; children inherit it."""
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
    def meta(self) -> Mapping[str, Any]:
        """Metadata that the caller sent."""
        return self._request.meta

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logger of the agent; every record carries the agent, the run and the step."""
        return logging.LoggerAdapter(
            logging.getLogger(f"aixgo.agent.{self.agent}"),
            {"agent": self.agent, "run": self.run_id, "step": self.step},
        )

    # -- steps ---------------------------------------------------------------------------------

    def call(
        self,
        agent: str,
        data: Any = None,
        *,
        key: str = "",
        timeout: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Message]:
        """Call an agent and return its result; a durable step.

        The step's path is taken when this is called, not when it is awaited, so calls handed to
        `asyncio.gather` keep their order.

        Args:
            key: names the step inside this handler, instead of the order of use.
            timeout: seconds; never beyond this run's own deadline.

        Raises:
            RemoteError: the agent failed for good.
            DeadlineExceeded: no result in time.
            Cancelled: the run was cancelled.
            DepthExceeded: the call would nest deeper than `limits.max_depth`.
            ReplayMismatch: the step was recorded with another request.
        """
        return self._call(
            agent, self._path(agent, key), to_payload(data), timeout, dict(meta or {})
        )

    async def record(self, value: T | Callable[[], T], *, key: str = "") -> T:
        """Choose a value once: the first run's value is returned for ever after.

        Args:
            value: a JSON-able value, or a function (sync or async) that gives one. It is only
                called when nothing is recorded yet.
            key: names the step, instead of the order of use.
        """
        path = self._path("record", key)
        standing = await self._standing(self.agent, path)
        if standing is None:
            chosen = value() if callable(value) else value
            if inspect.isawaitable(chosen):
                chosen = await chosen
            request = self._frame(self.agent, path, to_payload(chosen), None, {})
            result = msgspec.structs.replace(
                result_of(request, self.agent, "done"), payload=request.payload, fingerprint=""
            )
            standing = await self._caller.results.settle(self.agent, result)
        standing = await self._caller.claims.fetch(standing)
        return msgspec.json.decode(standing.body)  # type: ignore[no-any-return]

    async def emit(
        self, data: Any, *, key: str = "", meta: Mapping[str, Any] | None = None
    ) -> None:
        """Publish an event to whoever has this agent in its `inputs`; once, even if repeated."""
        path = self._path("emit", key)
        # looked for in a first execution too: what the subscribers do with a second one is theirs
        if await self._caller.results.get(self.agent, self.run_id, path) is not None:
            return
        event = self._frame(self.agent, path, to_payload(data), None, dict(meta or {}))
        await publish_event(self._caller, self.agent, event, msg_id=f"{self.run_id}.{path}")
        done = result_of(event, self.agent, "done")
        await self._caller.results.settle(
            self.agent, msgspec.structs.replace(done, payload=_JSON_NULL, fingerprint="")
        )

    @property
    def model(self) -> ModelSteps:
        """The agent's model; every call of it is a durable step."""
        return ModelSteps(self._model, self._setting.spec, self._setting.default_model)

    def _model(self, key: str) -> BusModel:
        return BusModel(_ModelTransport(self, self._path("model", key)))

    async def write_token(self, text: str) -> None:
        """Stream a piece of this call's text to whoever watches; best effort, never waits long."""
        if self._tokens is None:
            request = self._request
            self._tokens = TokenWriter(
                self._caller.broker,
                self._caller.names.tokens(self.agent, request.run, request.step),
            )
        await self._tokens.write(text)

    def add_usage(self, usage: Usage) -> None:
        """Count what this handler itself used; only the model gateway has such a thing to say."""
        self._usage = self._usage + usage

    # -- the runtime's side --------------------------------------------------------------------

    async def finish(self) -> None:
        """Flush the streamed tokens; the runtime calls it when the handler has ended."""
        if self._tokens is not None:
            await self._tokens.end()

    def _path(self, name: str, key: str) -> str:
        if key:
            if not _KEY.fullmatch(key):
                raise ConfigError(
                    f"step key {key!r} is not allowed: 1 to 128 characters of A-Z, a-z, 0-9, "
                    "'_', '.', ':' and '-'"
                )
            part = key
        else:
            number = self._counts[name] = self._counts.get(name, 0) + 1
            part = str(number)
        base = self._request.step
        path = f"{base}/{name}/{part}" if base else f"{name}/{part}"
        if path in self._used:
            raise ConfigError(
                f"agent {self.agent!r} uses the step {path!r} twice; give each step its own `key`"
            )
        self._used.add(path)
        return path

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
            budget=request.budget,
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
        limits = self._setting.spec.limits
        if self._request.depth + 1 > limits.max_depth:
            raise DepthExceeded(
                f"agent {self.agent!r} is {self._request.depth} calls deep and may not call "
                f"{agent!r}: `limits.max_depth` is {limits.max_depth} calls; raise it, or look for "
                "agents that call each other in a circle"
            )
        request = self._frame(agent, path, payload, timeout, meta)
        standing = await self._standing(agent, path)
        if standing is None:
            standing = await self._caller.call(request, look=False)
        else:
            standing = await self._caller.claims.fetch(standing)
        return self._take(request, standing)

    def _take(self, request: Envelope, result: Envelope) -> Message:
        """Check a result against its request, count its usage, raise what it says."""
        if result.fingerprint and result.fingerprint != request.fingerprint:
            raise ReplayMismatch(
                f"step {request.step!r} of run {self.run_id} was recorded with another request "
                f"(recorded {result.fingerprint}, asked {request.fingerprint}): the code or the "
                "model of "
                f"agent {self.agent!r} changed while the run was going on. Finish the run on the "
                "old version, start the run again, or give the changed step a new `key`"
            )
        if result.usage is not None:
            self._usage = self._usage + result.usage
        raise_for_status(result)
        limit = self._setting.spec.limits.max_tokens
        if self._usage.total_tokens > limit:
            raise TokensExceeded(
                f"run {self.run_id} used {self._usage.total_tokens:,} tokens below agent "
                f"{self.agent!r}, over its `limits.max_tokens` of {limit:,} tokens; raise the "
                "limit or give the agents less to read"
            )
        return Message(result)

    async def _cancel_step(self, agent: str, path: str) -> None:
        """Tell whoever works on a step of ours that nobody wants its result any more."""
        frame = self._frame(agent, path, _JSON_NULL, None, {})
        await self._caller.cancel(frame, f"agent {self.agent!r} stopped listening")

    async def _standing(self, agent: str, path: str) -> Envelope | None:
        """Return the step's recorded result.

        A first execution has none, so nothing is asked; a repeated one reads all results of the
        run in one batch, the first time it needs one. When a broker that crashed has forgotten
        that this is a repetition, the worker's own look-up still keeps the step from running twice.
        """
        if self._attempt <= 1:
            return None
        if self._recorded is None:
            self._recorded = await self._caller.results.of_run(self.run_id)
        return self._recorded.get(self._caller.names.result(agent, self.run_id, path))


class _ModelTransport:
    """Carries one model call to the gateway as a durable step of a context."""

    def __init__(self, ctx: Context, path: str) -> None:
        self._ctx, self._path = ctx, path

    async def send(self, task: ModelTask) -> bytes:
        timeout = task.chat.timeout if task.chat is not None else None
        try:
            answer = await self._ctx._call(GATEWAY, self._path, to_payload(task), timeout, {})
        except RemoteError as error:
            kind = by_code().get(error.cause)
            if kind is not None and issubclass(kind, ModelError):
                raise kind(str(error)) from error
            raise
        return answer.envelope.body

    @asynccontextmanager
    async def send_streaming(
        self, task: ModelTask
    ) -> AsyncGenerator[AsyncIterator[TokenBatch | bytes], None]:
        caller, run = self._ctx._caller, self._ctx.run_id
        pieces: asyncio.Queue[TokenBatch | None] = asyncio.Queue()

        def arrive(message: BusMessage) -> None:
            pieces.put_nowait(_batches.decode(message.data))

        live = await caller.broker.subscribe(caller.names.tokens(GATEWAY, run, self._path), arrive)
        answer = asyncio.create_task(self.send(task), name=f"model step {self._path}")
        answer.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            yield _until_answered(pieces, answer)
        finally:
            await live.unsubscribe()
            if not answer.done():
                answer.cancel()
                await self._ctx._cancel_step(GATEWAY, self._path)
            await asyncio.gather(answer, return_exceptions=True)


_batches = msgspec.json.Decoder(TokenBatch)


async def _until_answered(
    pieces: asyncio.Queue[TokenBatch | None], answer: asyncio.Task[bytes]
) -> AsyncGenerator[TokenBatch | bytes, None]:
    expected = 0
    while (batch := await pieces.get()) is not None:
        if batch.n < expected:  # a repeated execution streams from the beginning again
            continue
        expected = batch.n + 1
        yield batch
    yield answer.result()


async def publish_event(caller: Caller, agent: str, event: Envelope, *, msg_id: str) -> None:
    """Store an event of an agent; the same `msg_id` within five minutes is stored once."""
    envelope = msgspec.structs.replace(
        event, kind="event", target="", deadline=None, fingerprint="", depth=0
    )
    await caller.broker.append(
        caller.names.event(agent), encode(await caller.claims.leave(envelope)), msg_id=msg_id
    )

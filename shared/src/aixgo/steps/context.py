"""`Context`: the durable steps that a handler can take.

A step's path inside the run is deterministic: the handler's own path, what is called, and an
explicit `key` or the order of use. Its result is recorded once and for ever, so when a crashed
handler runs again from its first line, every finished step returns its recorded result at once and
nothing is called or paid twice. Keep randomness, clocks and I/O inside steps (`record`) and any
async function is a durable workflow.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, TypeVar, overload

import msgspec

from aixgo.calls.events import event_id, publish_event
from aixgo.calls.parking import Parked
from aixgo.calls.results import result_of
from aixgo.calls.token_stream import TokenWriter
from aixgo.clock import now
from aixgo.envelope import Usage
from aixgo.errors import AixgoError
from aixgo.message import Message, Reply
from aixgo.models.bus import GATEWAY, BusModel, ModelTask
from aixgo.models.port import Model
from aixgo.payloads import to_meta, to_payload, to_seconds
from aixgo.steps.acting import Acting
from aixgo.steps.execution import JSON_NULL
from aixgo.steps.gather import Gather
from aixgo.steps.hooking import HookedModel
from aixgo.steps.memory import MemorySteps
from aixgo.steps.model_steps import ModelSteps
from aixgo.steps.model_transport import StepTransport
from aixgo.steps.overrides import in_force, overridden
from aixgo.steps.session import SessionSteps
from aixgo.steps.state import StateSteps
from aixgo.steps.versions import choose_version

T = TypeVar("T")
Item = TypeVar("Item")

PARK_SECONDS = 5.0
"""A handler that has to wait longer hands its delivery back; below it, waiting is cheaper."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How a step failed that the handler goes on without; `code` is that of the error's class."""

    code: str
    message: str


class Context(Acting):
    """The run as one execution of a handler sees it. Made by the runtime; never kept."""

    __aixgo_context__ = True

    @overload
    async def record(self, value: Callable[[], Awaitable[T]], *, key: str = "") -> T: ...

    @overload
    async def record(self, value: Callable[[], T], *, key: str = "") -> T: ...

    @overload
    async def record(self, value: T, *, key: str = "") -> T: ...

    async def record(self, value: Any, *, key: str = "") -> Any:
        """Choose a value once: the first run's value is returned for ever after.

        Args:
            value: a JSON-able value, or a function (sync or async) that returns one. It is only
                called when nothing is recorded yet.
            key: names the step, instead of the order of use.
        """
        return await self._chosen(self._path("record", key), value)

    async def _chosen(self, path: str, value: Any) -> Any:
        standing = await self._standing(self.agent, path)
        if standing is None:
            chosen = value() if callable(value) else value
            if inspect.isawaitable(chosen):
                chosen = await chosen
            standing = await self._settle(path, to_payload(chosen))
        standing = await self._space.payloads.fetch(standing)
        return msgspec.json.decode(standing.body)

    async def outcome(
        self,
        take: Callable[[], Awaitable[T]],
        *errors: type[AixgoError],
        key: str = "",
    ) -> T | Fault:
        """Take a step whose failure is an outcome that the handler goes on with.

        The failure of a step is recorded anyhow; what fails before there is one (an unknown tool, a
        server that is away) is not, and could end differently in a repeated execution. Here it is
        recorded as well.

        Args:
            take: takes the step; not called again once it has failed.
            errors: classes that are outcomes; others are raised.
            key: names this place, instead of the order of use.

        Returns:
            What the step gave, or how it failed.
        """
        path = self._path("outcome", key)
        standing = await self.decided(path, Fault)
        if standing is not None:
            return standing
        try:
            return await take()
        except errors as error:
            return await self.decide(path, Fault(code=error.code, message=str(error)))

    @overload
    async def gather(self, *steps: Awaitable[T], need: None = None, key: str = "") -> list[T]: ...

    @overload
    async def gather(self, *steps: Awaitable[T], need: int, key: str = "") -> dict[int, T]: ...

    async def gather(
        self, *steps: Awaitable[T], need: int | None = None, key: str = ""
    ) -> list[T] | dict[int, T]:
        """Run steps, or whole coroutines that take steps, side by side.

        Which branches counted is recorded, so a repeated execution comes to the same outcome. The
        others are cancelled down to the agents and models that work on them.

        Args:
            need: results that are enough. Without it all are needed and the first failure is
                raised.
            key: names this gather, instead of the order of use.

        Returns:
            All results in order; with `need`, the results that counted by position.

        Raises:
            TooFewResults: so many failed that `need` cannot be reached.
        """
        path = self._path("gather", key)
        if not steps:
            return [] if need is None else {}
        won = await Gather(self, path, steps, len(steps) if need is None else need).run()
        return [won[index] for index in range(len(steps))] if need is None else won

    async def map(
        self,
        function: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        limit: int = 0,
        key: str = "",
    ) -> list[T]:
        """Apply a function that takes steps to every item, at most `limit` at once; in order.

        Args:
            limit: 0 for all at once.
        """
        gate = asyncio.Semaphore(limit) if limit else None

        async def one(item: Item) -> T:
            if gate is None:
                return await function(item)
            async with gate:
                return await function(item)

        return await self.gather(*(one(item) for item in items), key=key)

    async def sleep(self, seconds: float, *, key: str = "") -> None:
        """Wait, over crashes and restarts; a long wait parks the call and holds nothing."""
        length = to_seconds(seconds, "a sleep of", zero=True)
        until: float = await self._chosen(self._path("sleep", key), lambda: now() + length)
        left = until - now()
        if left > PARK_SECONDS:
            raise self.parked(Parked(until=until))
        if left > 0:
            await asyncio.sleep(left)

    async def version(self, change: str, newest: int = 2) -> int:
        """Return which version of this handler the run goes by, from here on and for ever.

        Put it where the handler changed, and do what the version says. A run that passed this
        place before the marker was there gets 1, the way before the change; any other run gets
        `newest`, and keeps it when `newest` is raised later. In a branch of a gather it is about
        that branch.

        Args:
            change: names the change, once in the handler: 1 to 128 characters as in a `key`.
            newest: 2 for the first change at this place, one more for each further one.

        Raises:
            ReplayMismatch: the run goes by a version that this code does not know yet.
        """
        return await choose_version(self, self._space, self._request, self._place(), change, newest)

    async def emit(
        self, data: Any, *, key: str = "", meta: Mapping[str, Any] | None = None
    ) -> None:
        """Publish an event to the agents that have this one in their `inputs`; a durable step.

        Raises:
            DepthExceeded: the events that led here are nested deeper than `limits.max_depth`.
            StreamFull: subscribers are too far behind (`on_full`).
        """
        path, depth = self._path("emit", key), self.check_event()
        # looked for in a first execution too: what the subscribers do with a second one is theirs
        if await self._space.results.stands(self.agent, self.run_id, path, decisive=True):
            return
        event = self._frame(self.agent, path, to_payload(data), None, to_meta(meta) if meta else {})
        # the same whenever it is published, so that a subscriber finds what it did with it
        event = msgspec.structs.replace(event, id=event_id(self.agent, self.run_id, path))
        await publish_event(
            self._space,
            self.agent,
            event,
            msg_id=f"{self.run_id}.{path}",
            on_full=self._runtime.spec.on_full,
            depth=depth,
            usage=self.spent,
        )
        done = result_of(event, self.agent, "done")
        await self._space.results.settle_own(
            self.agent, msgspec.structs.replace(done, payload=JSON_NULL, fingerprint="")
        )

    @property
    def session(self) -> SessionSteps:
        """The conversation of this agent in the session that the call names, if it names one.

        Raises:
            InvalidPayload: the session or the user in the metadata is not a name.
        """
        return SessionSteps(self, self._space.sessions, self._runtime.spec.session)

    @property
    def state(self) -> StateSteps:
        """Values that all agents of the run share."""
        return StateSteps(self, self._space.state)

    @property
    def memory(self) -> MemorySteps:
        """Texts that this agent remembers for the user of the run, in this process.

        Raises:
            InvalidPayload: the user in the metadata is not a name.
        """
        return MemorySteps(self, self.model, self._runtime.spec.memory)

    @property
    def model(self) -> ModelSteps:
        """The agent's model; every call of it is a durable step."""
        runtime = self._runtime
        return ModelSteps(self._model_path, self._model_at, runtime.spec, runtime.default_model)

    def _model_path(self, key: str) -> str:
        return self._path("model", key)

    def _model_at(self, path: str) -> Model:
        model = self._bus_model(path)
        return model if self.hooking is None else HookedModel(model, self.hooking, path)

    def _bus_model(self, path: str) -> BusModel:
        async def ask(task: ModelTask) -> Message:
            if self._request.overrides:
                task = await self._overridden(path, task)
            timeout = task.chat.timeout if task.chat is not None else None
            return await self._call(GATEWAY, path, to_payload(task), timeout, {})

        async def drop() -> None:
            await self._cancel_step(GATEWAY, path)

        tokens = self._space.names.tokens(GATEWAY, self.run_id, path)
        return BusModel(StepTransport(self._space.broker, tokens, ask, drop))

    async def _overridden(self, path: str, task: ModelTask) -> ModelTask:
        """Return a model step's task as the fork asks it; one that was taken over stays as it was.

        So its fingerprint is that of its record, and every execution of the fork asks the same.
        """
        standing = await self._standing(GATEWAY, path)
        executed_in = "" if standing is None else standing.reused
        overrides = in_force(self._request.overrides, executed_in or self.run_id)
        spec = self._runtime.spec
        declared = spec.model_name or self._runtime.default_model
        return overridden(task, overrides, path, spec, declared)

    async def write_token(self, text: str, *, again: bool = False) -> None:
        """Stream a piece of this call's text to those who watch; best effort, never waits long.

        With `again` the text begins again with this piece, and what was written before is void.
        """
        if self.tokens is None:
            request = self._request
            self.tokens = TokenWriter(
                self._space.broker,
                self._space.names.tokens(self.agent, request.run, request.step),
            )
        await self.tokens.write(text, again=again)

    def add_usage(self, usage: Usage) -> None:
        """Count what this handler itself used; only the model gateway has such a thing to say."""
        self._usage = self._usage + usage

    # -- the agent's own message and answer ------------------------------------------------------

    async def handled(
        self, message: Message, handle: Callable[[Message, Context], Awaitable[Any]]
    ) -> Any:
        """Return what the handler of the agent answers; its hooks look at both.

        Raises:
            Refused: a hook does not want the message or the answer.
        """
        hooking = self.hooking
        if hooking is None:
            return await handle(message, self)
        place, given = self._path("hook", "agent"), message.data
        data = await hooking.look("before_agent", place, given)
        if data is not given:
            changed = msgspec.structs.replace(message.envelope, payload=to_payload(data))
            message = Message(changed)
        value = await handle(message, self)
        if not self._runtime.hooks.at("after_agent"):
            return value
        answer, meta = (value.data, value.meta) if isinstance(value, Reply) else (value, {})
        if isinstance(answer, Message):
            answer, meta = answer.data, {**answer.meta, **meta}
        said = msgspec.json.decode(to_payload(answer))
        final = await hooking.look("after_agent", place, said, given=data)
        if final is said:
            return value
        return Reply(final, meta=meta, publish=not isinstance(value, Reply) or value.publish)

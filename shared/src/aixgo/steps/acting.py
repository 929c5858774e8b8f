"""Steps that act on others: calls of agents, uses of tools, questions to people."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast, overload

import msgspec

from aixgo.calls.parking import Awaited, Parked
from aixgo.calls.results import raise_for_status
from aixgo.envelope import Envelope
from aixgo.errors import RemoteError, ToolFailed
from aixgo.message import Message
from aixgo.payloads import to_meta, to_payload, to_seconds
from aixgo.steps.execution import AgentRuntime, Execution
from aixgo.steps.hooking import Hooking
from aixgo.steps.scopes import Scope
from aixgo.steps.steps_tool import PlacedSteps, is_steps_tool
from aixgo.steps.tools import CUT, ToolStep, perform
from aixgo.steps.tools.shared import CALLER
from aixgo.tools.asking import MOST_ROUNDS, NeedsAnswers, needed
from aixgo.tools.port import AnyTool, StepsTool, Tool

T = TypeVar("T")


ACCEPT, DECLINE = "accept", "decline"
"""What a person answers to the question of a tool; `{"accept": {…}}` with what it wants to know."""


@dataclass(kw_only=True)
class _Use:
    """A use of a tool, of which there are several executions when it asks people."""

    executed: Tool[Any] | None
    name: str
    payload: msgspec.Raw
    timeout: float | None

    @property
    def may_ask(self) -> bool:
        return self.executed is None or self.executed.spec.asks


class Acting(Execution):
    """An execution that calls agents, uses tools and asks people; hooks look at it."""

    hooking: Hooking | None = None
    """What looks at the steps; None for most agents."""

    def __init__(self, runtime: AgentRuntime, request: Envelope, attempt: int) -> None:
        super().__init__(runtime, request, attempt)
        if runtime.hooks:
            self.hooking = Hooking(self, runtime.hooks)

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
            meta: metadata for the agent; the `session` and `user` of this run go with it, unless
                it has its own.

        Raises:
            RemoteError: the agent failed for good.
            DeadlineExceeded: no result in time.
            Cancelled: the run was cancelled.
            DepthExceeded: the call would nest deeper than `limits.max_depth`.
            ReplayMismatch: the step was recorded with another request.
        """
        if timeout is not None:
            to_seconds(timeout, f"timeout of the call of {agent!r}")
        payload, sent = to_payload(data), self._carried(meta)
        if self.hooking is not None:
            return self._hooked_call(agent, self._path(agent, key), payload, timeout, sent)
        return self._call(agent, self._path(agent, key), payload, timeout, sent)

    async def _hooked_call(
        self,
        agent: str,
        path: str,
        payload: msgspec.Raw,
        timeout: float | None,
        meta: dict[str, Any],
    ) -> Message:
        assert self.hooking is not None
        given = msgspec.json.decode(payload)
        data = await self.hooking.look("before_call", path, given, name=agent)
        if data is not given:
            payload = to_payload(data)
        answer = await self._call(agent, path, payload, timeout, meta)
        said = answer.data
        changed = await self.hooking.look("after_call", path, said, name=agent, given=data)
        if changed is said:
            return answer
        return Message(msgspec.structs.replace(answer.envelope, payload=to_payload(changed)))

    def _carried(self, meta: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the metadata of a call: what it is given, and for whom the run works."""
        given = to_meta(meta) if meta else {}
        return {key: self.meta[key] for key in CALLER if key in self.meta} | given

    @overload
    def tool(
        self,
        tool: Tool[T] | StepsTool[T],
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def tool(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Any]: ...

    def tool(
        self,
        tool: AnyTool | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Execute one of the agent's tools in this process, and return its value; a durable step.

        A tool that must not be executed twice is not: when its end is not known, after a crash or
        an error, its `reconcile` or a person says whether it took place, and the call is parked
        for as long as that takes.

        Args:
            tool: one of the agent's `tools`, or its name.
            arguments: by parameter; JSON values or what can be written as such.
            key: names the step, instead of the order of use.
            timeout: seconds for one execution, instead of the tool's own.

        Raises:
            UnknownTool: the agent has no such tool.
            ToolUnavailable: the server that has it cannot be reached.
            InvalidPayload: the arguments do not fit; nothing was executed.
            ToolFailed: it failed for good.
            ReplayMismatch: the step was recorded with other arguments.
        """
        tools = self._runtime.tools
        if not tools.dynamic:
            tool = tools.find(tool)
        elif not isinstance(tool, str):
            name = tool.spec.name
            tool = tools.find(tool) if name in tools.always else name
        return self._use(tool, arguments, key=key, timeout=timeout)

    def _use(
        self,
        tool: AnyTool | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Execute a tool, or the agent's tool of that name; see `tool`."""
        name = tool if isinstance(tool, str) else tool.spec.name
        if timeout is not None:
            to_seconds(timeout, f"timeout of tool {name!r}")
        path = self._path(f"tool/{name}", key)
        payload = to_payload({} if arguments is None else arguments)
        if self.hooking is not None:
            return self._hooked_tool(tool, name, path, payload, timeout)
        return self._tool(tool, name, path, payload, timeout)

    async def _hooked_tool(
        self,
        wanted: AnyTool | str,
        name: str,
        path: str,
        payload: msgspec.Raw,
        timeout: float | None,
    ) -> Any:
        assert self.hooking is not None
        given = msgspec.json.decode(payload)
        arguments = await self.hooking.look("before_tool", path, given, name=name)
        if arguments is not given:
            payload = to_payload(arguments)
        value = await self._tool(wanted, name, path, payload, timeout)
        if not self._runtime.hooks.at("after_tool"):
            return value
        said = msgspec.json.decode(to_payload(value))
        changed = await self.hooking.look("after_tool", path, said, name=name, given=arguments)
        return value if changed is said else changed

    async def _tool(
        self,
        wanted: AnyTool | str,
        name: str,
        path: str,
        payload: msgspec.Raw,
        timeout: float | None,
    ) -> Any:
        result = await self._standing(self.agent, path)
        tools = self._runtime.tools
        tool: AnyTool | None
        if not isinstance(wanted, str):
            tool = wanted
        else:  # a finished step needs no server, which may have the tool no more
            tool = await tools.resolve(name) if result is None else tools.always.get(name)
        if is_steps_tool(tool):
            steps = PlacedSteps(self.call, self._use, Scope(self, path), timeout)
            return await tool.run(tool.arguments(payload), steps)
        use = _Use(
            executed=cast(Tool[Any] | None, tool), name=name, payload=payload, timeout=timeout
        )
        answers: dict[str, dict[str, Any] | None] = {}
        state, place = "", path
        for number in range(2, MOST_ROUNDS + 2):
            body, whole = await self._used(use, place, answers, state)
            needs = needed(body) if whole and use.may_ask else None
            if needs is None:
                if use.executed is None or not whole:  # cut, it is a text, whatever the tool says
                    return msgspec.json.decode(body)
                return use.executed.read(body)
            answers, state = await self._answers(name, place, needs), needs.state
            place = f"{path}/again/{number}"
        raise ToolFailed(
            name, "tool", MOST_ROUNDS, f"it asked for answers {MOST_ROUNDS} times without an end"
        )

    async def _used(
        self, use: _Use, path: str, answers: Mapping[str, dict[str, Any] | None], state: str
    ) -> tuple[bytes, bool]:
        """Return the recorded value of one execution, and whether it is the whole of it."""
        tools, executed = self._runtime.tools, use.executed
        result = await self._standing(self.agent, path)
        request = self._frame(self.agent, path, use.payload, None, {})
        if result is None:
            if executed is None:
                executed = use.executed = cast(Tool[Any], await tools.resolve(use.name))
            step = ToolStep(
                caller=self._caller,
                tool=executed,
                request=request,
                timeout=use.timeout or executed.spec.timeout,
                check=partial(self._take, request),
                meta=self.meta,
                answers=answers,
                state=state,
            )
            try:
                result = await perform(step)
            except Parked as parked:
                raise self.parked(parked) from None
        result = await self._space.payloads.fetch(result)
        try:
            self._take(request, result)
        except RemoteError as error:
            failure = result.error
            text = str(error) if failure is None else failure.message
            raise ToolFailed(use.name, error.cause, error.attempts, text) from error
        return result.body, CUT not in result.meta

    async def _answers(
        self, name: str, place: str, needs: NeedsAnswers
    ) -> dict[str, dict[str, Any] | None]:
        """Return what people say to the questions of a tool; None for what they decline."""
        answers: dict[str, dict[str, Any] | None] = {}
        for number, (key, question) in enumerate(needs.questions.items(), 1):
            said = await self.ask_at(
                f"{place}/ask/{number}",
                f"The tool {name!r} asks: {question.text}",
                (ACCEPT, DECLINE),
                {ACCEPT: question.schema} if question.schema else {},
            )
            if isinstance(said, dict) and isinstance(said.get(ACCEPT), dict):
                answers[key] = said[ACCEPT]
            else:
                answers[key] = {} if said == ACCEPT and not question.schema else None
        return answers

    async def ask_human(
        self,
        question: Any,
        *,
        options: Sequence[str] = (),
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        key: str = "",
    ) -> Any:
        """Ask a person and return the answer; the call is parked until it comes.

        Give the run a `timeout` that leaves a person time: when it is over, the run expires.

        Args:
            question: text or JSON values, shown to the person; at most 64 kB with its options.
            options: the answers to choose from; anything can be answered without them. An option
                is answered as itself, or as `{option: value}` to say more with it.
            schemas: JSON schemas of such values, by option; a value that does not fit is refused
                when the person answers.
            key: names the step, instead of the order of use.

        Raises:
            Cancelled: the run was cancelled instead.
            InvalidPayload: the question is too large, or no JSON.
        """
        return await self.ask_at(self._path("ask", key), question, options, schemas or {})

    async def ask_at(
        self,
        path: str,
        question: Any,
        options: Sequence[str],
        schemas: Mapping[str, Mapping[str, Any]],
    ) -> Any:
        """Ask a person at a path that is taken already; see `ask_human`."""
        asked = Awaited.asking(self.agent, path, question, options, schemas)
        answer = await self._space.results.get(self.agent, self.run_id, path)
        if answer is None:
            raise self.parked(Parked(awaited=[asked]))
        raise_for_status(answer)
        answer = await self._space.payloads.fetch(answer)
        return msgspec.json.decode(answer.body)

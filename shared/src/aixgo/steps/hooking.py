"""Where hooks look at a run: each place has a path below its step, and what they decide is kept."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from aixgo.config.hooks import Point
from aixgo.errors import ConfigError, InvalidPayload, Refused
from aixgo.hooks.chain import Hooks
from aixgo.hooks.port import AskPerson, Change, Hooked, NamedHook, Note, Refuse
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.payloads import to_payload

R = TypeVar("R", ChatRequest, EmbedRequest)

YES, NO, CHANGE = "yes", "no", "change"


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What hooks decided at one place, as it is recorded.

    Attributes:
        hook: the one that changed or refused it.
        value: what it was changed to; left out where all hooks are guards, which say it again.
    """

    outcome: Literal["passed", "changed", "refused"] = "passed"
    hook: str = ""
    reason: str = ""
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    notes: tuple[str, ...] = ()


_decision = msgspec.json.Decoder(Decision)


class Looked(Protocol):
    """The execution that hooks look at."""

    @property
    def agent(self) -> str:
        """Name of the agent."""
        ...

    @property
    def run_id(self) -> str:
        """Id of the run."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """Metadata that the caller sent."""
        ...

    async def kept(self, path: str) -> bytes | None:
        """Return what was recorded at a path, if anything was."""
        ...

    async def keep(self, path: str, payload: msgspec.Raw) -> bytes:
        """Record a value; returns the one that stands."""
        ...

    async def ask_at(
        self,
        path: str,
        question: Any,
        options: Sequence[str],
        schemas: Mapping[str, Mapping[str, Any]],
    ) -> Any:
        """Ask a person; parks the run."""
        ...


class Hooking:
    """Has the hooks of an agent look at one execution.

    Attributes:
        notes: what they noted, for the metadata of the answer.
    """

    def __init__(self, ctx: Looked, hooks: Hooks) -> None:
        self._ctx, self._hooks = ctx, hooks
        self.notes: list[str] = []

    @property
    def hold_back(self) -> bool:
        """Whether the tokens of answers may not be shown before the answers are looked at."""
        return self._hooks.hold_back

    async def look(
        self,
        point: Point,
        place: str,
        value: Any,
        *,
        kind: Any = Any,
        name: str = "",
        given: Any = None,
    ) -> Any:
        """Return the value to go on with.

        Args:
            place: path of the step that is looked at.
            kind: type of the value, when it is not JSON values.

        Raises:
            Refused: a hook or a person does not want it.
            ConfigError: a hook returned something else than an outcome; final.
        """
        hooks = self._hooks.at(point)
        if not hooks:
            return value
        path = f"{place}/{point.partition('_')[0]}"
        event = Hooked(
            point=point,
            value=value,
            given=given,
            name=name,
            agent=self._ctx.agent,
            run_id=self._ctx.run_id,
            step=place,
            meta=self._ctx.meta,
        )
        sure = all(hook.pure for hook in hooks)
        decision = None if sure else await self._recorded(path)
        if decision is None:
            decision = await self._decided(hooks, event, path, kind)
            if not sure or decision != Decision():
                shown = msgspec.structs.replace(decision, value=msgspec.UNSET) if sure else decision
                standing = await self._ctx.keep(path, to_payload(shown))
                decision = decision if sure else _decision.decode(standing)
        self.notes += decision.notes
        if decision.outcome == "refused":
            raise Refused(decision.reason, hook=decision.hook, point=point)
        if decision.value is msgspec.UNSET:
            return value
        return _as(kind, decision.value, decision.hook)

    async def _recorded(self, path: str) -> Decision | None:
        body = await self._ctx.kept(path)
        return None if body is None else _decision.decode(body)

    async def _decided(
        self, hooks: Sequence[NamedHook], event: Hooked, path: str, kind: Any
    ) -> Decision:
        """Ask each hook in turn; what one changes, the next one looks at."""
        decision = Decision()
        for number, hook in enumerate(hooks, 1):
            said: Any = hook.look(event)
            if inspect.isawaitable(said):
                said = await said
            if isinstance(said, AskPerson):
                said = await self._person(said, event, f"{path}/ask/{number}")
            match said:
                case None:
                    pass
                case Note(text):
                    decision = msgspec.structs.replace(decision, notes=(*decision.notes, text))
                case Refuse(reason):
                    return msgspec.structs.replace(
                        decision,
                        outcome="refused",
                        hook=hook.name,
                        reason=reason,
                        value=msgspec.UNSET,
                    )
                case Change(changed):
                    try:
                        payload = to_payload(changed)
                        value = _as(kind, payload, hook.name)
                    except InvalidPayload as error:
                        raise _misused(hook.name, str(error)) from error
                    event = replace(event, value=value)
                    decision = msgspec.structs.replace(
                        decision, outcome="changed", hook=hook.name, value=payload
                    )
                case _:
                    raise _misused(
                        hook.name,
                        f"it returned {said!r:.100}; return None, Change(value), Refuse(reason), "
                        "AskPerson(question) or Note(text)",
                    )
        return decision

    async def _person(self, asked: AskPerson, event: Hooked, path: str) -> Change | Refuse | None:
        """Return what a person says; the run is parked until then."""
        options = (YES, NO) if event.point.endswith("model") else (YES, NO, CHANGE)
        answer = await self._ctx.ask_at(path, asked.question, options, {})
        choice, said = answer, None
        if isinstance(answer, dict) and len(answer) == 1:
            choice, said = next(iter(answer.items()))
        if choice == YES:
            return None
        if choice == CHANGE and CHANGE in options:
            return Change(said)
        return Refuse(said if isinstance(said, str) and said else "a person has declined it")


class HookedModel:
    """A model whose requests and answers the hooks of an agent look at (`Model`)."""

    def __init__(self, model: Model, hooking: Hooking, place: str) -> None:
        self._model, self._hooking, self._place = model, hooking, place

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """See `Model.chat`."""
        request = await self._before(request)
        if self._hooking.hold_back:
            request = msgspec.structs.replace(request, stream=False)
        return await self._after(request, await self._model.chat(request))

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """See `Model.stream`; in one piece when hooks look at the answer."""
        if self._hooking.hold_back:
            yield _one_piece(await self.chat(request))
            return
        async with self._model.stream(await self._before(request)) as chunks:
            yield chunks

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """See `Model.embed`; there is no text in the answer to look at."""
        return await self._model.embed(await self._before(request))

    async def close(self) -> None:
        """See `Model.close`."""
        await self._model.close()

    async def _before(self, request: R) -> R:
        kind, name = type(request), request.model
        changed: R = await self._hooking.look(
            "before_model", self._place, request, kind=kind, name=name
        )
        return changed

    async def _after(self, request: ChatRequest, response: ChatResponse) -> ChatResponse:
        changed: ChatResponse = await self._hooking.look(
            "after_model",
            self._place,
            response,
            kind=ChatResponse,
            name=request.model,
            given=request,
        )
        return changed


async def _one_piece(response: ChatResponse) -> AsyncIterator[ChatChunk]:
    yield ChatChunk(text=response.text)
    yield ChatChunk(response=response)


def _as(kind: Any, payload: msgspec.Raw, hook: str) -> Any:
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        name = getattr(kind, "__name__", str(kind))
        raise _misused(hook, f"it changed a {name} into something else: {error}") from error


def _misused(hook: str, text: str) -> ConfigError:
    return ConfigError(f"the hook {hook!r}: {text}")

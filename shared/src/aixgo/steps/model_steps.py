"""`ctx.model`: an agent's model with its declared defaults filled in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from msgspec.structs import replace

from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.models.messages import ChatMessage
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    FallbackReason,
    Model,
    ResponseSchema,
    ToolDefinition,
)
from aixgo.steps.answers import (
    MOST_RETRIES,
    RETRIES,
    AnswerShape,
    as_said,
    correction,
    no_answer,
)
from aixgo.tools.port import AnyTool

T = TypeVar("T")

Messages = str | Sequence[ChatMessage]
"""A whole conversation, or the user's text (the agent's prompt is put before it)."""


class AskOptions(TypedDict, total=False):
    """What a single question may set; what is left out comes from the agent's declaration."""

    model: str | Sequence[str]
    fallback_on: Sequence[FallbackReason]
    temperature: float
    max_tokens: int
    on_unsupported: Literal["", "error", "drop"]
    timeout: float
    stream: bool
    extra: dict[str, Any]


class Options(AskOptions, total=False):
    """What a single call may set; what is left out comes from the agent's declaration."""

    response: ResponseSchema | None
    tools: Sequence[ToolDefinition | AnyTool]
    tool_choice: str
    parallel_tools: bool | None


def _definition(tool: ToolDefinition | AnyTool) -> ToolDefinition:
    """Return what a model is told of a tool: a `@tool` function, or any other of an agent's."""
    if isinstance(tool, ToolDefinition):
        return tool
    spec = getattr(tool, "spec", None)
    if spec is None:
        raise ConfigError(
            f"a model was offered {tool!r:.200}, which is not a tool; put `@tool(effect=…)` on the "
            "function, or write a ToolDefinition"
        )
    return ToolDefinition(
        name=spec.name, description=spec.description, parameters=spec.input_schema
    )


def _asked_for(output: Any, max_retries: int) -> AnswerShape:
    if not 0 <= max_retries <= MOST_RETRIES:
        raise ConfigError(
            f"`max_retries` is {max_retries!r}; give 0 to {MOST_RETRIES} further answers"
        )
    return AnswerShape.of(output)


class ModelSteps:
    """Chat, stream and embed with the model, prompt and limits that the agent declares.

    Every call is a durable step: after a crash a finished one is neither made nor paid again. A
    `key` names the step, instead of the order of use.
    """

    def __init__(
        self,
        place: Callable[[str], str],
        model: Callable[[str], Model],
        spec: AgentSpec,
        default_model: str,
    ) -> None:
        self._place, self._at = place, model
        self._spec, self._default_model = spec, default_model

    def _model(self, key: str) -> Model:
        return self._at(self._place(key))

    def request(self, messages: Messages, **options: Unpack[Options]) -> ChatRequest:
        """Return the request as it will be sent.

        Raises:
            ConfigError: neither the call, the agent nor the system names a model.
        """
        spec = self._spec
        models = self._names(options.get("model", ""))
        if isinstance(messages, str):
            messages = (
                *((ChatMessage(role="system", content=spec.prompt),) if spec.prompt else ()),
                ChatMessage(role="user", content=messages),
            )
        return ChatRequest(
            model=models[0],
            fallbacks=models[1:],
            fallback_on=tuple(options.get("fallback_on", spec.fallback_on)),
            messages=tuple(messages),
            temperature=options.get("temperature", spec.temperature),
            max_tokens=options.get("max_tokens", spec.max_tokens),
            response=options.get("response"),
            tools=tuple(_definition(tool) for tool in options.get("tools", ())),
            tool_choice=options.get("tool_choice", ""),
            stream=options.get("stream", False),
            parallel_tools=options.get("parallel_tools"),
            on_unsupported=options.get("on_unsupported", spec.on_unsupported or ""),
            timeout=options.get("timeout"),
            base_url=spec.endpoint,
            extra=options.get("extra", {}),
        )

    async def chat(
        self, messages: Messages, *, key: str = "", **options: Unpack[Options]
    ) -> ChatResponse:
        """Return the model's answer. With `stream=True` its tokens are published meanwhile."""
        return await self._model(key).chat(self.request(messages, **options))

    @overload
    async def ask(
        self,
        messages: Messages,
        *,
        output: type[T],
        key: str = "",
        max_retries: int = RETRIES,
        **options: Unpack[AskOptions],
    ) -> T: ...

    @overload
    async def ask(
        self,
        messages: Messages,
        *,
        output: Any,
        key: str = "",
        max_retries: int = RETRIES,
        **options: Unpack[AskOptions],
    ) -> Any: ...

    async def ask(
        self,
        messages: Messages,
        *,
        output: Any,
        key: str = "",
        max_retries: int = RETRIES,
        **options: Unpack[AskOptions],
    ) -> Any:
        """Return the model's answer as an instance of a type.

        The model is held to the type's JSON schema in the best way that its provider has. An answer
        that does not fit is returned to the model with what is wrong with it. Each answer is a
        step of its own, so none is paid twice.

        Args:
            output: a pydantic model, a msgspec Struct, a dataclass, a `Literal`, a list or a union
                of such; or a JSON schema as a mapping, for which JSON values are returned.
            max_retries: further answers that are asked for, 0 to 10.

        Raises:
            BadModelAnswer: none of the answers fits; says what was wrong with which. Final.
            ContentRefused: a content filter took the answer.
            ModelError: the model did not answer.
            ConfigError: `output` cannot be validated, or `max_retries` is out of its limits.
        """
        shape, place = _asked_for(output, max_retries), self._place(key)
        request = replace(self.request(messages, **options), response=shape.response)
        response = await self._at(place).chat(request)
        return await self._fitting(shape, request, response, place, max_retries)

    async def mend(
        self,
        messages: Messages,
        answer: ChatResponse,
        *,
        output: Any,
        key: str = "",
        max_retries: int = RETRIES,
        **options: Unpack[Options],
    ) -> Any:
        """Return what an answer that was already given says; an answer that does not fit is mended.

        As `ask`, for an answer that came from elsewhere, such as after the use of tools.

        Args:
            messages: the conversation that led to the answer.
            key: names the place of the further answers.

        Raises:
            BadModelAnswer, ContentRefused, ModelError, ConfigError: as `ask`.
        """
        shape, place = _asked_for(output, max_retries), self._place(key)
        request = replace(self.request(messages, **options), response=shape.response)
        return await self._fitting(shape, request, answer, place, max_retries)

    async def _fitting(
        self,
        shape: AnswerShape,
        request: ChatRequest,
        response: ChatResponse,
        place: str,
        max_retries: int,
    ) -> Any:
        """Return what a response says, asking again below the `place` until it fits."""
        wrong: list[tuple[str, str]] = []
        while True:
            try:
                return shape.read_response(response)
            except InvalidPayload as error:
                wrong.append((response.text, str(error)))
                if len(wrong) > max_retries:
                    raise no_answer(self._spec.name, shape, wrong) from error
                talk = (*request.messages, as_said(response), correction(error))
                request = replace(request, messages=talk)
            response = await self._at(f"{place}/try/{len(wrong) + 1}").chat(request)

    def stream(
        self, messages: Messages, *, key: str = "", **options: Unpack[Options]
    ) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        return self._model(key).stream(self.request(messages, **options))

    async def embed(self, texts: Sequence[str], *, key: str = "", model: str = "") -> EmbedResponse:
        """Return one vector for each text, in order."""
        return await self.embed_at(self._place(key), texts, model=model)

    async def embed_at(self, path: str, texts: Sequence[str], *, model: str = "") -> EmbedResponse:
        """Return one vector for each text, as a step at a path that is taken already."""
        return await self._at(path).embed(
            EmbedRequest(
                model=self._names(model)[0], input=tuple(texts), base_url=self._spec.endpoint
            )
        )

    def _names(self, model: str | Sequence[str]) -> tuple[str, ...]:
        """Return the models in the order in which they are asked."""
        given = (model,) if isinstance(model, str) else tuple(model)
        names = tuple(filter(None, given)) or self._spec.model_names or (self._default_model,)
        if not names[0]:
            raise ConfigError(
                f"agent {self._spec.name!r} calls a model but names none: give it "
                "`model: provider/name`, or set `models.default` for all agents"
            )
        return names

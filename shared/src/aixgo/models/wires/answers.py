"""From what providers say to what the port promises: finish reasons, streams, schemas."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo.envelope import Usage, new_id
from aixgo.errors import BadModelAnswer, BadModelRequest, ContentRefused
from aixgo.models.messages import ChatMessage, ToolCall
from aixgo.models.port import ChatRequest, ChatResponse, Choice, EmbedRequest, FinishReason
from aixgo.models.providers import split_model

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "error": "error",
}

_OWN_FIELDS = frozenset(
    {
        "model", "messages", "input", "tools", "tool_choice", "temperature", "max_tokens",
        "max_completion_tokens", "max_output_tokens", "top_p", "stop", "seed", "response_format",
        "stream", "stream_options", "n", "timeout", "max_retries", "api_key", "api_base",
        "base_url", "extra_headers",
    }
)  # fmt: skip


def extra_of(request: ChatRequest) -> dict[str, Any]:
    """Return the further fields of a request.

    Raises:
        BadModelRequest: one of them is a field of the port, or one that adapters own.
    """
    if taken := sorted(_OWN_FIELDS & request.extra.keys()):
        raise BadModelRequest(
            f"`extra` of a request to {request.model!r} sets {', '.join(taken)}; "
            "use the request's own fields for these (one answer per request, keys only in the "
            "gateway's settings)"
        )
    return request.extra


def finish_reason(value: str | None, *, has_tool_calls: bool) -> FinishReason:
    """Return the port's word; some servers say `stop` although they ask for tools."""
    reason = _FINISH.get((value or "stop").lower(), "stop")
    return "tool_calls" if has_tool_calls and reason == "stop" else reason


def usage_of(prompt: int, completion: int, *, cached: int = 0, total: int = 0) -> Usage:
    """Return the usage of one call whose price the adapter does not know.

    Args:
        total: what the provider calls total; where it is more than the sum, the rest are reasoning
            tokens, which are billed as completion (xAI counts them apart).
    """
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=max(completion, total - prompt),
        cached_tokens=min(cached, prompt),
        model_calls=1,
        unpriced_calls=1,
    )


def tool_call_id(given: str | None) -> str:
    """Return the provider's id unchanged, or a new one where a server gives none."""
    return given or f"call_{new_id()[-16:]}"


def checked(request: ChatRequest, response: ChatResponse) -> ChatResponse:
    """Return the response when it keeps the port's promises.

    Raises:
        BadModelAnswer: it has no choice, or is not the JSON that the request asked for.
        ContentRefused: a filter took the answer that the schema asked for.
    """
    provider, _ = split_model(request.model)
    if not response.choices:
        raise BadModelAnswer(
            f"{request.model} answered without a choice; ask again", provider=provider
        )
    schema = request.response
    if schema is None:
        return response
    for choice in response.choices:
        if not choice.message.tool_calls:
            _check_json(request, choice, schema.schema, provider)
    return response


def _check_json(
    request: ChatRequest, choice: Choice, schema: dict[str, Any], provider: str
) -> None:
    if choice.finish_reason == "content_filter":
        raise ContentRefused(
            f"{request.model}: a content filter stopped the answer; change the prompt",
            provider=provider,
        )
    try:
        value = msgspec.json.decode(choice.message.text)
    except msgspec.DecodeError as error:
        cut = choice.finish_reason == "length"
        fix = f"raise max_tokens ({request.max_tokens}), the answer was cut" if cut else "ask again"
        raise BadModelAnswer(
            f"{request.model} was asked for JSON and gave none: {error}, in "
            f"{len(choice.message.text):,} characters beginning "
            f"{choice.message.text[:60]!r}; {fix}",
            provider=provider,
        ) from error
    if schema.get("type") != "object":
        return
    missing = (
        [name for name in schema.get("required", ()) if name not in value]
        if isinstance(value, dict)
        else ["a JSON object"]
    )
    if missing:
        raise BadModelAnswer(
            f"{request.model}'s answer lacks {', '.join(missing)}, which the schema requires; "
            "ask again, or use a model that supports JSON schemas",
            provider=provider,
        )


def checked_vectors(
    request: EmbedRequest, vectors: list[list[float]]
) -> tuple[tuple[float, ...], ...]:
    """Return one vector for each text.

    Raises:
        BadModelAnswer: there are more or fewer, or they differ in length.
    """
    provider, _ = split_model(request.model)
    if len(vectors) != len(request.input):
        raise BadModelAnswer(
            f"{request.model} gave {len(vectors)} vectors for {len(request.input)} texts; ask "
            "again, or send fewer texts at once",
            provider=provider,
        )
    if len({len(vector) for vector in vectors}) > 1:
        raise BadModelAnswer(
            f"{request.model} gave vectors of different lengths; use an embedding model",
            provider=provider,
        )
    return tuple(map(tuple, vectors))


class _Call:
    """A tool call that is still arriving."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, call_id: str | None, name: str) -> None:
        self.id, self.name = call_id, name
        self.arguments: list[str] = []

    def done(self) -> ToolCall:
        return ToolCall(
            id=tool_call_id(self.id), name=self.name, arguments="".join(self.arguments) or "{}"
        )


class Assembly:
    """A streamed answer being put together; gives the same response as an answer in one piece."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._provider, self._model = split_model(request.model)
        self._text: list[str] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self.id = ""
        self.finish: str | None = None
        self.usage = usage_of(0, 0)

    def named(self, answer_id: str, model: str) -> None:
        """Note the provider's id and name of the model; the first that are given count."""
        self.id = self.id or answer_id
        if model:
            self._model = model

    def text(self, piece: str) -> None:
        """Add a piece of the text."""
        self._text.append(piece)

    def tool_call(
        self, index: int, *, call_id: str | None = None, name: str | None = None, piece: str = ""
    ) -> None:
        """Add a piece of a tool call.

        A new id at a known index begins another call: some servers number all of them 0.
        """
        call = self._by_index.get(index)
        if call is None or (call_id and call.id and call_id != call.id):
            call = self._by_index[index] = _Call(call_id, name or "")
            self._calls.append(call)
        elif name and not call.name:
            call.name = name
        if piece:
            call.arguments.append(piece)

    @property
    def empty(self) -> bool:
        """Whether nothing came at all, not even a count of tokens."""
        return not (self._text or self._calls or self.usage.total_tokens)

    def response(self) -> ChatResponse:
        """Return the whole answer.

        Raises:
            BadModelAnswer, ContentRefused: it breaks a promise, see `checked`.
        """
        calls = tuple(call.done() for call in self._calls)
        message = ChatMessage(role="assistant", content="".join(self._text), tool_calls=calls)
        choice = Choice(
            message=message, finish_reason=finish_reason(self.finish, has_tool_calls=bool(calls))
        )
        response = ChatResponse(
            id=self.id,
            model=f"{self._provider}/{self._model}",
            choices=(choice,),
            usage=self.usage,
        )
        return checked(self._request, response)

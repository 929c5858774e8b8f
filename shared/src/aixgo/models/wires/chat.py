"""The OpenAI chat completions and embeddings formats: encode requests, decode answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from aixgo.envelope import Usage
from aixgo.errors import BadModelAnswer, BadModelRequest, ContentRefused, ModelError
from aixgo.models.messages import ChatMessage, TextPart, ToolCall
from aixgo.models.port import (
    ChatRequest,
    ChatResponse,
    Choice,
    EmbedRequest,
    EmbedResponse,
    ToolDefinition,
)
from aixgo.models.providers import Quirk, split_model
from aixgo.models.wires.answers import (
    Assembly,
    checked,
    checked_vectors,
    extra_of,
    finish_reason,
    tool_call_id,
    usage_of,
)
from aixgo.models.wires.classify import from_status

_T = TypeVar("_T")

# -- requests ------------------------------------------------------------------------------------


def chat_body(request: ChatRequest, quirk: Quirk, *, stream: bool) -> dict[str, Any]:
    """Return the body of a request to `/chat/completions`; what is not set is not sent."""
    _, model = split_model(request.model)
    body: dict[str, Any] = {"model": model, "messages": messages(request.messages)}
    body |= sampling(request, quirk)
    if request.max_tokens is not None:
        body[quirk.max_tokens_field] = request.max_tokens
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tools:
        body["tools"] = [{"type": "function", "function": function(tool)} for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = tool_choice(request.tool_choice)
    if request.response is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": request.response.name,
                "strict": request.response.strict,
                "schema": request.response.schema,
            },
        }
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body | extra_of(request)


def sampling(request: ChatRequest, quirk: Quirk) -> dict[str, Any]:
    """Return temperature, top_p and stop, as far as they are set and the model takes them."""
    fields: dict[str, Any] = {}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        fields["top_p"] = request.top_p
    if request.stop:
        fields["stop"] = list(request.stop)
    return {name: value for name, value in fields.items() if name not in quirk.drop}


def messages(conversation: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return a conversation as the wire has it."""
    return [_message(message) for message in conversation]


def _message(message: ChatMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role}
    if message.content or not message.tool_calls:
        found["content"] = _content(message)
    if message.role == "tool":
        # its `name` stays here: OpenAI and most of its imitators know only the id
        found["tool_call_id"] = message.tool_call_id
        return found
    if message.name:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return found


def _content(message: ChatMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    if message.role != "user" or not message.images:
        return text_only(message)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.address}}
        for part in message.content
    ]


def text_only(message: ChatMessage) -> str:
    """Return the text of a message where the wire has no place for images.

    Raises:
        BadModelRequest: it has images.
    """
    if message.images:
        raise BadModelRequest(
            f"a message of role {message.role!r} has an image, which this provider's API takes "
            "from role 'user' only; put it into a message of the user"
        )
    return message.text


def function(tool: ToolDefinition) -> dict[str, Any]:
    """Return a tool's description; one without parameters takes an empty object."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }


def tool_choice(choice: str) -> str | dict[str, Any]:
    """Return `auto`, `none` and `required` as they are, and a tool's name as an object."""
    if choice in {"auto", "none", "required"}:
        return choice
    return {"type": "function", "function": {"name": choice}}


def embed_body(request: EmbedRequest) -> dict[str, Any]:
    """Return the body of a request to `/embeddings`."""
    _, model = split_model(request.model)
    body: dict[str, Any] = {"model": model, "input": list(request.input)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


# -- answers -------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    def text(self) -> str:
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class _ToolCall(msgspec.Struct):
    id: str | None = None
    index: int | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message = msgspec.field(default_factory=_Message)
    delta: _Message | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Embeddings(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: _Usage | None = None


_completion = msgspec.json.Decoder(_Completion)
_embeddings = msgspec.json.Decoder(_Embeddings)


def decode_chat(request: ChatRequest, body: bytes) -> ChatResponse:
    """Return the answer of `/chat/completions`.

    Raises:
        BadModelAnswer: it cannot be read, has no choice, or is not the JSON that was asked for.
        ContentRefused: the model refused.
    """
    provider, model = split_model(request.model)
    answer = read(_completion, request, body)
    if error := error_in(request, answer.error):
        raise error
    response = ChatResponse(
        id=answer.id or "",
        model=f"{provider}/{answer.model or model}",
        choices=tuple(_choice(request, choice) for choice in answer.choices or ()),
        usage=_usage(answer.usage),
    )
    return checked(request, response)


def _choice(request: ChatRequest, choice: _Choice) -> Choice:
    message = choice.message
    if message.refusal and not message.content:
        raise _refused(request, message.refusal)
    calls = tuple(
        ToolCall(
            id=tool_call_id(call.id),
            name=call.function.name or "",
            arguments=call.function.text() or "{}",
        )
        for call in message.tool_calls or ()
    )
    return Choice(
        index=choice.index,
        message=ChatMessage(role="assistant", content=message.text(), tool_calls=calls),
        finish_reason=finish_reason(choice.finish_reason, has_tool_calls=bool(calls)),
    )


class ChatStream:
    """Takes the events of a streamed answer, one by one."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._assembly = Assembly(request)
        self._refusal = ""

    def feed(self, event: bytes) -> str:
        """Return the text that an event adds.

        Raises:
            BadModelAnswer: it cannot be read.
            ModelError: it is an error in the middle of the stream.
        """
        answer = read(_completion, self._request, event)
        if error := error_in(self._request, answer.error):
            raise error
        assembly = self._assembly
        if not assembly.id:
            assembly.named(answer.id or "", answer.model or "")
        if answer.usage is not None:
            assembly.usage = _usage(answer.usage)
        for choice in answer.choices or ():
            if choice.index == 0:
                return self._feed(choice)
        return ""

    def _feed(self, choice: _Choice) -> str:
        assembly = self._assembly
        assembly.finish = choice.finish_reason or assembly.finish
        delta = choice.delta
        if delta is None:
            return ""
        self._refusal += delta.refusal or ""
        for position, call in enumerate(delta.tool_calls or ()):
            assembly.tool_call(
                position if call.index is None else call.index,
                call_id=call.id,
                name=call.function.name,
                piece=call.function.text(),
            )
        text = delta.text()
        if text:
            assembly.text(text)
        return text

    @property
    def finished(self) -> bool:
        """Whether the answer said why it ended, so that nothing is missing."""
        return self._assembly.finish is not None

    def response(self) -> ChatResponse:
        """Return the whole answer; errors as `decode_chat`."""
        if self._refusal:
            raise _refused(self._request, self._refusal)
        return self._assembly.response()


class _EmbeddedError(msgspec.Struct):
    code: int | str | None = None


_embedded_error = msgspec.json.Decoder(_EmbeddedError)


def error_in(request: ChatRequest, error: bytes | msgspec.Raw) -> ModelError | None:
    """Return the error that some servers put into an answer whose status is 200, or None."""
    body = bytes(error).strip()
    if body in (b"", b"null"):
        return None
    try:
        code = _embedded_error.decode(body).code
    except msgspec.DecodeError:
        code = None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    provider, model = split_model(request.model)
    return from_status(status, b'{"error":' + body + b"}", provider=provider, model=model)


def decode_embeddings(request: EmbedRequest, body: bytes) -> EmbedResponse:
    """Return the answer of `/embeddings`, in the order of the texts.

    Raises:
        BadModelAnswer: it cannot be read, or a vector is missing.
    """
    provider, model = split_model(request.model)
    answer = read(_embeddings, request, body)
    if all(vector.index is not None for vector in answer.data):
        answer.data.sort(key=lambda vector: vector.index or 0)
    return EmbedResponse(
        model=f"{provider}/{answer.model or model}",
        vectors=checked_vectors(request, [vector.embedding for vector in answer.data]),
        usage=_usage(answer.usage),
    )


_features = msgspec.json.Decoder(list[list[float]])


def decode_features(request: EmbedRequest, body: bytes) -> EmbedResponse:
    """Return the answer of Hugging Face's feature extraction; it counts no tokens.

    Raises:
        BadModelAnswer: it cannot be read, such as vectors of single tokens.
    """
    vectors = read(_features, request, body)
    return EmbedResponse(
        model=request.model, vectors=checked_vectors(request, vectors), usage=usage_of(0, 0)
    )


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return usage_of(0, 0)
    details = usage.prompt_tokens_details
    return usage_of(
        usage.prompt_tokens or 0,
        usage.completion_tokens or 0,
        cached=(details.cached_tokens or 0) if details else 0,
        total=usage.total_tokens or 0,
    )


def _refused(request: ChatRequest, refusal: str) -> ContentRefused:
    return ContentRefused(
        f"{request.model} refuses: {refusal[:200]}; change the prompt",
        provider=split_model(request.model)[0],
    )


def read(decoder: msgspec.json.Decoder[_T], request: ChatRequest | EmbedRequest, body: bytes) -> _T:
    """Return a decoded body; BadModelAnswer says what the server sent instead."""
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadModelAnswer(
            f"{request.model}: the answer is not what its API documents: {error}, in "
            f"{len(body):,} bytes beginning {body[:60]!r}; is the base URL that of an "
            "OpenAI-compatible server?",
            provider=split_model(request.model)[0],
        ) from error

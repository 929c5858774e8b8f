"""The fast way for answers that are just as OpenAI documents them: half the work per call.

Whatever differs in the least is left to `chat`, which reads the same answer to the same response
(`tests/unit/test_models_fuzz.py` compares them): a field of the type None must be null or absent.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from aixgo.models.messages import ChatMessage
from aixgo.models.port import ChatRequest, ChatResponse, Choice
from aixgo.models.providers import split_model
from aixgo.models.wires.usage import MAX_TOKENS, usage_of

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_Some = Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)]


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    prompt_cache_hit_tokens: None = None
    cache_read_input_tokens: None = None


class _OutDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Some
    completion_tokens: _Some
    total_tokens: _Count = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _OutDetails | None = None
    input_tokens_details: None = None
    output_tokens_details: None = None
    cached_tokens: None = None
    prompt_cache_hit_tokens: None = None
    cache_read_input_tokens: None = None


class _Message(msgspec.Struct):
    content: str
    tool_calls: None = None
    function_call: None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Literal["stop", "length", "content_filter"]
    index: int = 0
    usage: None = None


class _Completion(msgspec.Struct):
    choices: tuple[_Choice]
    usage: _Usage
    id: str = ""
    model: str = ""
    error: None = None


class _Delta(msgspec.Struct):
    content: str
    tool_calls: None = None
    function_call: None = None
    refusal: None = None


class _Piece(msgspec.Struct):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: None = None
    usage: None = None


class Chunk(msgspec.Struct):
    """A piece of text of a stream, and nothing else."""

    choices: tuple[_Piece]
    id: str = ""
    model: str = ""
    usage: None = None
    error: None = None
    x_groq: None = None


_completion = msgspec.json.Decoder(_Completion)
_chunk = msgspec.json.Decoder(Chunk)


def tidy_chunk(data: bytes) -> Chunk | None:
    """Return a chunk of text, or None when it is anything else."""
    try:
        return _chunk.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def tidy_chat(request: ChatRequest, body: bytes) -> ChatResponse | None:
    """Return the answer to a request without a schema, or None when it is not tidy."""
    if request.response is not None:
        return None
    try:
        answer = _completion.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    (choice,), usage = answer.choices, answer.usage
    message = ChatMessage(role="assistant", content=choice.message.content)
    details, out = usage.prompt_tokens_details, usage.completion_tokens_details
    provider, model = split_model(request.model)
    if not message.content:
        return None  # a refusal may stand beside it
    return ChatResponse(
        id=answer.id,
        model=f"{provider}/{answer.model or model}",
        choices=(Choice(message=message, finish_reason=choice.finish_reason, index=choice.index),),
        usage=usage_of(
            usage.prompt_tokens,
            usage.completion_tokens,
            cached=(details.cached_tokens or 0) if details is not None else 0,
            reasoning=(out.reasoning_tokens or 0) if out is not None else 0,
            total=usage.total_tokens,
        ),
    )

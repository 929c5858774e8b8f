"""Embeddings: OpenAI's format, and that of Hugging Face's feature extraction."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from aixgo.models.port import EmbedRequest, EmbedResponse
from aixgo.models.providers import split_model
from aixgo.models.wires.answers import checked_vectors
from aixgo.models.wires.failures import failure_in
from aixgo.models.wires.reading import Unreadable, loads, string, unreadable, well_formed
from aixgo.models.wires.usage import Counter, usage_of

_T = TypeVar("_T")


def embed_body(request: EmbedRequest) -> dict[str, Any]:
    """Return the body of a request to `/embeddings`."""
    _, model = split_model(request.model)
    body: dict[str, Any] = {"model": model, "input": list(request.input)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Embeddings(msgspec.Struct):
    data: list[_Vector]
    model: Any = None
    usage: Any = None


# sixty megabytes of numbers: decoded to their type at once, and never looked at one by one
_embeddings = msgspec.json.Decoder(_Embeddings)
_features = msgspec.json.Decoder(list[list[float]])


def decode_embeddings(request: EmbedRequest, body: bytes) -> EmbedResponse:
    """Return the answer of `/embeddings`, in the order of the texts.

    Raises:
        BadModelAnswer: it cannot be read, or a vector is missing.
        ModelError: it is an error although its status is 200.
    """
    provider, model = split_model(request.model)
    answer = _read(_embeddings, _Embeddings, request, body)
    if all(vector.index is not None for vector in answer.data):
        answer.data.sort(key=lambda vector: vector.index or 0)
    counter = Counter()
    counter.see(answer.usage)
    return EmbedResponse(
        model=well_formed(f"{provider}/{string(answer.model) or model}"),
        vectors=checked_vectors(request, [vector.embedding for vector in answer.data]),
        usage=counter.usage,
    )


def decode_features(request: EmbedRequest, body: bytes) -> EmbedResponse:
    """Return the answer of Hugging Face's feature extraction; it counts no tokens.

    Raises:
        BadModelAnswer: it cannot be read, such as vectors of single tokens.
        ModelError: it is an error although its status is 200.
    """
    vectors = _read(_features, list[list[float]], request, body)
    return EmbedResponse(
        model=request.model, vectors=checked_vectors(request, vectors), usage=usage_of(0, 0)
    )


def _read(
    decoder: msgspec.json.Decoder[_T], kind: type[_T], request: EmbedRequest, body: bytes
) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # what follows says what is wrong, or takes it all the same
    try:
        answer = loads(body)
    except Unreadable as error:
        raise unreadable(request, body, error) from error
    if isinstance(answer, dict) and (failed := failure_in(request, answer)):
        raise failed
    try:
        return msgspec.convert(answer, kind, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise unreadable(request, body, str(error)) from error

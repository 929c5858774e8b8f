"""JSON as servers really write it: read once, and every field that is odd takes its default."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from aixgo.errors import BadModelAnswer, ModelError, ModelUnavailable
from aixgo.models.port import ChatRequest, EmbedRequest
from aixgo.models.providers import split_model

_EXCERPT = 60
_DIGITS = 400

_decode = msgspec.json.Decoder().decode


class Unreadable(ValueError):
    """Bytes that are not JSON; `cut` when they are the beginning of some."""

    def __init__(self, reason: str, *, cut: bool) -> None:
        self.cut = cut
        super().__init__(reason)


def loads(body: bytes) -> Any:
    """Return the value in a JSON text.

    What Python's own encoder writes and the standard does not know is read too: NaN, infinities,
    halves of surrogate pairs (an emoji that was cut between two pieces), and a BOM before it all.

    Raises:
        Unreadable: it is not JSON.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        strict = error
    try:
        return json.loads(body.decode("utf-8-sig"), parse_int=_integer)
    except (ValueError, RecursionError):
        raise Unreadable(str(strict), cut="truncated" in str(strict)) from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS else math.inf


def unreadable(
    request: ChatRequest | EmbedRequest, body: bytes, reason: Unreadable | str
) -> ModelError:
    """Return the error for bytes that are not an answer: a lost connection, or another server."""
    provider = split_model(request.model)[0]
    if isinstance(reason, Unreadable) and reason.cut:
        return ModelUnavailable(
            f"{request.model}: the connection ended in the middle of the answer, after "
            f"{len(body):,} bytes; try again",
            provider=provider,
        )
    what = "an HTML page" if body.lstrip()[:1] == b"<" else "not what its API documents"
    return BadModelAnswer(
        f"{request.model}: the answer is {what}: {reason}, in {len(body):,} bytes beginning "
        f"{body[:_EXCERPT]!r}; is the base URL that of an OpenAI-compatible server?",
        provider=provider,
    )


def record(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def records(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; what is not an object is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(value: Any) -> str:
    """Return a text, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def text_in(content: Any) -> str:
    """Return the text of a message's content: a string, parts, or JSON that was not quoted."""
    match content:
        case str():
            return content
        case None:
            return ""
        case list():
            return "".join(text_in(part) for part in content)
        case {"text": str(text)}:
            return text
        case {"type": str()}:  # a part that is not text
            return ""
        case _:
            return json.dumps(content, ensure_ascii=False)


def well_formed(text: str) -> str:
    """Return the text with pairs of surrogates joined, and lone halves replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text

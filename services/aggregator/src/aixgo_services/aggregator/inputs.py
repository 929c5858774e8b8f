"""What is aggregated: inputs of sources, read from a call's payload or gathered from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from aixgo.errors import InvalidPayload

_FORM = (
    "a list of inputs such as {'source': 'news', 'content': '…', 'confidence': 0.8}, a list of "
    "texts, or a mapping from sources to contents, alone or as `inputs` beside a `question`"
)


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What one source says.

    Attributes:
        content: its text; JSON for what is none.
        confidence: 0 to 1, if the source says how sure it is.
    """

    source: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    content: str
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What is aggregated together; `question` may be empty."""

    inputs: list[Input]
    question: str = ""


def inputs_of(data: Any, most: int) -> Inputs:
    """Return the inputs in a call's payload.

    Raises:
        InvalidPayload: there are none, too many, or they have another form.
    """
    question = ""
    if isinstance(data, Mapping) and "inputs" in data:
        unknown = sorted(map(str, data.keys() - {"inputs", "question"}))
        if unknown:
            raise InvalidPayload(f"unknown member {unknown[0]!r}; give {_FORM}")
        question, data = data.get("question", ""), data["inputs"]
        if not isinstance(question, str):
            raise InvalidPayload(f"`question` is a text, not {question!r:.80}")
    if isinstance(data, Mapping):
        found = [_input(str(source), content) for source, content in data.items()]
    elif isinstance(data, list):
        found = [_input(f"input {number}", one) for number, one in enumerate(data, 1)]
    else:
        raise InvalidPayload(f"an aggregator takes {_FORM}; not {data!r:.80}")
    if not found:
        raise InvalidPayload(f"there is nothing to aggregate; give {_FORM}")
    if len(found) > most:
        raise InvalidPayload(
            f"{len(found)} inputs are over the limit of {most} inputs (`max_input_sources`); raise "
            "it, or aggregate them in parts"
        )
    return Inputs(inputs=found, question=question)


def _input(source: str, given: Any) -> Input:
    """Return one input: a content, or a mapping with a `content`."""
    if isinstance(given, Mapping) and "content" in given:
        try:
            return msgspec.convert(
                {"source": source, **given, "content": text_of(given["content"])}, Input
            )
        except msgspec.ValidationError as error:
            raise InvalidPayload(f"the input {given!r:.80} does not fit: {error}") from error
    return Input(source=source, content=text_of(given))


def text_of(content: Any) -> str:
    """Return a content as text."""
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()

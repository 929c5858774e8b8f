"""Structured answers: what a model is asked for by a type or a JSON schema, and how it is read.

How a provider is held to the schema (its own schema mode, a forced tool, an instruction) is the
model gateway's business. Here an answer is read whatever way it came, and what is wrong with it is
said so that the model can mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from aixgo.errors import BadModelAnswer, ConfigError, ContentRefused, InvalidPayload, cut
from aixgo.models.messages import ChatMessage
from aixgo.models.port import ChatResponse, ResponseSchema
from aixgo.models.wires.schemas import json_in
from aixgo.payloads import Shape, name_of, to_payload
from aixgo.steps.answer_schema import VALUE, schema_name, strict, wrapped
from aixgo.tools.json_schema import findings, validator_for

RETRIES = 3
"""Further answers that are asked for when one does not fit."""

MOST_RETRIES = 10

_SHOWN = 300  # characters of a reason in an error; the model is told the whole of it


class AnswerShape:
    """What an answer must be.

    Attributes:
        name: of the type or the schema, for people.
        schema: JSON schema of the value.
        response: how a model is asked for it.
    """

    def __init__(self, name: str, schema: dict[str, Any], read: Callable[[bytes], Any]) -> None:
        self.name, self.schema = name, schema
        asked, self._wrapped = wrapped(schema)
        closed = strict(asked)
        self.response = ResponseSchema(
            name=schema_name(name),
            schema=asked if closed is None else closed,
            strict=closed is not None,
            checked=False,
        )
        self._read = read

    @staticmethod
    def of(output: Any) -> AnswerShape:
        """Return the shape of a type, or of a JSON schema as a mapping.

        Raises:
            ConfigError: neither msgspec nor pydantic can validate the type, or the schema is wrong.
        """
        if isinstance(output, AnswerShape):
            return output
        if isinstance(output, Mapping):
            return _shape_of_schema(dict(output))
        try:
            return _shape_of_type(output)
        except TypeError as error:  # it has no hash, so it is no type
            raise ConfigError(
                f"`output` {output!r:.80} is neither a type nor a JSON schema; give a pydantic "
                "model, a msgspec Struct, a dataclass, a union of them, or a mapping"
            ) from error

    def read(self, text: str) -> Any:
        """Return the value in an answer.

        Raises:
            InvalidPayload: it does not fit; says where and why.
        """
        if not text.strip():
            raise InvalidPayload("the answer has no text")
        body = json_in(text, self.response.schema).encode()
        if not self._wrapped:
            return self._read(body)
        try:
            members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            inner = bytes(members[VALUE])
        except (msgspec.DecodeError, KeyError, RecursionError):
            inner = json_in(text, self.schema).encode()  # some models leave the wrapping out
        return self._read(inner)

    def read_response(self, response: ChatResponse) -> Any:
        """Return the value in a model's answer.

        Raises:
            InvalidPayload: it does not fit; says where and why.
            ContentRefused: a content filter took it.
        """
        choice = response.choices[0]
        if choice.finish_reason == "content_filter":
            raise ContentRefused(
                f"{response.model}: a content filter stopped the answer; change the prompt",
                provider=response.model.partition("/")[0],
            )
        try:
            return self.read(response.text)
        except InvalidPayload as error:
            if choice.finish_reason == "length":
                raise InvalidPayload(
                    "the answer was cut at the limit of tokens (`max_tokens`); answer shorter, or "
                    f"raise the limit ({error})"
                ) from error
            raise


def correction(error: InvalidPayload) -> ChatMessage:
    """Return what a model is told of an answer that does not fit."""
    return ChatMessage(
        role="user",
        content=f"That answer cannot be used: {error}. Answer again, with nothing but the "
        "corrected JSON.",
    )


def as_said(response: ChatResponse) -> ChatMessage:
    """Return a wrong answer as a message of the conversation, which may not be empty."""
    return ChatMessage(role="assistant", content=response.text or "(no text)")


def no_answer(agent: str, shape: AnswerShape, wrong: Sequence[tuple[str, str]]) -> BadModelAnswer:
    """Return the error of an agent whose model gave no answer that fits.

    Args:
        wrong: of each answer, its beginning and what was wrong with it.
    """
    told = "; ".join(
        f"{number}. {cut(text, 60)!r}: {cut(reason, _SHOWN)}"
        for number, (text, reason) in enumerate(wrong, 1)
    )
    answers = "1 answer" if len(wrong) == 1 else f"{len(wrong)} answers"
    error = BadModelAnswer(
        f"agent {agent!r} got no answer that fits {shape.name!r} in {answers}: {told}. "
        "Use a model that can follow a JSON schema, or a simpler schema"
    )
    error.retryable = False  # the answers are recorded steps: running again repeats them
    return error


@lru_cache(maxsize=256)
def _shape_of_type(kind: Any) -> AnswerShape:
    shape = Shape.of(kind)

    def read(body: bytes) -> Any:
        value = shape.decode(body)
        to_payload(value)  # pydantic reads numbers that JSON does not have
        return value

    return AnswerShape(name_of(kind), shape.schema, read)


def _shape_of_schema(schema: dict[str, Any]) -> AnswerShape:
    name = str(schema.get("title", "answer"))
    validator = validator_for("an answer (`output`)", schema)

    def read(body: bytes) -> Any:
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidPayload(
                f"the answer is not JSON: {error} (got {cut(body.decode(errors='replace'), 80)})"
            ) from error
        if wrong := findings(validator, value):
            raise InvalidPayload("; ".join(wrong))
        return value

    return AnswerShape(name, schema, read)

"""Shapes of structured answers: what a model is asked for, and how an answer is read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from aixgo.errors import ConfigError, InvalidPayload
from aixgo.payloads import to_payload
from aixgo.steps.answer_schema import schema_name, strict, wrapped
from aixgo.steps.answers import AnswerShape


class Line(msgspec.Struct):
    what: Annotated[str, msgspec.Meta(min_length=1, description="What was bought.")]
    price: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Bill(msgspec.Struct, tag=True):
    lines: list[Line]
    note: str | None = None


class Letter(msgspec.Struct, tag=True):
    text: str = "none"


class Tree(BaseModel):
    name: Literal["root", "leaf"]
    children: list[Tree] = []


class Open(BaseModel):
    counts: dict[str, int]


class Amount(BaseModel):
    total: float


@dataclass
class Point:
    x: int
    y: int | None = None


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, list):
        return [one for part in schema for one in nodes(part)]
    if not isinstance(schema, dict):
        return []
    named = [one for key in ("properties", "$defs") for one in schema.get(key, {}).values()]
    below = [schema[key] for key in ("items", "anyOf") if key in schema]
    return [schema, *nodes(named), *nodes(below)]


@pytest.mark.parametrize("kind", [Bill, Bill | Letter, list[Line], Tree, Point, Literal["a", "b"]])
def test_a_strict_schema_has_closed_objects_that_require_every_member(kind: Any) -> None:
    response = AnswerShape.of(kind).response
    assert response.strict
    assert response.schema["type"] == "object"
    jsonschema_rs.validator_for(response.schema)
    allowed = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum",
               "$ref", "$defs", "description"}  # fmt: skip
    for node in nodes(response.schema):
        assert node.keys() <= allowed
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == [*node["properties"]]
        if "$ref" in node:
            assert node.keys() == {"$ref"}


def test_what_strict_schemas_cannot_say_is_in_the_description() -> None:
    line = AnswerShape.of(Line).response.schema["properties"]
    assert line["what"]["description"] == "What was bought. (minLength 1)"
    assert line["price"]["description"] == "default 0.0, minimum 0"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1, "not": {}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"type": "string", "contentEncoding": "x"}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}}},
        Open.model_json_schema(),
    ],
)
def test_a_schema_without_a_strict_form_is_asked_for_as_it_is(schema: dict[str, Any]) -> None:
    assert strict(schema) is None
    shape = AnswerShape.of(schema)
    assert not shape.response.strict
    assert shape.response.schema == schema


def test_a_schema_too_deep_is_not_strict_and_no_recursion_error() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    assert strict({"type": "object", "properties": {"a": deep}}) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("Invoice", "Invoice"), ("a b|c", "a_b_c"), ("", "answer"), ("x" * 99, "x" * 64)],
)
def test_names_are_such_as_providers_take(name: str, said: str) -> None:
    assert schema_name(name) == said


def test_definitions_stay_at_the_top_of_a_wrapped_schema() -> None:
    schema, is_wrapped = wrapped(msgspec.json.schema(Bill | Letter))
    assert is_wrapped
    assert sorted(schema["$defs"]) == ["Bill", "Letter", "Line"]
    with pytest.raises(ConfigError, match="refers to its own top"):
        wrapped({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]})


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Bill, '{"type": "Bill", "lines": []}', Bill([])),
        (Bill, 'Yes!\n```json\n{"type":"Bill","lines":[{"what":"x"}]}\n```', Bill([Line("x")])),
        (Bill, '<think>{"lines": 1}</think>{"lines": [], "note": "n"}', Bill([], "n")),
        (Bill | Letter, '{"type": "Letter"}', Letter()),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], '{"value": [1]}', [1]),
        (str, '{"value": "x"}', "x"),
        (bool, '{"value": true}', True),
        (Point, '{"x": 1, "more": 2}', Point(1)),
        (dict[str, int], '{"value": 3}', {"value": 3}),
    ],
)  # fmt: skip
def test_an_answer_is_read_whatever_stands_around_it(kind: Any, text: str, value: Any) -> None:
    assert AnswerShape.of(kind).read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Bill, "", "the answer has no text"),
        (Bill, " \n", "the answer has no text"),
        (Bill, "nope", "expected Bill: JSON is malformed"),
        (Bill | Letter, "[]", "expected Bill | Letter: Expected `object`"),
        (list[Line], '{"value": [{"price": 1}]}', "expected list[Line]: Object missing"),
        (Literal["a", "b"], '{"value": "c"}', "expected 'a' | 'b': Invalid enum value 'c'"),
        (Tree, '{"name": "root", "children": [{}]}', "children.0.name: Field required"),
        ({"type": "object", "required": ["a"]}, "{}", '"a" is a required property'),
        ({"properties": {"a": {"type": "string"}}}, '{"a": 1}', "a: 1 is not of type"),
        ({"type": "integer"}, '{"value": "x"}', "is not of type"),
        ({"type": "object"}, "{", "the answer is not JSON"),
        (Amount, '{"total": NaN}', "JSON has no nan"),
        (Amount, '{"total": 1e999}', "JSON has no inf"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said_with_its_place(
    kind: Any, text: str, said: str
) -> None:
    with pytest.raises(InvalidPayload) as wrong:
        AnswerShape.of(kind).read(text)
    assert said in str(wrong.value)


_KINDS = (Bill, Bill | Letter, list[Line], Tree, Open, str, {"type": "array"}, {"type": "object"})


@given(st.sampled_from(_KINDS), st.one_of(st.text(), st.from_regex(r'[\[\]{}":,a-z0-9\\ ]{0,40}')))
def test_any_text_is_a_value_or_a_refusal(kind: Any, text: str) -> None:
    with suppress(InvalidPayload):  # nothing else
        msgspec.json.encode(to_payload(AnswerShape.of(kind).read(text)))


_lines = st.builds(Line, st.text(min_size=1), st.floats(0, 1e9))
_bills = st.builds(Bill, st.lists(_lines), st.none() | st.text())
_values = st.one_of(_bills, st.builds(Letter, st.text()))


@given(_values)
def test_every_value_of_a_type_fits_its_strict_schema_and_is_read_back(value: Any) -> None:
    shape = AnswerShape.of(Bill | Letter)
    body = {"value": msgspec.to_builtins(value)}
    assert jsonschema_rs.validator_for(shape.response.schema).is_valid(body)
    assert shape.read(msgspec.json.encode(body).decode()) == value

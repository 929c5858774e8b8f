"""Arguments of tools with a schema in JSON: every finding is one that a model can act on."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from aixgo.errors import ConfigError, InvalidPayload
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.json_schema import MAX_FINDINGS

SCHEMA: dict[str, Any] = {
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "default": 3},
        "unit": {"enum": ["celsius", "kelvin"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "near": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["lat"]}]},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def decoded(value: Any) -> Any:
    return JsonArguments("weather", SCHEMA).decode(json.dumps(value).encode())


def test_arguments_that_fit_are_values_and_defaults_are_filled_in() -> None:
    assert decoded({"city": "Oslo", "near": {"lat": 1}}) == {
        "city": "Oslo",
        "days": 3,
        "near": {"lat": 1},
    }
    assert decoded({"city": "Oslo", "days": 1})["days"] == 1
    assert JsonArguments("weather", {}).schema == {"type": "object"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "tool 'weather': needs the argument 'city'"),
        ({"city": 5}, "tool 'weather': city: 5 is not of type \"string\""),
        ({"city": "Oslo", "dayz": 1}, "there is no parameter 'dayz'; did you mean 'days'?"),
        ({"city": "Oslo", "days": 0}, "days: 0 is less than the minimum of 1"),
        ({"city": "Oslo", "unit": "K"}, 'unit: "K" is not one of "celsius" or "kelvin"'),
        ({"city": "Oslo", "tags": ["a", 2]}, 'tags[1]: 2 is not of type "string"'),
        (
            {"city": "Oslo", "near": {}},
            'near: {} is not of type "null" or "lat" is a required property',
        ),
        ({"city": 5, "days": 0}, "; "),
        (["Oslo"], "are one JSON object, a member for each parameter"),
        ("Oslo", "are one JSON object, a member for each parameter"),
    ],
)
def test_what_does_not_fit_says_the_place_the_value_and_what_is_wanted(
    value: Any, text: str
) -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoded(value)
    assert text in str(raised.value)


def test_a_long_value_is_cut_and_what_is_wanted_is_not() -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoded({"city": "x" * 100_000})
    text = str(raised.value)
    assert len(text) < 300
    assert "characters more) is longer than 20 characters" in text


def test_the_number_of_findings_is_bounded() -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoded({"city": "Oslo", "tags": list(range(1_000))})
    assert str(raised.value).count("is not of type") == MAX_FINDINGS
    assert str(raised.value).endswith("and more")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"city": NaN}'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidPayload, match="are one JSON object"):
        JsonArguments("weather", SCHEMA).decode(body)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "the arguments are one JSON object, and their schema has the type"),
        ({"properties": {"a": {"type": "strin"}}}, 'properties.a.type: "strin" is not'),
        ({"properties": 5}, "properties: 5 is not of type"),
        ({"$schema": "https://example.com/own"}, "Unknown meta-schema"),
        ({"properties": {"a": {"pattern": "("}}}, 'properties.a.pattern: "(" is not a "regex"'),
    ],
)
def test_a_schema_that_is_none_is_an_error_of_the_declaration(
    schema: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        JsonArguments("weather", schema)
    assert "'weather'" in str(raised.value)
    assert text in str(raised.value)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/s.json", "file:///etc/hostname"])
def test_a_schema_opens_neither_connections_nor_files(reference: str) -> None:
    with pytest.raises(ConfigError, match="Retrieval is disabled"):
        JsonArguments("weather", {"properties": {"a": {"$ref": reference}}})


def test_a_pattern_that_backtracks_for_ever_ends() -> None:
    arguments = JsonArguments("t", {"properties": {"a": {"pattern": r"^(?=(a+)+$)(a+)+\1$"}}})
    with pytest.raises(InvalidPayload, match=r"^tool 't': a: "):
        arguments.decode(json.dumps({"a": "a" * 60 + "b"}).encode())


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ConfigError, match=r"pip install 'aixgo\[tools\]'"):
        JsonArguments("weather", SCHEMA)

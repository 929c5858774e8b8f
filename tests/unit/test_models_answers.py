"""What providers say differently, and how it comes out the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.errors import BadModelAnswer, ContentRefused, ModelUnavailable
from aixgo.models import ChatRequest, ResponseSchema
from aixgo.models.wires.assembly import ToolCalls
from aixgo.models.wires.chat import decode_chat
from aixgo.models.wires.classify import from_status, sanitised
from aixgo.models.wires.finish import finish_reason
from aixgo.models.wires.usage import usage_of
from aixgo.web.retry_after import retry_after_of

ASK = ChatRequest(model="openai/gpt-4o", messages=())


def test_some_servers_number_all_parallel_calls_zero() -> None:
    calls = ToolCalls()
    calls.add(0, index=0, call_id="a", name="f", arguments='{"x":')
    calls.add(0, index=0, call_id="", name="", arguments="1}")
    calls.add(0, index=0, call_id="b", name="g", arguments="{}")
    assert [(call.id, call.name, call.arguments) for call in calls.done()] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]


def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    call = b'{"function":{"name":"f"}}'
    body = b'{"choices":[{"message":{"tool_calls":[%b,%b]}}]}' % (call, call)
    first, second = decode_chat(ASK, body).message.tool_calls
    assert first.id
    assert second.id
    assert first.id != second.id
    assert first.arguments == "{}"


def test_arguments_as_an_object_become_their_text() -> None:
    body = b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":{"x": 1}}}]}}]}'
    assert decode_chat(ASK, body).message.tool_calls[0].arguments == '{"x":1}'


def test_content_in_parts_is_joined() -> None:
    body = b'{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"text":"b"}]}}]}'
    assert decode_chat(ASK, body).text == "ab"


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "x"])
def test_an_error_before_there_was_an_answer_is_the_servers_and_half_a_text_is_kept(
    reason: str,
) -> None:
    body = '{"choices":[{"message":{"content":%s},"finish_reason":"%s"}]}'
    for nothing in ('""', "null"):
        with pytest.raises(ModelUnavailable, match="openai/gpt-4o ended its answer with an error"):
            decode_chat(ASK, (body % (nothing, reason)).encode())
    half = decode_chat(ASK, (body % ('"half a te"', reason)).encode())
    assert (half.text, half.choices[0].finish_reason) == ("half a te", "error")


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(ContentRefused, match="I must not"):
        decode_chat(ASK, b'{"choices":[{"message":{"refusal":"I must not"}}]}')


@pytest.mark.parametrize(
    ("said", "calls", "wanted"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("STOP", False, "stop"),
        ("length", True, "length"),
        ("max_tokens", False, "length"),
        ("end_turn", False, "stop"),
        ("tool_use", True, "tool_calls"),
        ("content_filter", False, "content_filter"),
        ("something new", False, "error"),
        (None, False, "stop"),
    ],
)
def test_finish_reasons_are_those_of_the_port(said: str | None, calls: bool, wanted: str) -> None:
    assert finish_reason(said, has_tool_calls=calls) == wanted


def test_reasoning_tokens_that_a_provider_counts_apart_are_completion_tokens() -> None:
    assert usage_of(10, 5, total=115).completion_tokens == 105
    assert usage_of(10, 5, total=15).completion_tokens == 5
    assert usage_of(10, 5).completion_tokens == 5


def test_a_cut_answer_says_that_max_tokens_cut_it() -> None:
    schema = ResponseSchema(name="s", schema={"type": "object"})
    request = ChatRequest(model="openai/x", messages=(), response=schema, max_tokens=7)
    body = b'{"choices":[{"finish_reason":"length","message":{"content":"{\\"a\\": "}}]}'
    with pytest.raises(BadModelAnswer, match=r"raise max_tokens \(7\)"):
        decode_chat(request, body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_nothing(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers) == seconds


@given(st.text(max_size=2000), st.integers(300, 599))
def test_an_error_is_one_short_printable_line_whatever_came(text: str, status: int) -> None:
    said = str(from_status(status, text, provider="p"))
    assert len(said) < 500
    assert "\n" not in said


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijkl",
        "Bearer abcdefghijkl",
        "AIzaSyA-abcdefghijk",
        "hf_abcdefghijkl",
        "xai-abcdefghijkl",
    ],
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    assert sanitised(f"your key {secret} is wrong") == "your key *** is wrong"


def test_the_providers_sentence_is_taken_from_its_json() -> None:
    body = b'{"error": {"message": "No such model", "code": "model_not_found"}, "noise": [1, 2]}'
    said = str(from_status(404, body, provider="openai", model="gpt-9"))
    assert said.startswith("openai/gpt-9 answered 404: No such model (model_not_found); check")

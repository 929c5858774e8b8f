"""Whatever comes, only errors of the tree come out, and the pieces of a text are its whole."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from json import dumps
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aixgo.errors import ModelError
from aixgo.models import ChatMessage, ChatRequest, EmbedRequest, ResponseSchema
from aixgo.models.wires.chat import ChatStream, decode_chat, read_chat
from aixgo.models.wires.classify import from_status
from aixgo.models.wires.embeddings import decode_embeddings, decode_features
from aixgo.models.wires.responses import ResponsesStream, decode_responses
from aixgo.models.wires.schemas import JsonGate, json_in
from aixgo.models.wires.sse import Event
from aixgo.models.wires.tidy import tidy_chat, tidy_chunk
from aixgo.web.retry_after import retry_after_of

HI = (ChatMessage(role="user", content="hi"),)
CITY = ResponseSchema(name="c", schema={"type": "object", "required": ["city"]})
ASK = ChatRequest(model="openai/m", messages=HI)
ASK_JSON = ChatRequest(model="openai/m", messages=HI, response=CITY)
EMBED = EmbedRequest(model="openai/e", input=("a",))

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["stop", "f", "{}", '{"x":', "\ud83d", "429", "error", "[DONE]"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "index", "message", "delta", "content", "tool_calls", "function", "name",
             "arguments", "id", "finish_reason", "usage", "prompt_tokens", "total_tokens", "error",
             "code", "type", "text", "output", "response", "status", "data", "embedding", "model",
             "prompt_tokens_details", "cached_tokens", "item", "call_id", "refusal", "detail"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def try_all(body: bytes) -> None:
    for ask in (ASK, ASK_JSON):
        with suppress(ModelError):
            decode_chat(ask, body)
        with suppress(ModelError):
            decode_responses(ask, body)
        for stream in (ChatStream(ask), ResponsesStream(ask)):
            with suppress(ModelError):
                for name in ("", "error", "ping", "response.completed"):
                    stream.feed(Event(body, name))
            with suppress(ModelError):
                stream.response()
    with suppress(ModelError):
        decode_embeddings(EMBED, body)
    with suppress(ModelError):
        decode_features(EMBED, body)
    from_status(400, body, provider="p")


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    try_all(body)


@given(VALUES)
def test_any_json(value: Any) -> None:
    try_all(dumps(value).encode())


@given(st.lists(VALUES, max_size=4))
def test_any_choices(entries: list[Any]) -> None:
    for field in ("message", "delta"):
        choices = [{"index": 0, field: entry, "finish_reason": "stop"} for entry in entries]
        try_all(dumps({"choices": choices}).encode())
    for field in ("tool_calls", "content"):
        message = {"message": {field: entries}, "delta": {field: entries}}
        try_all(dumps({"choices": [message]}).encode())


@given(
    st.lists(st.text(max_size=12) | st.sampled_from(["\ud83d", "\ude00", "ä"]), max_size=8),
    st.booleans(),
)
def test_the_pieces_of_a_stream_are_its_text(pieces: list[str], whole_at_the_end: bool) -> None:
    stream = ChatStream(ASK)
    passed = "".join(
        stream.feed(Event(dumps({"choices": [{"delta": {"content": piece}}]}).encode()))
        for piece in pieces
    )
    end: dict[str, Any] = {"finish_reason": "stop"}
    if whole_at_the_end and "".join(pieces).isascii():
        end["message"] = {"content": "".join(pieces)}
    passed += stream.feed(Event(dumps({"choices": [end]}).encode()))
    assert stream.passed == passed
    response = stream.response()
    assert response.text.startswith(passed)
    assert len(response.text) - len(passed) <= 1  # half an emoji at the very end
    response.text.encode()  # no lone halves are left
    body = dumps({"choices": [{"message": {"content": "".join(pieces)}}]}).encode()
    assert decode_chat(ASK, body).text == response.text


COUNT = st.integers(-3, 40) | st.none() | st.just(10**400) | st.just(2.0)
NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens",
         "prompt_cache_hit_tokens", "cache_read_input_tokens"]  # fmt: skip
COUNTS = st.dictionaries(st.sampled_from(NAMES), COUNT)


@given(
    st.text(max_size=6) | st.none(),
    st.sampled_from(["stop", "length", "content_filter", "abort", None, ""]),
    COUNTS.map(lambda counts: {"prompt_tokens": 9, "completion_tokens": 3, **counts}),
    COUNTS | st.none(),
    st.sampled_from(
        [{}, {"error": None}, {"error": {"code": 429}}, {"model": "n"}, {"id": 7}, {"usage": None}]
    ),
    st.sampled_from([{}, {"usage": {"prompt_tokens": 5}}, {"index": 3}, {"index": None}]),
    st.sampled_from([{}, {"refusal": "no"}, {"tool_calls": [{"function": {"name": "f"}}]}]),
)
def test_the_fast_way_reads_what_the_other_way_reads(
    content: Any, finish: Any, usage: Any, details: Any, top: Any, choice: Any, message: Any
) -> None:
    counted = {**usage, "prompt_tokens_details": details}
    said = {"content": content, **message}
    answer = {"usage": counted, **top}
    answer["choices"] = [{"message": said, "finish_reason": finish, **choice}]
    body = dumps(answer).encode()
    tidy = tidy_chat(ASK, body)
    assert tidy is None or tidy == read_chat(ASK, body)
    answer["choices"] = [{"delta": said, "finish_reason": finish, **choice}]
    if not top:
        answer.pop("usage")
    event = Event(dumps(answer).encode())
    if tidy_chunk(event.data) is not None:
        one, other = ChatStream(ASK), ChatStream(ASK)
        assert one.feed(event) == other.read(event)
        assert one.response() == other.response()


def test_a_tidy_answer_takes_the_fast_way() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
    }
    assert tidy_chat(ASK, dumps({"choices": [choice], "usage": usage}).encode()) is not None
    piece = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
    assert tidy_chunk(dumps({"choices": [piece], "usage": None}).encode()) is not None


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=4) | st.just("city"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    st.sampled_from(["", "\n", " I hope that helps {you}", "\n```"]),
    st.lists(st.integers(0, 200), max_size=12),
    st.booleans(),
)
def test_the_json_of_a_stream_passes_as_it_comes_and_nothing_around_it(
    value: dict[str, Any], after: str, cuts: list[int], escaped: bool
) -> None:
    value = {"city": "x", **value}
    written = dumps(value, ensure_ascii=escaped)
    text = f"\n {written}{after}"
    gate = JsonGate(CITY.schema)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    passed = "".join(gate.feed(text[a:b]) for a, b in pairwise(edges))
    assert passed == written == json_in(text, CITY.schema)
    assert gate.answer(passed, text) == written


@given(st.text(alphabet='{}[]"\\`<think>/json:, \n1', max_size=300))
def test_looking_for_json_ends_with_a_text(text: str) -> None:
    found = json_in(text, CITY.schema)
    assert found == text.strip(" \t\r\n\ufeff") or found in text


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,30} [A-Z][a-z]{2} \d{1,30} "))
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    found = retry_after_of({"Retry-After": value})
    assert found is None or found >= 0.0

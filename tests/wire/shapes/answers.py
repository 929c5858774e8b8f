"""Answers in one piece as servers really send them."""

from __future__ import annotations

from aixgo.errors import (
    BadModelAnswer,
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
)

from ._shape import Shape, call, events, said, text, whole


def answer(name: str, body: bytes, **wanted: object) -> Shape:
    """Return a shape of an answer to a request that is not streamed."""
    return Shape(name=name, body=body, asked="chat", **wanted)  # type: ignore[arg-type]  # a table


def failed(name: str, error: type[ModelError], **fields: object) -> Shape:
    """Return a shape of an error with status 200."""
    return answer(name, whole_error(**fields), error=error)


def whole_error(**fields: object) -> bytes:
    """Return an error as OpenAI writes it."""
    from json import dumps

    return dumps({"error": {"message": "no", **fields}}).encode()


MESSAGES = (
    answer("plain", whole(text("Hi")), text="Hi"),
    answer("a BOM", b"\xef\xbb\xbf" + whole(text("Hi")), text="Hi"),
    answer(
        "M8 the index is null",
        whole(text("Hi")).replace(b'"index": 0', b'"index": null'),
        text="Hi",
    ),
    answer("M8 the message is null", whole(None), text=""),
    answer(
        "M8 the function is null",
        whole(text("Hi", tool_calls=[{"function": None}, None])),
        text="Hi",
    ),
    answer(
        "content as parts",
        whole(text([{"type": "text", "text": "H"}, {"type": "image"}, "i"])),
        text="Hi",
    ),
    answer("content that is a number", whole(text(42)), text="42"),
    answer(
        "content that is not quoted JSON", whole(text({"city": "Rome"})), text='{"city": "Rome"}'
    ),
    answer(
        "a delta where a message belongs",
        whole(text("Hi")).replace(b'"message"', b'"delta"'),
        text="Hi",
    ),
    answer("a stream that nobody asked for", events(*said("Hi there")), text="Hi there"),
    answer("status 201", whole(text("Hi")), status=201, text="Hi"),
    answer(
        "other types everywhere",
        whole(text("Hi", tool_calls={}, refusal=7), id=7, model=[], usage="none", error=None),
        text="Hi",
    ),
    answer("no finish reason", whole(text("Hi"), None), text="Hi"),
    answer("a finish reason that is not a word", whole(text("Hi"), {"type": "stop"}), text="Hi"),
    answer("half an emoji", whole(text("a\ud83d")), text="a\ufffd"),
    answer(
        "the function call of 2023",
        whole(text(None, function_call={"name": "f", "arguments": "{}"})),
        calls=(("f", "{}"),),
        finish="tool_calls",
    ),
    answer(
        "two calls without ids",
        whole(text(None, tool_calls=[call("f", "{}"), call("f", "{}")])),
        calls=(("f", "{}"), ("f", "{}")),
        finish="tool_calls",
    ),
    answer(
        "a refusal",
        whole(text(None, refusal="I must not")),
        error=ContentRefused,
        says="I must not",
    ),
    answer("no choices", b'{"choices":[]}', error=BadModelAnswer, says="without a choice"),
    answer("M5 an abort", whole(text("Ha"), "abort"), text="Ha", finish="error"),
)

BYTES = (
    answer(
        "M6 bytes that are not UTF-8",
        whole(text("Hi")).replace(b"Hi", b"\xff"),
        error=BadModelAnswer,
    ),
    answer(
        "M6 the same in Responses",
        b'{"output":[{"type":"message","content":[{"text":"\xff"}]}]}',
        wire="responses",
        error=BadModelAnswer,
    ),
    answer("a page", b"<html>nginx</html>", error=BadModelAnswer, says="base URL"),
    answer("cut", whole(text("Hi"))[:-9], error=ModelUnavailable, says="in the middle"),
    answer(
        "cut inside a character",
        whole(text("x")).replace(b"x", "ä".encode()).partition(b"\xa4")[0],
        error=ModelUnavailable,
    ),
    answer("nothing", b"", error=ModelUnavailable),
    answer("a list", b"[]", error=BadModelAnswer),
    answer("very deep", b"[" * 200_000, error=ModelError),
    answer(
        "a number of 10 000 digits",
        whole(text("Hi"), created=0).replace(b'"created": 0', b'"created": ' + b"9" * 10_000),
        text="Hi",
    ),
)


def counts(name: str, usage: object, wanted: tuple[int, int, int]) -> Shape:
    """Return a shape of an answer with this usage."""
    return answer(f"M9 {name}", whole(text("Hi"), usage=usage), text="Hi", usage=wanted)


COUNTS = (
    counts("floats", {"prompt_tokens": 1000.0, "completion_tokens": 2.0}, (1000, 2, 0)),
    counts("text", {"prompt_tokens": "9", "completion_tokens": "2"}, (9, 2, 0)),
    counts("input and output", {"input_tokens": 9, "output_tokens": 2}, (9, 2, 0)),
    counts(
        "Moonshot's cache",
        {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4},
        (9, 2, 4),
    ),
    counts(
        "DeepSeek's cache",
        {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "prompt_cache_hit_tokens": 4,
            "prompt_cache_miss_tokens": 5,
        },
        (9, 2, 4),
    ),
    counts(
        "details that are null",
        {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None},
        (9, 2, 0),
    ),
    counts("a list", [1, 2], (0, 0, 0)),
    counts(
        "A17 negative",
        {"prompt_tokens": -9, "completion_tokens": -2, "total_tokens": -11},
        (0, 0, 0),
    ),
    counts(
        "A17 400 digits",
        {"prompt_tokens": 10**400, "completion_tokens": 2, "total_tokens": 10**400},
        (0, 2, 0),
    ),
    counts(
        "not a number",
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        (0, 0, 0),
    ),
    counts("truth values", {"prompt_tokens": True, "completion_tokens": 2}, (0, 2, 0)),
    answer(
        "M9 in the choice",
        whole(text("Hi")).replace(b'"index"', b'"usage": {"prompt_tokens": 9}, "index"'),
        text="Hi",
        usage=(9, 0, 0),
    ),
)

CODES = (
    failed("M4 context", ContextTooLong, code="context_length_exceeded"),
    failed("M4 rate", RateLimited, code="rate_limit_exceeded"),
    failed("M4 a number as text", RateLimited, code="429"),
    failed("M4 a number", ModelAuthFailed, code=401),
    failed("M4 the type", RateLimited, type="rate_limit_error"),
    failed("M4 Google's status", RateLimited, code=0, status="RESOURCE_EXHAUSTED"),
    failed("M4 the key", ModelAuthFailed, code="invalid_api_key", type="invalid_request_error"),
    failed("M4 the money", ModelAuthFailed, code="insufficient_quota"),
    failed("M4 the model", ModelNotFound, code="model_not_found"),
    failed("M4 the request", BadModelRequest, type="invalid_request_error"),
    failed("M4 the filter", ContentRefused, code="content_policy_violation"),
    failed("M4 overload", ModelUnavailable, type="overloaded_error"),
    failed("M4 a time-out", ModelTimeout, type="timeout"),
    failed("M4 a class of Python", BadModelRequest, type="BadRequestError"),
    failed("M4 nothing", ModelUnavailable),
    failed("M4 only a sentence", ContextTooLong, message="prompt is too long: 9 tokens"),
    answer("an error in words", b'{"error":"rate limit reached"}', error=RateLimited),
    answer("vLLM", b'{"object":"error","message":"no such model","code":404}', error=ModelNotFound),
    answer(
        "FastAPI", b'{"detail":"Not authenticated"}', error=ModelError, says="Not authenticated"
    ),
    answer(
        "LM Studio: too long with 500",
        b'{"error":"the prompt exceeds the context length"}',
        status=500,
        error=ContextTooLong,
    ),
)


def schema(name: str, content: str, wanted: str = '{"city":"Rome"}') -> Shape:
    """Return a shape of an answer that must be JSON."""
    return answer(f"M13 {name}", whole(text(content)), schema=True, text=wanted)


SCHEMAS = (
    schema("alone", '{"city":"Rome"}'),
    schema("blanks and a BOM", '\ufeff\n {"city":"Rome"} \n'),
    schema("a fence", 'Here it is:\n```json\n{"city":"Rome"}\n```\nEnjoy.'),
    schema("a fence without a language", '```\n{"city":"Rome"}\n```'),
    schema("a fence that is not closed", '```json\n{"city":"Rome"}'),
    schema("thoughts", '<think>{"city":"Bonn"} or ```{"city":"Bonn"}```</think>{"city":"Rome"}'),
    schema("the end of thoughts alone", 'hm {"city":"Bonn"}</think>\n\n{"city":"Rome"}'),
    schema("prose around it", 'It fits {this}: {"city":"Rome"}. Yes.'),
    schema("an example first", 'Like {"town":"X"}: {"city":"Rome"}'),
    schema("JSON in a text of JSON", '"{\\"city\\":\\"Rome\\"}"'),
    answer("M13 none", whole(text("Rome")), schema=True, error=BadModelAnswer, says="not JSON"),
    answer(
        "M13 another",
        whole(text('{"town":"Rome"}')),
        schema=True,
        error=BadModelAnswer,
        says="city",
    ),
    answer(
        "M13 cut",
        whole(text('{"city":"Ro'), "length"),
        schema=True,
        error=BadModelAnswer,
        says="max_tokens",
    ),
)

ANSWERS = (*MESSAGES, *BYTES, *COUNTS, *CODES, *SCHEMAS)

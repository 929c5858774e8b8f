"""Streams as servers really send them."""

from __future__ import annotations

from aixgo.errors import (
    BadModelAnswer,
    BadModelRequest,
    ContextTooLong,
    ModelAuthFailed,
    ModelUnavailable,
    RateLimited,
)

from ._shape import Shape, call, delta, events, said, text, whole

_F = (("f", '{"x":1}'),)
_HI = events(*said("Hi there"))
_TOO_LONG = {"code": 400, "message": "the request exceeds the available context size"}

FRAMES = (
    Shape(name="a BOM before the first event", body=b"\xef\xbb\xbf" + _HI, text="Hi there"),
    Shape(name="CRLF", body=_HI.replace(b"\n", b"\r\n"), text="Hi there"),
    Shape(name="CR alone", body=_HI.replace(b"\n", b"\r"), text="Hi there"),
    Shape(name="no blank after data:", body=_HI.replace(b"data: ", b"data:"), text="Hi there"),
    Shape(name="DONE with a blank", body=_HI.replace(b"DONE]", b"DONE] "), text="Hi there"),
    Shape(name="an empty data line first", body=b"data:\n\n" + _HI, text="Hi there"),
    Shape(
        name="comments of OpenRouter and blank lines",
        body=b"\n\n: OPENROUTER PROCESSING\n\n" + _HI,
        text="Hi there",
    ),
    Shape(
        name="pings that are events of their own",
        body=b'event: ping\ndata: {"type":"ping"}\n\nevent: ping\ndata: now\n\n' + _HI,
        text="Hi there",
    ),
    Shape(
        name="names, ids and retry beside the data",
        body=_HI.replace(b"data: {", b"event: message\nid: 7\nretry: 10\ndata: {"),
        text="Hi there",
    ),
    Shape(
        name="an object over several lines of data",
        body=_HI.replace(b'"choices"', b'\ndata: "choices"'),
        text="Hi there",
    ),
    Shape(name="a line that is not of the format", body=b"hello\n" + _HI, text="Hi there"),
    Shape(name="a sign of life that is not JSON", body=b"data: alive\n\n" + _HI, text="Hi there"),
    Shape(
        name="an emoji cut in two",
        body=b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"\\ude00b"},"finish_reason":"stop"}]}\n\n',
        text="a\N{GRINNING FACE}b",
    ),
    Shape(
        name="half an emoji at the end",
        body=b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n',
        text="a\ufffd",
    ),
    Shape(
        name="NaN among the fields that are not ours",
        body=_HI.replace(b'"id"', b'"logprobs":[NaN,-Infinity],"id"'),
        text="Hi there",
    ),
)

ENDS = (
    Shape(name="a finish reason and no DONE", body=events(*said("Hi"), done=False), text="Hi"),
    Shape(
        name="M17 the socket stays open after the finish reason",
        body=events(*said("Hi"), done=False),
        then="hold",
        text="Hi",
    ),
    Shape(
        name="the socket breaks after the finish reason",
        body=events(*said("Hi"), done=False),
        then="break",
        text="Hi",
    ),
    Shape(name="M17 DONE without a finish reason", body=events(*said("Hi", None)), text="Hi"),
    Shape(
        name="no end at all",
        body=events(*said("Hi", None), done=False),
        error=ModelUnavailable,
        says="in the middle",
    ),
    Shape(
        name="M10 the socket closes inside an event",
        body=events(delta(content="Hi"), done=False) + b'data: {"choices":[{"del',
        error=ModelUnavailable,
        says="in the middle",
    ),
    Shape(
        name="M10 the socket breaks inside an event",
        body=b'data: {"choices":[{"del',
        then="break",
        error=ModelUnavailable,
        says="in the middle",
    ),
    Shape(name="nothing", body=b"", error=ModelUnavailable, says="in the middle"),
    Shape(
        name="a sentence instead of events",
        body=b"upstream connect error\n",
        error=ModelUnavailable,
        says="upstream connect error",
    ),
    Shape(
        name="M5 DeepSeek lacks resources",
        body=events(*said("Ha", "insufficient_system_resource")),
        text="Ha",
        finish="error",
    ),
    Shape(name="M5 SGLang aborts", body=events(*said("Ha", "abort")), text="Ha", finish="error"),
    Shape(
        name="M5 a broken network",
        body=events(*said("Ha", "network_error")),
        text="Ha",
        finish="error",
    ),
    Shape(
        name="M5 Mistral's length",
        body=events(*said("Ha", "model_length")),
        text="Ha",
        finish="length",
    ),
    Shape(
        name="M5 Zhipu's filter",
        body=events(*said("Ha", "sensitive")),
        text="Ha",
        finish="content_filter",
    ),
    Shape(
        name="M5 a word that is new",
        body=events(*said("Ha", "vanished")),
        text="Ha",
        finish="error",
    ),
)

TOOLS = (
    Shape(
        name="M1 another id without a name",
        body=events(
            delta(tool_calls=[call("f", "", index=0, id="A")]),
            delta(tool_calls=[call(None, '{"x":1}', index=0, id="B")]),
            delta("tool_calls"),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="M1 arguments under another number",
        body=events(
            delta(tool_calls=[call("f", "", index=0, id="A")]),
            delta(tool_calls=[call(None, '{"x":1}', index=1)]),
            delta("tool_calls"),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="M2 two calls without ids or numbers",
        body=events(
            delta(tool_calls=[call("f", '{"x":1}')]),
            delta(tool_calls=[call("f", '{"x":2}')]),
            delta("stop"),
        ),
        calls=(("f", '{"x":1}'), ("f", '{"x":2}')),
        finish="tool_calls",
    ),
    Shape(
        name="M2 two calls, both numbered 0",
        body=events(
            delta(tool_calls=[call("f", '{"x":1}', index=0)]),
            delta(tool_calls=[call("g", '{"x":2}', index=0)]),
            delta("tool_calls"),
        ),
        calls=(("f", '{"x":1}'), ("g", '{"x":2}')),
        finish="tool_calls",
    ),
    Shape(
        name="the name with every piece",
        body=events(
            *(delta(tool_calls=[call("f", piece, index=0)]) for piece in ("", '{"x"', ":1}", "")),
            delta("tool_calls"),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="the whole call twice",
        body=events(
            delta(tool_calls=[call("f", '{"x":1}', index=0, id="A")]),
            delta("tool_calls", tool_calls=[call("f", '{"x":1}', index=0, id="A")]),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="an empty object before the arguments",
        body=events(
            delta(tool_calls=[call("f", "{}", index=0, id="A")]),
            delta(tool_calls=[call(None, '{"x":1}', index=0)]),
            delta("tool_calls"),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="M8 nulls and an entry that is null",
        body=events(
            delta(tool_calls=[None, {"index": 0, "id": None, "function": None}]),
            delta(tool_calls=[call("f", '{"x":1}', index=None, id=None)], content=None),
            delta("tool_calls", role=None, tool_calls=None),
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="arguments as an object",
        body=events(
            delta("tool_calls", tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}}}])
        ),
        calls=_F,
        finish="tool_calls",
    ),
    Shape(
        name="the function calls of 2023",
        body=events(
            delta(function_call={"name": "f", "arguments": ""}),
            delta(function_call={"arguments": '{"x":1}'}),
            delta("function_call"),
        ),
        calls=_F,
        finish="tool_calls",
    ),
)

COUNTS = (
    Shape(
        name="M9 Moonshot: usage in the choice",
        body=events(
            *said("Hi", None),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "stop",
                        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4},
                    }
                ]
            },
        ),
        text="Hi",
        usage=(9, 2, 4),
    ),
    Shape(
        name="M9 an empty usage afterwards",
        body=events(
            *said("Hi"),
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
            {"choices": [], "usage": {}},
            {"choices": [], "usage": None},
        ),
        text="Hi",
        usage=(9, 2, 0),
    ),
    Shape(
        name="M9 usage with every piece (vLLM)",
        body=events(
            {**delta(content="H"), "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
            {**delta("stop", content="i"), "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        ),
        text="Hi",
        usage=(9, 2, 0),
    ),
    Shape(
        name="input and output counted in two places",
        body=events(
            {"choices": [], "usage": {"input_tokens": 5, "cache_read_input_tokens": 4}},
            *said("Hi"),
            {"choices": [], "usage": {"output_tokens": 2}},
        ),
        text="Hi",
        usage=(9, 2, 4),
    ),
)

NO_STREAM = (
    Shape(
        name="M3 an error as JSON",
        body=b'{"error":{"code":400,"message":"the request exceeds the available context size"}}',
        headers={"Content-Type": "application/json"},
        error=ContextTooLong,
        says="available context size",
    ),
    Shape(
        name="M3 an error as JSON that calls itself a stream",
        body=b'  {"error":{"code":"invalid_api_key","message":"who are you"}}',
        error=ModelAuthFailed,
        says="who are you",
    ),
    Shape(
        name="M3 llama.cpp: a line of its own",
        body=b'error: {"code":400,"message":"the request exceeds the available context size",'
        b'"type":"exceed_context_size_error"}\n\n',
        error=ContextTooLong,
        says="available context size",
    ),
    Shape(
        name="M3 llama.cpp: a line of its own, wrapped",
        body=events({}, done=False) + b'error: {"error":{"code":429,"message":"later"}}\n\n',
        error=RateLimited,
        says="later",
    ),
    Shape(
        name="M3 vLLM: an object that is an error",
        body=events({"object": "error", "message": "maximum context length is 4096", "code": 400}),
        error=ContextTooLong,
        says="4096",
    ),
    Shape(
        name="M3 an event that is an error",
        body=b'event: error\ndata: {"message":"slow down","type":"rate_limit_error"}\n\n',
        error=RateLimited,
        says="slow down",
    ),
    Shape(
        name="M3 an error in words",
        body=b"data: error: rate limit exceeded\n\n",
        error=RateLimited,
        says="rate limit",
    ),
    Shape(
        name="M4 an error in the middle",
        body=events(delta(content="Hi"), {"error": {"code": "429", "message": "slow"}}),
        error=RateLimited,
        says="slow",
    ),
    Shape(
        name="M3 a whole completion",
        body=whole(text("Hi there"), usage={"prompt_tokens": 9, "completion_tokens": 2}),
        text="Hi there",
        usage=(9, 2, 0),
    ),
    Shape(
        name="a whole completion as one event",
        body=events({"choices": [{"index": 0, "message": text("Hi"), "finish_reason": "stop"}]}),
        text="Hi",
    ),
    Shape(
        name="the whole message again at the end",
        body=events(
            *said("Hi there", None),
            {"choices": [{"message": text("Hi there"), "finish_reason": "stop"}]},
        ),
        text="Hi there",
    ),
    Shape(
        name="M3 a page",
        body=b"<!DOCTYPE html><html><body>Welcome to nginx</body></html>",
        headers={"Content-Type": "text/html"},
        error=BadModelAnswer,
        says="base URL",
    ),
    Shape(
        name="M6 bytes that are not UTF-8",
        body=events(delta(content="Hi"), done=False).replace(b"Hi", b"\xff\xfe"),
        error=BadModelAnswer,
    ),
    Shape(
        name="an object that is not JSON",
        body=b"data: {'choices': []}\n\n",
        error=BadModelAnswer,
    ),
    Shape(
        name="FastAPI's detail",
        body=b'{"detail":[{"loc":["body","messages"],"msg":"field required"}]}',
        status=422,
        error=BadModelRequest,
        says="field required",
    ),
)

SCHEMAS = (
    Shape(
        name="JSON alone",
        schema=True,
        body=events(*said('{"city":"Rome"}')),
        text='{"city":"Rome"}',
    ),
    Shape(
        name="M13 in a fence",
        schema=True,
        body=events(*said('```json\n{"city":"Rome"}\n```')),
        text='{"city":"Rome"}',
    ),
    Shape(
        name="M13 after thoughts",
        schema=True,
        body=events(*said('<think>Is it {"city":"Bonn"}? No.</think>\n{"city":"Rome"}')),
        text='{"city":"Rome"}',
    ),
    Shape(
        name="M13 with an explanation after it",
        schema=True,
        body=events(*said('{"city":"R\\"}o"} I hope that helps {you}')),
        text='{"city":"R\\"}o"}',
    ),
    Shape(
        name="prose",
        schema=True,
        body=events(*said("Rome it is")),
        error=BadModelAnswer,
        says="not JSON",
    ),
)

RESPONSES = (
    Shape(
        name="DONE at the end",
        wire="responses",
        body=events(
            {"type": "response.output_text.delta", "delta": "Hi"},
            {
                "type": "response.completed",
                "response": {
                    "output": [
                        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
                    ],
                    "usage": {
                        "input_tokens": 9,
                        "output_tokens": 2,
                        "input_tokens_details": {"cached_tokens": 4},
                    },
                },
            },
        ),
        text="Hi",
        usage=(9, 2, 4),
    ),
    Shape(
        name="types only as names of events",
        wire="responses",
        body=b'event: response.output_text.delta\ndata: {"delta":"Hi"}\n\n'
        b'event: response.completed\ndata: {"response":{"output":null,"usage":null}}\n\n',
        text="Hi",
    ),
    Shape(
        name="incomplete",
        wire="responses",
        body=events(
            {"type": "response.output_text.delta", "delta": "Hi"},
            {
                "type": "response.incomplete",
                "response": {"incomplete_details": {"reason": "max_output_tokens"}},
            },
        ),
        text="Hi",
        finish="length",
    ),
    Shape(
        name="failed",
        wire="responses",
        body=events(
            {
                "type": "response.failed",
                "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}},
            }
        ),
        error=RateLimited,
    ),
    Shape(
        name="cut",
        wire="responses",
        body=events({"type": "response.output_text.delta", "delta": "Hi"}, done=False)
        + b'data: {"ty',
        error=ModelUnavailable,
        says="in the middle",
    ),
)

STREAMS = (*FRAMES, *ENDS, *TOOLS, *COUNTS, *NO_STREAM, *SCHEMAS, *RESPONSES)

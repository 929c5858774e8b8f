"""Promises that only a server can test: it misbehaves on order and sees what a client does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from msgspec.structs import replace

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
from aixgo.models.messages import ChatMessage, ToolCall
from aixgo.testing.expect import equal, expect
from aixgo.testing.fake_provider import Fail, Raw, Received, Say
from aixgo.testing.model_checks._stage import (
    CITY,
    SECRET,
    WEATHER,
    Check,
    Stage,
    failing,
    failing_in_time,
    hung_up,
    streamed,
)
from aixgo.testing.waiting import PATIENCE_SECONDS


async def what_is_set_is_sent_and_nothing_else(stage: Stage) -> None:
    """Temperature 0 is a temperature; what is left out is the provider's to choose."""
    await stage.model.chat(
        stage.ask(temperature=0.0, top_p=0.5, stop=("END",), seed=7, max_tokens=16)
    )
    wanted = {"temperature": 0.0, "top_p": 0.5, "stop": ["END"], "seed": 7, "max_tokens": 16}
    body = stage.fake.requests[-1].body
    equal("fields", {name: body.get(name) for name in wanted}, wanted)
    await stage.model.chat(stage.ask())
    left = stage.fake.requests[-1].body.keys() & {*wanted, "tools", "tool_choice"}
    equal("fields that were not set", left, set())


async def the_system_prompt_goes_first_and_the_key_into_a_header(stage: Stage) -> None:
    """The conversation arrives as it is, and the key nowhere but in the Authorization header."""
    request = stage.ask("Hi.")
    system = ChatMessage(role="system", content="Be terse.")
    await stage.model.chat(replace(request, messages=(system, *request.messages)))
    received = stage.fake.requests[-1]
    roles = [message["role"] for message in received.body["messages"]]
    equal("roles", roles, ["system", "user"])
    equal("system prompt", received.body["messages"][0]["content"], "Be terse.")
    equal("header", received.headers.get("authorization"), f"Bearer {SECRET}")
    expect(SECRET not in f"{received.path} {received.body!r}", "the key is not only in the header")


async def parallel_tool_calls_arrive_whole_and_in_order(stage: Stage) -> None:
    """Whole and streamed: ids, names, arguments and the text beside them."""
    calls = tuple(
        ToolCall(id=f"call_{name}", name="get_weather", arguments=f'{{"city":"{name}"}}')
        for name in ("Rome", "Paris", "Bonn")
    )
    said = Say("Let me see.", tool_calls=calls)
    stage.fake.will(said, said)
    request = stage.ask("Weather?", tools=(WEATHER,))
    whole = await stage.model.chat(request)
    _, response = await streamed(stage, request)
    for answer in (whole, response):
        equal("tool calls", answer.message.tool_calls, calls)
        equal("text", answer.text, "Let me see.")
        equal("finish", answer.choices[0].finish_reason, "tool_calls")


_TOO_LONG = "maximum context length is 8192 tokens"
_STATUSES: tuple[tuple[Fail, type[ModelError], bool], ...] = (
    (Fail(400), BadModelRequest, False),
    (Fail(400, message=_TOO_LONG, code="context_length_exceeded"), ContextTooLong, False),
    (Fail(400, message="content policy", code="content_policy_violation"), ContentRefused, False),
    (Fail(401), ModelAuthFailed, False),
    (Fail(402), ModelAuthFailed, False),
    (Fail(403), ModelAuthFailed, False),
    (Fail(404), ModelNotFound, False),
    (Fail(408), ModelTimeout, True),
    (Fail(413), BadModelRequest, False),
    (Fail(422), BadModelRequest, False),
    (Fail(429), RateLimited, True),
    (Fail(429, message="see billing", code="insufficient_quota"), ModelAuthFailed, False),
    (Fail(500), ModelUnavailable, True),
    (Fail(502), ModelUnavailable, True),
    (Fail(503), ModelUnavailable, True),
    (Fail(504), ModelTimeout, True),
    (Fail(529), ModelUnavailable, True),
)


async def every_status_has_its_error_and_is_tried_once(stage: Stage) -> None:
    """Adapters never retry: that is written once, around the port."""
    for failure, expected, retryable in _STATUSES:
        for stream in (False, True):
            stage.fake.will(failure)
            before = stage.fake.count
            error = await failing(stage, stage.ask(), ModelError, stream=stream)
            what = f"status {failure.status} ({failure.message}), streamed {stream}: {error}"
            equal(what, (type(error), error.retryable), (expected, retryable))
            equal(f"provider, {what}", error.provider, stage.chat_model.partition("/")[0])
            equal(f"requests, {what}", stage.fake.count - before, 1)


async def retry_after_reaches_the_caller(stage: Stage) -> None:
    """As seconds, on the error."""
    for stream in (False, True):
        stage.fake.will(Fail(429, retry_after=7))
        error = await failing(stage, stage.ask(), RateLimited, stream=stream)
        equal("retry_after", error.retry_after, 7.0)


async def errors_say_what_the_provider_said_but_never_the_key(stage: Stage) -> None:
    """An excerpt in one printable line, and no key in it, its cause, or the adapter's repr."""
    stage.fake.will(Fail(401, message=f"Incorrect key {SECRET}.\x07\n" + "blah " * 500))
    error = await failing(stage, stage.ask(), ModelAuthFailed)
    expect("Incorrect key" in str(error), f"the provider's words are missing: {error}")
    shown = f"{error!r} {error.__cause__!r} {stage.model!r}"
    expect(SECRET not in shown, f"the key is shown: {shown}")
    expect(len(str(error)) < 600, f"an error of {len(str(error))} characters")
    expect(str(error).isprintable(), f"control characters in {error!r}")


async def an_answer_without_choices_is_a_bad_answer(stage: Stage) -> None:
    """No caller has to check whether `choices[0]` exists."""
    stage.fake.will(Say("?", choices=False))
    await failing(stage, stage.ask(), BadModelAnswer)


async def an_answer_that_fails_its_schema_is_a_bad_answer(stage: Stage) -> None:
    """Prose, cut JSON, a missing field, another type: retryable, for the caller to decide."""
    for text in ("Paris, of course!", '{"city": "Par', '{"town": "Paris"}', "[]"):
        for stream in (False, True):
            stage.fake.will(Say(text))
            request = stage.ask(response=CITY)
            error = await failing(stage, request, BadModelAnswer, stream=stream)
            expect(error.retryable, f"{error!r} is not retryable")


async def a_chat_that_hangs_ends_at_its_deadline(stage: Stage) -> None:
    """And its socket is closed."""
    stage.fake.will(Say("Never.", hang=True))
    number = len(stage.fake.requests) + 1
    await failing_in_time(stage, stage.ask(timeout=0.3), stream=False)
    await hung_up(await stage.fake.received(number))


async def a_dripping_stream_ends_at_its_deadline(stage: Stage) -> None:
    """Every piece comes in time: only a deadline for the whole ends this."""
    stage.fake.will(Say("drip " * 1000, drip=0.02))
    number = len(stage.fake.requests) + 1
    await failing_in_time(stage, stage.ask(timeout=0.4), stream=True)
    await hung_up(await stage.fake.received(number))


async def a_cancelled_call_closes_its_socket(stage: Stage) -> None:
    """Whole or in the middle of a stream: an answer that is not read is not paid for either."""
    for stream in (False, True):
        stage.fake.will(Say("One two three.", hang=True))
        number = len(stage.fake.requests) + 1
        request = stage.ask()
        call = asyncio.ensure_future(
            streamed(stage, request) if stream else stage.model.chat(request)
        )
        received = await _within_patience(stage, number)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        expect(call.cancelled(), "the call swallowed its cancellation")
        await hung_up(received)


async def a_stream_that_is_left_early_closes_its_socket(stage: Stage) -> None:
    """Leaving the block is enough."""
    stage.fake.will(Say("drip " * 1000, drip=0.02))
    number = len(stage.fake.requests) + 1
    async with stage.model.stream(stage.ask()) as chunks:
        await anext(chunks)
    await hung_up(await _within_patience(stage, number))


async def a_stream_that_breaks_is_an_error_and_no_answer(stage: Stage) -> None:
    """Half an answer is never given as a whole one."""
    stage.fake.will(Say("One two three four five.", cut=3))
    seen: list[str] = []
    try:
        async with stage.model.stream(stage.ask()) as chunks:
            async for chunk in chunks:
                expect(chunk.response is None, "half an answer is given as a whole one")
                seen.append(chunk.text)
    except ModelUnavailable:
        equal("what came before it broke", "".join(seen), "One two ")
        return
    raise AssertionError(f"the broken stream ended as if it were whole, with {seen!r}")


async def garbage_is_an_error_of_the_tree(stage: Stage) -> None:
    """Whatever bytes come, callers see a `ModelError`."""
    for garbage in (b"<html>Bad gateway</html>", b"", b"[]", b'{"choices": 7}', b"\xff\xfe"):
        for stream in (False, True):
            stage.fake.will(Raw(garbage, headers={"Content-Type": "application/json"}))
            await failing(stage, stage.ask(), ModelError, stream=stream)


async def _within_patience(stage: Stage, number: int) -> Received:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await stage.fake.received(number)


WIRE: tuple[Check, ...] = (
    what_is_set_is_sent_and_nothing_else,
    the_system_prompt_goes_first_and_the_key_into_a_header,
    parallel_tool_calls_arrive_whole_and_in_order,
    every_status_has_its_error_and_is_tried_once,
    retry_after_reaches_the_caller,
    errors_say_what_the_provider_said_but_never_the_key,
    an_answer_without_choices_is_a_bad_answer,
    an_answer_that_fails_its_schema_is_a_bad_answer,
    a_chat_that_hangs_ends_at_its_deadline,
    a_dripping_stream_ends_at_its_deadline,
    a_cancelled_call_closes_its_socket,
    a_stream_that_is_left_early_closes_its_socket,
    a_stream_that_breaks_is_an_error_and_no_answer,
    garbage_is_an_error_of_the_tree,
)

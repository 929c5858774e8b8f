"""Retries and the deadline around the port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.errors import (
    AixgoError,
    BadModelAnswer,
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelNotFound,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    UnsupportedByModel,
)
from aixgo.models import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    EmbedRequest,
    Resilient,
    ScriptedModel,
)
from aixgo.models.resilient import backoff

pytestmark = pytest.mark.virtual_time

ASK = ChatRequest(model="x/y", messages=(ChatMessage(role="user", content="hi"),))


def around(model: ScriptedModel, *, timeout: float = 30.0, attempts: int = 3) -> Resilient:
    return Resilient(model, timeout=timeout, max_attempts=attempts, wait=lambda _: 0.0)


@pytest.mark.parametrize("error", [RateLimited, ModelUnavailable, ModelTimeout])
async def test_what_may_pass_is_tried_again(error: type[AixgoError]) -> None:
    model = ScriptedModel([error("no"), error("no"), "yes"])
    assert (await around(model).chat(ASK)).text == "yes"
    assert model.calls == 3


@pytest.mark.parametrize(
    "error",
    [
        BadModelRequest,
        ContextTooLong,
        ContentRefused,
        ModelAuthFailed,
        ModelNotFound,
        UnsupportedByModel,
        BadModelAnswer,  # it was paid for: asking again is the caller's decision
    ],
)
async def test_what_will_not_pass_is_tried_once(error: type[AixgoError]) -> None:
    model = ScriptedModel([error("no"), "yes"])
    with pytest.raises(error):
        await around(model).chat(ASK)
    assert model.calls == 1


async def test_the_last_attempts_error_says_how_many_there_were() -> None:
    model = ScriptedModel([ModelUnavailable("down")] * 3)
    with pytest.raises(ModelUnavailable) as failed:
        await around(model).chat(ASK)
    assert model.calls == 3
    assert failed.value.__notes__ == ["attempts: 3, within 30 s"]


async def test_a_wait_that_the_deadline_does_not_allow_is_not_begun() -> None:
    model = ScriptedModel([RateLimited("slow down", retry_after=31.0), "yes"])
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(RateLimited) as failed:
        await around(model, timeout=30.0).chat(ASK)
    assert failed.value.retry_after == 31.0
    assert loop.time() == started
    assert model.calls == 1


async def test_retry_after_is_waited_for() -> None:
    model = ScriptedModel([RateLimited("slow down", retry_after=7.0), "yes"])
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await around(model).chat(ASK)).text == "yes"
    assert loop.time() - started == pytest.approx(7.0)


async def test_every_attempt_gets_what_is_left_of_the_time() -> None:
    model = ScriptedModel([RateLimited("slow down", retry_after=7.0), "yes"])
    await around(model, timeout=30.0).chat(ASK)
    assert [request.timeout for request in model.requests] == pytest.approx([30.0, 23.0])


async def test_the_requests_own_timeout_counts_more_than_the_default() -> None:
    model = ScriptedModel([ModelTimeout("late")] * 9)
    with pytest.raises(ModelTimeout, match="within 5 s, with all attempts"):
        await around(model, timeout=30.0).chat(
            ChatRequest(model="x/y", messages=ASK.messages, timeout=5.0)
        )


async def test_embeddings_are_tried_again_too() -> None:
    class Flaky(ScriptedModel):
        async def embed(self, request: EmbedRequest) -> object:  # type: ignore[override]  # of tests
            answer = await super().embed(request)
            if len(self.embed_requests) == 1:
                raise ModelUnavailable("down")
            return answer

    model = Flaky()
    assert (await around(model).embed(EmbedRequest(model="x/y", input=("a",)))).vectors
    assert len(model.embed_requests) == 2


class Breaking(ScriptedModel):
    """Streams break after so many pieces."""

    def __init__(self, *pieces: int) -> None:
        super().__init__(["one two three"] * 9)
        self._pieces = list(pieces)
        self.open = 0

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        limit = self._pieces.pop(0) if self._pieces else 99
        self.open += 1
        try:
            async with super().stream(request) as chunks:
                yield _cut(chunks, limit)
        finally:
            self.open -= 1


async def _cut(chunks: AsyncIterator[ChatChunk], limit: int) -> AsyncGenerator[ChatChunk, None]:
    async for chunk in chunks:
        if limit == 0:
            raise ModelUnavailable("the stream broke")
        limit -= 1
        yield chunk


async def test_a_stream_is_tried_again_before_its_first_piece() -> None:
    model = Breaking(0, 0)
    async with around(model).stream(ASK) as chunks:
        assert (await anext(chunks)).text == "one "
        assert model.open == 1, "an attempt that failed was left open"
        texts = ["one ", *[chunk.text async for chunk in chunks]]
    assert "".join(texts) == "one two three"
    assert model.calls == 3
    assert model.open == 0


async def test_a_stream_that_breaks_is_tried_again_and_says_so() -> None:
    model = Breaking(1, 2)
    async with around(model).stream(ASK) as chunks:
        pieces = [(chunk.text, chunk.again) async for chunk in chunks]
    assert pieces == [
        ("one ", False),
        ("one ", True),
        ("two ", False),
        ("one ", True),
        ("two ", False),
        ("three", False),
        ("", False),
    ]
    assert model.calls == 3
    assert model.open == 0


async def test_a_stream_that_always_breaks_is_an_error_after_all_attempts() -> None:
    model = Breaking(1, 1, 1, 1)
    async with around(model).stream(ASK) as chunks:
        for _ in range(3):
            assert (await anext(chunks)).text == "one "
        with pytest.raises(ModelUnavailable) as failed:
            await anext(chunks)
    assert model.calls == 3
    assert any("attempts: 3" in note for note in failed.value.__notes__)
    assert model.open == 0


@given(st.integers(1, 10_000))
def test_back_off_grows_with_full_jitter_up_to_its_cap(attempt: int) -> None:
    pause = backoff(attempt, initial=0.5, cap=20.0)
    assert 0.0 <= pause <= min(20.0, 0.5 * 2.0 ** min(attempt - 1, 10))

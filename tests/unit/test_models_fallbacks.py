"""Lists of models: which is asked after what, what it costs, and what a broken list says."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from aixgo import Agent, App, Context, Message
from aixgo.config.agents import AgentSpec
from aixgo.envelope import Override, Usage
from aixgo.errors import (
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelError,
    ModelsExhausted,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
)
from aixgo.models import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    ModelHub,
    ModelSettings,
    ScriptedModel,
)
from aixgo.models.bus import ModelTask
from aixgo.models.fallbacks import Fallbacks
from aixgo.steps.overrides import overridden
from aixgo.testing.fake_provider import Fail, Say, fake_provider

FILTERED = ChatResponse(
    model="a/one",
    choices=(
        Choice(message=ChatMessage(role="assistant", content="I"), finish_reason="content_filter"),
    ),
    usage=Usage(prompt_tokens=7, completion_tokens=1, model_calls=1),
)


def ask(**fields: Any) -> ChatRequest:
    hello = ChatMessage(role="user", content="Hello")
    request = ChatRequest(model="a/one", messages=(hello,), fallbacks=("b/two", "a/three"))
    return replace(request, **fields)


@pytest.mark.parametrize(
    ("error", "reasons", "falls"),
    [
        (ModelUnavailable, (), True),
        (ModelTimeout, (), True),
        (RateLimited, (), True),
        (RateLimited, ("outage",), False),
        (ContentRefused, (), False),
        (ContentRefused, ("refusal",), True),
        (ContextTooLong, ("outage",), False),
        (ContextTooLong, ("context",), True),
        (ModelAuthFailed, ("outage", "rate_limit", "refusal", "context"), False),
        (BadModelRequest, ("outage", "rate_limit", "refusal", "context"), False),
    ],
)
async def test_another_model_is_asked_after_what_was_chosen(
    error: type[ModelError], reasons: tuple[Any, ...], falls: bool
) -> None:
    inner = ScriptedModel([error("it did not work"), "Hi."])
    model = Fallbacks(inner)
    if not falls:
        with pytest.raises(error):
            await model.chat(ask(fallback_on=reasons))
        assert inner.calls == 1
        return
    answer = await model.chat(ask(fallback_on=reasons))
    assert (answer.text, answer.model) == ("Hi.", "b/two")
    assert [(one.model, one.code) for one in answer.failed] == [("a/one", error.code)]
    assert [request.model for request in inner.requests] == ["a/one", "b/two"]


async def test_a_list_of_which_none_answers_is_one_error_that_names_each() -> None:
    model = Fallbacks(ScriptedModel([RateLimited("slow down"), ModelUnavailable("it burns")] * 2))
    with pytest.raises(ModelsExhausted) as failed:
        await model.chat(ask(fallbacks=("b/two",)))
    assert "none of 2 models answered: a/one: slow down; b/two: it burns" in str(failed.value)
    assert failed.value.retryable


async def test_an_error_that_ends_the_list_says_who_was_asked_before() -> None:
    model = Fallbacks(ScriptedModel([RateLimited("slow down"), ModelAuthFailed("no key")]))
    with pytest.raises(ModelAuthFailed) as failed:
        await model.chat(ask())
    assert failed.value.__notes__ == ["asked before it: a/one (rate_limited)"]


async def test_an_answer_that_a_filter_took_is_a_refusal_and_was_paid() -> None:
    answer = await Fallbacks(ScriptedModel([FILTERED, "Hi."])).chat(ask(fallback_on=("refusal",)))
    assert answer.text == "Hi."
    assert answer.usage.prompt_tokens == 7 + 1
    assert answer.usage.model_calls == 2
    untouched = await Fallbacks(ScriptedModel([FILTERED])).chat(ask())
    assert untouched == FILTERED


async def test_each_model_has_its_part_of_the_time_and_the_address_of_its_own_provider() -> None:
    inner = ScriptedModel([RateLimited("1"), RateLimited("2"), "Hi."])
    await Fallbacks(inner).chat(ask(timeout=90.0, base_url="http://own:1/v1"))
    one, two, three = inner.requests
    assert [request.base_url for request in (one, two, three)] == [
        "http://own:1/v1",
        "",
        "http://own:1/v1",
    ]
    assert one.timeout == pytest.approx(30.0, rel=0.1)
    assert two.timeout == pytest.approx(45.0, rel=0.1)
    assert three.timeout == pytest.approx(90.0, rel=0.1)


async def test_a_stream_that_breaks_begins_again_with_another_model() -> None:
    settings: dict[str, Any] = {"max_attempts": 1, "api_key": "k"}
    async with fake_provider() as broken, fake_provider(Say("Good day.")) as good:
        broken.will(Say("One two three", cut=3))
        providers = {
            "openai": settings | {"base_url": broken.base_url},
            "xai": settings | {"base_url": good.base_url},
        }
        hub = ModelHub(ModelSettings.model_validate({"providers": providers}))
        request = ask(model="openai/gpt-4o", fallbacks=("xai/grok-4",), timeout=60.0)
        chunks: list[ChatChunk] = []
        async with hub.stream(request) as pieces:
            chunks = [chunk async for chunk in pieces]
        await hub.close()
    begins = next(n for n, chunk in enumerate(chunks) if chunk.again)
    assert "".join(chunk.text for chunk in chunks[:begins]).startswith("One")
    assert "".join(chunk.text for chunk in chunks[begins:]) == "Good day."
    response = chunks[-1].response
    assert response is not None
    assert response.model == "xai/grok-4"
    assert [one.code for one in response.failed] == ["model_unavailable"]


async def test_over_http_the_second_provider_answers_when_the_first_is_down() -> None:
    async with fake_provider(Fail(503)) as down, fake_provider(Say("Hi.")) as up:
        settings: dict[str, Any] = {"max_attempts": 2, "api_key": "k"}
        providers = {
            "openai": settings | {"base_url": down.base_url},
            "xai": settings | {"base_url": up.base_url},
        }
        hub = ModelHub(ModelSettings.model_validate({"providers": providers}))
        answer = await hub.chat(ask(model="openai/gpt-4o", fallbacks=("xai/grok-4",)))
        await hub.close()
        assert (down.count, up.count) == (2, 1)
    assert (answer.text, answer.model) == ("Hi.", "xai/grok-4")


def test_a_fork_with_another_model_asks_that_one_alone() -> None:
    spec = AgentSpec(name="x", model=("a/one", "b/two"))
    fork = Override(run="r", agent="x", step="", model="c/new")
    changed = overridden(ModelTask(chat=ask()), [fork], "s", spec, "a/one").request
    assert isinstance(changed, ChatRequest)
    assert (changed.model, changed.fallbacks) == ("c/new", ())


@pytest.mark.parametrize("models", [[], ["a/one", ""], ["a/one", "a/one"]])
def test_a_list_has_models_and_none_of_them_twice(models: list[str]) -> None:
    with pytest.raises(ValidationError, match="list"):
        AgentSpec.model_validate({"name": "x", "model": models})


def test_a_provider_of_an_agent_is_that_of_each_name_without_one() -> None:
    spec = AgentSpec(name="x", provider="openai", model=("gpt-4o", "gpt-4o-mini"))
    assert spec.model_names == ("openai/gpt-4o", "openai/gpt-4o-mini")
    assert AgentSpec(name="x").model_names == ()


async def test_an_agents_list_is_one_step_whose_record_says_who_answered() -> None:
    model = ScriptedModel([RateLimited("slow down"), "Hi.", RateLimited("again"), "Ho."])

    async def handle(message: Message, ctx: Context) -> list[str]:
        first = await ctx.model.chat(message.text)
        second = await ctx.model.chat(message.text, model=["c/three", "d/four"])
        return [one.model for one in (first, second)] + [first.failed[0].code]

    agent = Agent("desk", handle, model=["a/one", "b/two"])
    async with App([agent], model=model).running(broker="memory") as system:
        result = await system.call("desk", "Hello")
    assert result.data == ["b/two", "d/four", "rate_limited"]
    assert [request.model for request in model.requests] == ["a/one", "b/two", "c/three", "d/four"]

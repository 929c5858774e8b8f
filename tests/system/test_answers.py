"""Structured answers: `ctx.model.ask` returns what was asked for, or says what was wrong."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from aixgo import Agent, Context, Message, Usage
from aixgo.errors import ModelTimeout, RemoteError
from aixgo.models import ChatMessage, ChatRequest, ChatResponse, Choice
from aixgo.models.port import FinishReason
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import Faults, SimulatedSystem, simulate
from aixgo.testing.local import Running

MODEL = "scripted/any"


class Invoice(BaseModel):
    customer: str
    total: float = Field(ge=0)


class Refund(msgspec.Struct, tag="refund", tag_field="kind"):
    reason: str


class Order(msgspec.Struct, tag="order", tag_field="kind"):
    items: list[str]


def asking(output: Any, seen: list[Any], **options: Any) -> Agent:
    async def ask(message: Message, ctx: Context) -> str:
        value = await ctx.model.ask(message.text, output=output, **options)
        seen.append(value)
        return "done"

    return Agent("ask", ask, model=MODEL, prompt="Read the letter.")


@pytest.mark.parametrize(
    ("output", "answer", "value"),
    [
        (Invoice, '{"customer": "Ada", "total": 3}', Invoice(customer="Ada", total=3)),
        (Refund, '{"kind": "refund", "reason": "late"}', Refund(reason="late")),
        (
            Refund | Order,
            '{"value": {"kind": "order", "items": ["tea"]}}',
            Order(items=["tea"]),
        ),
        (
            list[Invoice],
            '{"value": [{"customer": "B", "total": 0}]}',
            [Invoice(customer="B", total=0)],
        ),
        (Literal["yes", "no"], '{"value": "yes"}', "yes"),
        (Literal["yes", "no"], '"no"', "no"),
        ({"type": "object", "required": ["a"]}, '{"a": 1}', {"a": 1}),
        ({"type": "array", "items": {"type": "integer"}}, '{"value": [1, 2]}', [1, 2]),
    ],
)  # fmt: skip
async def test_the_answer_is_an_instance_of_what_was_asked_for(
    running: Running, output: Any, answer: str, value: Any
) -> None:
    seen: list[Any] = []
    model = ScriptedModel([answer])
    async with running(asking(output, seen), model=model) as system:
        await system.call("ask", "Dear Sir")
    assert seen == [value]
    assert type(seen[0]) is type(value)
    (request,) = model.requests
    assert request.response is not None
    assert request.response.schema["type"] == "object"
    assert [message.role for message in request.messages] == ["system", "user"]


async def test_what_is_wrong_with_an_answer_is_told_to_the_model(running: Running) -> None:
    seen: list[Any] = []
    model = ScriptedModel(["I think", '{"customer": "Ada", "total": -1}', '{"customer": "Ada"}',
                           'Here: ```json\n{"customer": "Ada", "total": 1}\n```'])  # fmt: skip
    async with running(asking(Invoice, seen), model=model) as system:
        result = await system.call("ask", "Dear Sir")
    assert seen == [Invoice(customer="Ada", total=1)]
    assert result.usage.model_calls == 4
    told = model.requests[-1].messages
    assert [message.role for message in told[2:]] == ["assistant", "user"] * 3
    assert told[2].text == "I think"
    assert "JSON" in told[3].text
    assert "total: Input should be greater than or equal to 0" in told[5].text
    assert "total: Field required" in told[7].text


async def test_the_last_error_says_what_was_wrong_with_which_answer(running: Running) -> None:
    model = ScriptedModel(["I think", "{}", '{"customer": 1}', ""], repeat=True)
    async with running(asking(Invoice, []), model=model) as system:
        with pytest.raises(RemoteError) as failed:
            await system.call("ask", "Dear Sir")
    text = str(failed.value)
    assert failed.value.cause == "bad_model_answer"
    assert model.calls == 4  # and no execution more: the answers are recorded
    assert "no answer that fits 'Invoice' in 4 answers" in text
    assert "1. 'I think'" in text
    assert "2. '{}': expected Invoice: customer: Field required" in text
    assert "3. '{\"customer\": 1}'" in text
    assert "4. '': the answer has no text" in text


async def test_no_retry_is_made_that_was_not_allowed(running: Running) -> None:
    model = ScriptedModel(["no"], repeat=True)
    async with running(asking(Invoice, [], max_retries=0), model=model) as system:
        with pytest.raises(RemoteError, match="in 1 answer:"):
            await system.call("ask", "x")
    assert model.calls == 1


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        (Invoice, {"max_retries": 11}, "`max_retries` is 11; give 0 to 10"),
        (Invoice, {"max_retries": -1}, "`max_retries` is -1"),
        ({"type": "nonsense"}, {}, "is not a JSON schema that can be used"),
        ({"$ref": "https://example.com/x"}, {}, "is not a JSON schema that can be used"),
        ({"type": "array", "items": {"$ref": "#"}}, {}, "refers to its own top"),
        ([1], {}, "neither a type nor a JSON schema"),
        (complex, {}, "cannot validate messages of type"),
    ],
)
async def test_a_wrong_question_is_an_error_before_anything_is_asked(
    running: Running, output: Any, options: dict[str, Any], said: str
) -> None:
    model = ScriptedModel(["{}"], repeat=True)
    async with running(asking(output, [], **options), model=model) as system:
        with pytest.raises(RemoteError) as failed:
            await system.call("ask", "x")
    assert failed.value.cause == "config"
    assert said in str(failed.value)
    assert model.calls == 0


def ended(finish: FinishReason, text: str) -> ChatResponse:
    message = ChatMessage(role="assistant", content=text)
    choice = Choice(message=message, finish_reason=finish)
    return ChatResponse(model=MODEL, choices=(choice,), usage=Usage(model_calls=1))


async def test_an_answer_that_was_cut_says_so_to_the_model(running: Running) -> None:
    seen: list[Any] = []
    model = ScriptedModel([ended("length", '{"customer": "A'), '{"customer": "A", "total": 1}'])
    async with running(asking(Invoice, seen), model=model) as system:
        await system.call("ask", "x")
    assert seen == [Invoice(customer="A", total=1)]
    assert "cut at the limit of tokens" in model.requests[1].messages[-1].text


async def test_a_filtered_answer_is_refused_and_not_asked_for_again(running: Running) -> None:
    model = ScriptedModel([ended("content_filter", "{")], repeat=True)
    async with running(asking(Invoice, []), model=model) as system:
        with pytest.raises(RemoteError) as failed:
            await system.call("ask", "x")
    assert (failed.value.cause, model.calls) == ("content_refused", 1)


async def test_a_repeated_execution_pays_no_answer_again(running: Running) -> None:
    model = ScriptedModel(["wrong", '{"customer": "A", "total": 1}', "never"])

    async def ask(message: Message, ctx: Context) -> str:
        value = await ctx.model.ask(message.text, output=Invoice, key="invoice")
        if ctx.attempt == 1:
            raise ModelTimeout("after both answers")
        return value.customer

    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    async with running(Agent("ask", ask, model=MODEL, retry=retry), model=model) as system:
        assert (await system.call("ask", "x")).data == "A"
    assert model.calls == 2


def test_questions_side_by_side_survive_crashes_with_their_own_retries() -> None:
    """Retries come in any order; each belongs to its question, whatever came first."""

    def answer(request: ChatRequest) -> str:
        tries = sum(message.role == "assistant" for message in request.messages)
        topic = next(message.text for message in request.messages if message.role == "user")
        wanted = int(topic)  # how many wrong answers come first
        return f'{{"customer": "{topic}", "total": {tries}}}' if tries >= wanted else "hm"

    async def ask(message: Message, ctx: Context) -> list[float]:
        found = await ctx.gather(
            *(ctx.model.ask(str(number), output=Invoice) for number in (2, 0, 3, 1))
        )
        return [one.total for one in found]

    async def scenario(system: SimulatedSystem) -> None:
        assert (await system.call("ask", "x")).data == [2, 0, 3, 1]

    report = simulate(
        scenario,
        agents=lambda: [Agent("ask", ask, model=MODEL)],
        model=lambda: ScriptedModel([answer], repeat=True),
        seeds=range(30),
        faults=Faults(crash=0.1),
    )
    assert report.repeated > 0

"""A react agent acts: its model asks for tools, they run as steps, and it answers at last."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from aixgo import Agent, ConfigError, Context, Message, tool
from aixgo.config.agents import Retry
from aixgo.envelope import Usage, new_id
from aixgo.errors import RemoteError
from aixgo.models import ChatMessage, ChatResponse, Choice, ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.runs.watch import StepFinished, TokensArrived, ToolAsked
from aixgo.testing.local import Running
from aixgo.tools import ToolNotDone

pytestmark = pytest.mark.virtual_time
MODEL = "test/scripted"


@tool(effect="read")
async def weather(city: str, days: int = 1) -> dict[str, Any]:
    """Say what the weather will be."""
    return {"city": city, "days": days, "sky": "blue"}


@tool(effect="read")
async def slow(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return f"{seconds:g} s later"


@tool(effect="read", retry=Retry(max_attempts=2))
async def broken(why: str) -> str:
    """Fail always."""
    raise ValueError(why)


def uses(*calls: tuple[str, str], text: str = "") -> ChatResponse:
    """Return an answer that asks for tools, each a name and its arguments as the model wrote it."""
    asked = tuple(
        ToolCall(id=f"call_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(calls)
    )
    message = ChatMessage(role="assistant", content=text, tool_calls=asked)
    return ChatResponse(
        model=MODEL,
        choices=(Choice(message=message, finish_reason="tool_calls"),),
        usage=Usage(prompt_tokens=10, completion_tokens=10, model_calls=1),
    )


def desk(*tools: Any, **options: Any) -> Agent:
    return Agent("desk", role="react", model=MODEL, prompt="Help.", tools=tools, **options)


def told(model: ScriptedModel, turn: int) -> list[str]:
    """Return what the model was told of its tools before an answer."""
    return [one.text for one in model.requests[turn].messages if one.role == "tool"]


# -- the loop ----------------------------------------------------------------------------------


async def test_the_model_uses_a_tool_and_answers_with_what_it_said(running: Running) -> None:
    model = ScriptedModel([uses(("weather", '{"city": "Rome"}')), "It will be blue."])
    async with running(desk(weather), model=model) as system:
        result = await system.call("desk", "How is the weather in Rome?")
    assert result.text == "It will be blue."
    assert result.meta["iterations"] == 2
    assert result.meta["tool_calls"] == 1
    assert "limit" not in result.meta
    first, second = model.requests
    (definition,) = first.tools
    assert (definition.name, definition.description) == ("weather", "Say what the weather will be.")
    assert definition.parameters["required"] == ["city"]
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
    assert second.messages[2].tool_calls == first_calls(model)
    assert second.messages[3].tool_call_id == "call_0"
    assert msgspec.json.decode(second.messages[3].text) == {
        "city": "Rome",
        "days": 1,
        "sky": "blue",
    }


def first_calls(model: ScriptedModel) -> tuple[ToolCall, ...]:
    return (ToolCall(id="call_0", name="weather", arguments='{"city": "Rome"}'),)


async def test_several_tools_of_one_answer_run_side_by_side_and_come_back_in_order(
    running: Running,
) -> None:
    seconds = (3.0, 1.0, 2.0)
    model = ScriptedModel([uses(*(("slow", f'{{"seconds": {one}}}') for one in seconds)), "Done."])
    async with running(desk(slow), model=model) as system:
        began = asyncio.get_running_loop().time()
        await system.call("desk", "wait")
        took = asyncio.get_running_loop().time() - began
    assert told(model, 1) == ["3 s later", "1 s later", "2 s later"]
    assert 3 <= took < 4


async def test_every_use_is_a_step_that_runs_once(running: Running) -> None:
    model = ScriptedModel(
        [uses(("weather", '{"city": "Rome"}')), uses(("slow", '{"seconds": 1}')), "Done."]
    )
    async with running(desk(weather, slow), model=model) as system:
        run = await system.send("desk", "go")
        await system.result("desk", run, timeout=60)
        tree = await system.runs.tree(run)
    steps = Counter(step.kind for step in tree.walk())
    assert steps == {"call": 1, "model": 3, "tool": 2}
    assert {step.path for step in tree.walk() if step.kind == "tool"} == {
        "tool/weather/1.1",
        "tool/slow/2.1",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("wether", "{}", ["no tool 'wether'", "weather"]),
        ("weather", '{"city": ', ["not JSON"]),
        ("weather", '["Rome"]', ["one JSON object"]),
        ("weather", '{"city": 7}', ["city", "7"]),
        ("weather", "{}", ["city"]),
        ("weather", '{"city": "Rome", "town": "x"}', ["town"]),
        ("broken", '{"why": "the disk is full"}', ["failed", "the disk is full"]),
        ("weather", "[" * 100_000, ["not JSON"]),
    ],
    ids=["unknown", "cut", "list", "type", "missing", "extra", "fails", "deep"],
)
async def test_what_cannot_be_done_is_told_to_the_model(
    running: Running, name: str, arguments: str, words: list[str]
) -> None:
    model = ScriptedModel([uses((name, arguments)), "I could not."])
    async with running(desk(weather, broken), model=model) as system:
        result = await system.call("desk", "go", timeout=60)
    assert result.text == "I could not."
    (text,) = told(model, 1)
    assert text.startswith("Error: ")
    assert all(word in text for word in words), text
    assert "dlq" not in text  # of no use to a model
    (sent,) = model.requests[1].messages[2].tool_calls
    assert isinstance(msgspec.json.decode(sent.arguments), dict)  # else servers refuse it all


async def test_one_answer_may_use_many_tools_but_not_any_number(running: Running) -> None:
    model = ScriptedModel([uses(*[("weather", '{"city": "Rome"}')] * 40), "Done."])
    async with running(desk(weather), model=model) as system:
        await system.call("desk", "go")
    texts = told(model, 1)
    assert (len(texts), len([text for text in texts if "blue" in text])) == (40, 32)
    assert "at most" in texts[-1] or "32" in texts[-1]


async def test_names_that_providers_do_not_take_are_changed_for_the_model(running: Running) -> None:
    @tool(effect="read", name="kb:search")
    async def search(text: str) -> str:
        """Search."""
        return f"found {text}"

    @tool(effect="read", name="n" * 100)
    async def long(text: str) -> str:
        """Have a long name."""
        return f"long {text}"

    model = ScriptedModel()
    async with running(desk(search, long), model=model) as system:
        model.add(
            lambda request: uses(
                (request.tools[0].name, '{"text": "a"}'), (request.tools[1].name, '{"text": "b"}')
            ),
            "Done.",
        )
        await system.call("desk", "go")
    names = [definition.name for definition in model.requests[0].tools]
    assert names[0] == "kb_search"
    assert len(names[1]) == 64
    assert told(model, 1) == ["found a", "long b"]


async def test_a_watcher_sees_what_the_model_asks_for_and_how_it_ends(running: Running) -> None:
    calls = (("weather", '{"city": "Rome"}'), ("broken", '{"why": "rain"}'))
    model = ScriptedModel([uses(*calls, text="I look. "), "Blue."])
    async with running(desk(weather, broken), model=model) as system:
        run = new_id()
        async with system.watch(run) as events:
            await system.call("desk", "go", run_id=run)
            seen = [event async for event in events]
    asked = [event for event in seen if isinstance(event, ToolAsked)]
    assert [(one.agent, one.step, one.tool, one.arguments) for one in asked] == [
        ("desk", "model/1", *calls[0]),
        ("desk", "model/1", *calls[1]),
    ]
    ends = [
        (event.meta["tool"], event.status)
        for event in seen
        if isinstance(event, StepFinished) and "tool" in event.meta
    ]
    assert sorted(ends) == [("broken", "error"), ("weather", "done")]
    text = [event.text for event in seen if isinstance(event, TokensArrived)]
    assert "".join(text) == "I look. Blue."


async def test_a_handler_may_offer_its_tools_to_its_model_itself(running: Running) -> None:
    async def hand(message: Message, ctx: Context) -> str:
        answer = await ctx.model.chat(message.text, tools=[weather])
        (call,) = answer.message.tool_calls
        return str((await ctx.tool(weather, msgspec.json.decode(call.arguments)))["sky"])

    model = ScriptedModel([uses(("weather", '{"city": "Rome"}'))])
    agent = Agent("hand", hand, model=MODEL, tools=[weather])
    async with running(agent, model=model) as system:
        assert (await system.call("hand", "go")).text == "blue"
    assert [one.name for one in model.requests[0].tools] == ["weather"]


# -- limits ------------------------------------------------------------------------------------


async def test_the_last_answer_is_forced_at_the_limit(running: Running) -> None:
    again = uses(("weather", '{"city": "Rome"}'))
    model = ScriptedModel([again, again, "As far as I know: blue."])
    async with running(desk(weather, max_iterations=3), model=model) as system:
        result = await system.call("desk", "go")
    assert result.text == "As far as I know: blue."
    assert (result.meta["limit"], result.meta["iterations"]) == ("iterations", 3)
    assert [request.tool_choice for request in model.requests] == ["auto", "auto", "none"]
    assert "No more tools" in model.requests[-1].messages[-1].text


async def test_a_model_that_does_not_answer_at_the_limit_is_a_clear_error(running: Running) -> None:
    model = ScriptedModel([uses(("weather", '{"city": "Rome"}'))], repeat=True)
    async with running(desk(weather, max_iterations=2), model=model) as system:
        with pytest.raises(RemoteError, match=r"limit of 2 answers \(`max_iterations`\)") as caught:
            await system.call("desk", "go")
    assert caught.value.attempts == 1
    assert model.calls == 2


async def test_tokens_and_time_force_the_answer_before_the_run_fails(running: Running) -> None:
    again = uses(("weather", '{"city": "Rome"}'))
    model = ScriptedModel([*[again] * 3, "Enough."])
    limits = {"max_tokens": 99}
    async with running(desk(weather, limits=limits), model=model) as system:
        result = await system.call("desk", "go")
    assert (result.text, result.meta["limit"]) == ("Enough.", "tokens")
    assert result.usage.total_tokens <= 99

    model = ScriptedModel([*[uses(("slow", '{"seconds": 20}'))] * 3, "Enough."])
    async with running(desk(slow, timeout=70), model=model) as system:
        result = await system.call("desk", "go", timeout=600)
    assert (result.text, result.meta["limit"]) == ("Enough.", "time")


# -- a person ----------------------------------------------------------------------------------


class Till:
    """A tool with an effect, and what it did."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    def tools(self) -> Any:
        @tool(effect="once")
        async def refund(euros: int) -> str:
            """Pay money back."""
            self.paid.append(euros)
            return f"paid {euros}"

        return refund


@pytest.mark.parametrize(
    "confirm",
    ["all", True, ["refund"], [{"effect": "once"}]],
    ids=["all", "true", "name", "effect"],
)
@pytest.mark.parametrize(
    ("answer", "paid", "words"),
    [
        ("yes", [20], ["paid 20"]),
        ("no", [], ["declined"]),
        ({"no": "too much"}, [], ["declined", "too much"]),
        ({"change": {"euros": 5}}, [5], ["changed_by_a_person", '"euros":5', "paid 5"]),
    ],
    ids=["yes", "no", "why", "change"],
)
async def test_a_person_says_yes_no_or_changes_the_arguments(
    running: Running, confirm: Any, answer: Any, paid: list[int], words: list[str]
) -> None:
    till = Till()
    model = ScriptedModel([uses(("refund", '{"euros": 20}')), "Done."])
    agent = desk(till.tools(), weather, require_confirmation=confirm)
    async with running(agent, model=model, answers=[answer]) as system:
        result = await system.call("desk", "go", timeout=600)
    assert result.text == "Done."
    assert till.paid == paid
    (text,) = told(model, 1)
    assert all(word in text for word in words), text


async def test_only_what_needs_a_person_waits_for_one(running: Running) -> None:
    asked: list[str] = []

    def answer(question: Any) -> str:
        asked.append(question.question)
        return "yes"

    till = Till()
    calls = (
        ("weather", '{"city": "Rome"}'),
        ("refund", '{"euros": 20}'),
        ("refund", '{"euros": 7}'),
    )
    model = ScriptedModel([uses(*calls), "Done."])
    agent = desk(till.tools(), weather, require_confirmation=["refund"])
    async with running(agent, model=model, answers=answer) as system:
        await system.call("desk", "go", timeout=600)
    assert sorted(till.paid) == [7, 20]
    assert len(asked) == 2
    assert all("'refund'" in text and "euros" in text for text in asked)
    assert told(model, 1)[1:] == ["paid 20", "paid 7"]


async def test_nobody_is_asked_about_arguments_that_do_not_fit(running: Running) -> None:
    till = Till()
    model = ScriptedModel([uses(("refund", '{"euros": "many"}')), "Sorry."])
    agent = desk(till.tools(), require_confirmation="all")
    async with running(agent, model=model) as system:
        assert (await system.call("desk", "go")).text == "Sorry."
    assert told(model, 1)[0].startswith("Error: the arguments do not fit: euros")


def test_a_confirmation_for_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names 'refunds'.*did you mean 'refund'"):
        desk(Till().tools(), require_confirmation=["refunds"]).build()


# -- guided mode -------------------------------------------------------------------------------


async def test_an_answer_that_lacks_something_goes_back_to_the_model(running: Running) -> None:
    def verdict(request: Any) -> str:
        assert request.response is not None
        text = request.messages[-1].text
        done = "Rome" in text.partition("The answer to judge:")[2]
        return '{"done": true, "missing": ""}' if done else '{"done": false, "missing": "the city"}'

    model = ScriptedModel(["Blue.", verdict, "Blue, in Rome.", verdict])
    agent = desk(weather, guided_config={"enabled": True, "verification_prompt": "Be strict."})
    async with running(agent, model=model) as system:
        result = await system.call("desk", "go")
    assert (result.text, result.meta["iterations"]) == ("Blue, in Rome.", 2)
    assert model.requests[1].messages[0].text.startswith("Be strict.")
    assert model.requests[2].messages[-1].text == "the city"


async def test_a_verdict_that_cannot_be_read_lets_the_answer_pass(running: Running) -> None:
    model = ScriptedModel(["Blue.", "I cannot say.", "Hm."])
    agent = desk(weather, guided_config={"enabled": True})
    async with running(agent, model=model) as system:
        assert (await system.call("desk", "go")).text == "Blue."


async def test_a_tool_that_was_away_is_tried_again_and_then_told(running: Running) -> None:
    tries = []

    @tool(effect="once", retry=Retry(max_attempts=3, initial_backoff=1))
    async def mail(to: str) -> str:
        """Send a mail."""
        tries.append(to)
        raise ToolNotDone("the mail server is away")

    model = ScriptedModel([uses(("mail", '{"to": "a"}')), "The mail could not be sent."])
    async with running(desk(mail), model=model) as system:
        result = await system.call("desk", "go", timeout=600)
    assert result.text == "The mail could not be sent."
    assert len(tries) == 3
    assert "the mail server is away" in told(model, 1)[0]

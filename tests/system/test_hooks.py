"""Hooks look at messages, models, tools and calls: they change, refuse, note, or ask a person."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from aixgo import Agent, Context, Message, tool
from aixgo.errors import ModelTimeout, Refused, RemoteError
from aixgo.hooks import AskPerson, Change, Hooked, Note, Outcome, Refuse
from aixgo.models import ChatMessage, ChatRequest, ChatResponse
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import Faults, SimulatedSystem, simulate
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

MODEL = "scripted/any"


@tool(effect="once")
async def refund(order: str, cents: int) -> str:
    """Pay back."""
    return f"paid {cents} for {order}"


async def echo(message: Message, ctx: Context) -> Any:
    return message.data


async def talk(message: Message, ctx: Context) -> str:
    return (await ctx.model.chat(message.text)).text


async def pay(message: Message, ctx: Context) -> str:
    return str(await ctx.tool(refund, {"order": "A1", "cents": message.data}))


async def ask_echo(message: Message, ctx: Context) -> Any:
    return (await ctx.call("echo", message.data)).data


def talker(**hooks: Any) -> Agent:
    return Agent("a", talk, model=MODEL, hooks=hooks)


# -- every point -------------------------------------------------------------------------------


async def test_every_point_is_looked_at_with_what_it_is_about(running: Running) -> None:
    seen: list[Hooked] = []

    async def work(message: Message, ctx: Context) -> str:
        said = await ctx.model.chat(message.text)
        await ctx.tool(refund, {"order": "A1", "cents": 5})
        return f"{said.text} {(await ctx.call('echo', 'x')).text}"

    points = ("agent", "model", "tool", "call")
    hooks = {f"{when}_{point}": [seen.append] for when in ("before", "after") for point in points}
    agent = Agent("a", work, model=MODEL, tools=[refund], hooks=hooks)
    async with running(agent, Agent("echo", echo), model=ScriptedModel(["hi"])) as system:
        result = await system.call("a", "hello", meta={"user": "u1"})
    assert result.text == "hi x"
    assert [(one.point, one.name, one.step) for one in seen] == [
        ("before_agent", "", "hook/agent"),
        ("before_model", MODEL, "model/1"),
        ("after_model", MODEL, "model/1"),
        ("before_tool", "refund", "tool/refund/1"),
        ("after_tool", "refund", "tool/refund/1"),
        ("before_call", "echo", "echo/1"),
        ("after_call", "echo", "echo/1"),
        ("after_agent", "", "hook/agent"),
    ]
    about = {(one.agent, one.run_id, one.meta["user"]) for one in seen}
    assert about == {("a", result.run_id, "u1")}
    before_model, after_model = seen[1:3]
    assert isinstance(before_model.value, ChatRequest)
    assert isinstance(after_model.value, ChatResponse)
    assert after_model.given == before_model.value
    assert (seen[3].value, seen[4].value) == ({"order": "A1", "cents": 5}, "paid 5 for A1")
    assert seen[4].given == {"order": "A1", "cents": 5}
    assert (seen[0].value, seen[7].value, seen[7].given) == ("hello", "hi x", "hello")


def louder(event: Hooked) -> Outcome:
    return Change(event.value.upper())


async def shorter(event: Hooked) -> Outcome:
    return Change(event.value[:3])


async def test_what_is_changed_is_what_goes_on_one_hook_after_the_other(running: Running) -> None:
    for hooks, said in (
        ({"before_agent": [louder, shorter]}, "HEL"),
        ({"after_agent": [shorter, louder]}, "HEL"),
        ({"before_call": [louder]}, "HELLO"),
        ({"after_call": [shorter]}, "hel"),
    ):
        agent = Agent("a", ask_echo, hooks=hooks)
        async with running(agent, Agent("echo", echo)) as system:
            assert (await system.call("a", "hello")).data == said


async def test_a_request_and_an_answer_of_a_model_are_changed(running: Running) -> None:
    def polite(event: Hooked) -> Outcome:
        request: ChatRequest = event.value
        extra = ChatMessage(role="system", content="Be polite.")
        return Change(ChatRequest(model=request.model, messages=(extra, *request.messages)))

    def signed(event: Hooked) -> Outcome:
        first = event.value.choices[0]
        message = ChatMessage(role="assistant", content=f"{first.message.text} Yours, A.")
        return Change({"choices": [{"message": message}], "usage": event.value.usage})

    model = ScriptedModel(["Hello."])
    agent = talker(before_model=[polite], after_model=[signed])
    async with running(agent, model=model) as system:
        result = await system.call("a", "hi")
    assert result.text == "Hello. Yours, A."
    assert result.usage.model_calls == 1
    assert [one.text for one in model.requests[0].messages] == ["Be polite.", "hi"]


async def test_arguments_and_values_of_tools_are_changed(running: Running) -> None:
    def at_most_10(event: Hooked) -> Outcome:
        return Change({**event.value, "cents": min(event.value["cents"], 10)})

    hooks = {"before_tool": [at_most_10], "after_tool": [louder]}
    async with running(Agent("a", pay, tools=[refund], hooks=hooks)) as system:
        assert (await system.call("a", 500)).text == "PAID 10 FOR A1"


# -- refusals ----------------------------------------------------------------------------------


def no(event: Hooked) -> Outcome:
    return Refuse("not on Sundays")


@pytest.mark.parametrize("point", ["before_agent", "before_model", "after_model", "after_agent"])
async def test_a_refusal_is_a_result_that_says_why(running: Running, point: str) -> None:
    model = ScriptedModel(["hi"])
    async with running(talker(**{point: [no]}), model=model) as system:
        result = await system.call("a", "hello")
        assert await system.dead_letters.list() == []
    assert result.data == "not on Sundays"
    hook = f"{no.__module__}:no"
    assert result.meta["refused"] == {"reason": "not on Sundays", "hook": hook, "point": point}
    assert model.calls == (0 if point in ("before_agent", "before_model") else 1)


async def test_a_refused_tool_is_not_executed_and_a_handler_may_go_on(running: Running) -> None:
    paid: list[str] = []

    @tool(effect="once")
    async def transfer(to: str) -> str:
        """Send money."""
        paid.append(to)
        return "sent"

    async def work(message: Message, ctx: Context) -> str:
        try:
            await ctx.tool(transfer, {"to": "x"})
        except Refused as refused:
            return f"could not: {refused.reason} ({refused.point})"
        return "did"

    agent = Agent("a", work, tools=[transfer], hooks={"before_tool": [no]})
    async with running(agent) as system:
        assert (await system.call("a")).text == "could not: not on Sundays (before_tool)"
    assert paid == []


async def test_a_handler_may_refuse_by_itself(running: Running) -> None:
    async def picky(message: Message, ctx: Context) -> str:
        raise Refused("I would rather not")

    async with running(Agent("a", picky)) as system:
        result = await system.call("a")
    assert (result.data, result.meta["refused"]["hook"]) == ("I would rather not", "")


async def test_a_refusal_in_a_branch_of_a_gather_is_one_too(running: Running) -> None:
    async def work(message: Message, ctx: Context) -> Any:
        return [one.data for one in await ctx.gather(ctx.call("echo", 1), ctx.call("echo", 2))]

    def not_two(event: Hooked) -> Outcome:
        return Refuse("no twos") if event.value == 2 else None

    agent = Agent("a", work, hooks={"before_call": [not_two]})
    async with running(agent, Agent("echo", echo)) as system:
        assert (await system.call("a")).meta["refused"]["reason"] == "no twos"


# -- notes and people --------------------------------------------------------------------------


async def test_notes_are_in_the_metadata_and_in_the_record(running: Running) -> None:
    agent = talker(
        before_agent=[lambda event: Note("odd")], after_model=[lambda event: Note("long")]
    )
    async with running(agent, model=ScriptedModel(["hi"])) as system:
        result = await system.call("a", "hello")
        tree = await system.runs.tree(result.run_id, whole=True)
    assert result.meta["notes"] == ["odd", "long"]
    shown = str(tree)
    assert "hook/agent/before" in shown
    assert "model/1/after" in shown


def careful(event: Hooked) -> Outcome:
    if event.value["cents"] > 100:
        return AskPerson(f"Pay {event.value['cents']} cents?")
    return None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("yes", "paid 500 for A1"),
        ("no", "a person has declined it"),
        ({"no": "too much"}, "too much"),
        ({"change": {"order": "A2", "cents": 7}}, "paid 7 for A2"),
    ],
)
async def test_a_person_decides(running: Running, answer: Any, said: str) -> None:
    hooks = {"before_tool": [careful]}
    async with running(Agent("a", pay, tools=[refund], hooks=hooks)) as system:
        assert (await system.call("a", 50)).text == "paid 50 for A1"  # nobody was asked
        run = await system.send("a", 500)
        (question,) = await eventually(lambda: system.questions(run))
        assert question.question == "Pay 500 cents?"
        await system.answer(run, answer)
        result = await system.result("a", run, timeout=PATIENCE_SECONDS)
    assert result is not None
    assert result.text == said
    assert ("refused" in result.meta) is ("paid" not in said)


# -- what is wrong with a hook -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (lambda event: "yes", "it returned 'yes'; return None, Change(value)"),
        (lambda event: Change({"model": 3}), "it changed a ChatRequest into something else"),
        (lambda event: Change(object()), "cannot be sent as JSON"),
    ],
)
async def test_a_hook_that_returns_something_else_is_a_final_error(
    running: Running, hook: Callable[[Hooked], Any], said: str
) -> None:
    async with running(talker(before_model=[hook]), model=ScriptedModel(["hi"])) as system:
        with pytest.raises(RemoteError) as failed:
            await system.call("a", "hello")
    assert (failed.value.cause, failed.value.attempts) == ("config", 1)
    assert said in str(failed.value)


async def test_a_hook_that_raises_fails_the_execution_like_the_handler(running: Running) -> None:
    def broken(event: Hooked) -> Outcome:
        raise ValueError("the rules are on fire")

    agent = Agent("a", echo, hooks={"before_agent": [broken]}, retry={"max_attempts": 1})
    async with running(agent) as system:
        with pytest.raises(RemoteError, match="the rules are on fire"):
            await system.call("a", "hello")


# -- durability --------------------------------------------------------------------------------


async def test_a_decision_is_taken_once_and_a_repeated_execution_follows_it(
    running: Running,
) -> None:
    count = itertools.count(1)
    asked: Counter[str] = Counter()

    def counting(event: Hooked) -> Outcome:
        asked[event.point] += 1
        return Change(f"{event.value} {next(count)}")

    async def work(message: Message, ctx: Context) -> str:
        said = (await ctx.call("echo", message.data)).text
        if ctx.attempt == 1:
            raise ModelTimeout("after the call")
        return said

    hooks = {"before_agent": [counting], "before_call": [counting], "after_call": [counting]}
    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    agent = Agent("a", work, hooks=hooks, retry=retry)
    async with running(agent, Agent("echo", echo)) as system:
        assert (await system.call("a", "x")).text == "x 1 2 3"
    assert asked == {"before_agent": 1, "before_call": 1, "after_call": 1}


def test_hooks_that_are_never_the_same_survive_crashes() -> None:
    """A decision that was acted on stands, whenever the process dies."""
    executed: list[int] = []

    @tool(effect="idempotent")
    async def note(number: int) -> int:
        """Write a number down."""
        executed.append(number)
        return number

    count = itertools.count(1)

    def another(event: Hooked) -> Outcome:
        return Change({"number": next(count)})

    async def work(message: Message, ctx: Context) -> list[int]:
        first = await ctx.tool(note, {"number": 0}, key="first")
        second = await ctx.tool(note, {"number": 0}, key="second")
        await ctx.call("echo", "x")
        return [first, second]

    def agents() -> list[Agent]:
        return [
            Agent("a", work, tools=[note], hooks={"before_tool": [another]}),
            Agent("echo", echo),
        ]

    async def scenario(system: SimulatedSystem) -> None:
        executed.clear()
        result = await system.call("a", "x")
        assert len(set(executed)) == 2  # repeated perhaps, but never with another number
        assert result.data == sorted(set(executed))

    report = simulate(scenario, agents=agents, seeds=range(30), faults=Faults(crash=0.1))
    assert report.repeated > 0


# -- streams -----------------------------------------------------------------------------------


async def test_a_stream_that_is_looked_at_comes_in_one_piece(running: Running) -> None:
    async def work(message: Message, ctx: Context) -> list[str]:
        async with ctx.model.stream(message.text) as chunks:
            return [chunk.text async for chunk in chunks if chunk.response is None]

    def shout(event: Hooked) -> Outcome:
        message = ChatMessage(role="assistant", content=event.value.text.upper())
        return Change({"choices": [{"message": message}], "usage": event.value.usage})

    agent = Agent("a", work, model=MODEL, hooks={"after_model": [shout]})
    async with running(agent, model=ScriptedModel(["one two"])) as system:
        assert (await system.call("a", "hello")).data == ["ONE TWO"]

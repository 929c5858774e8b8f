"""Forks with another prompt or model: only what comes from the step on is asked, and paid."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from aixgo import Agent, Context, Message, System
from aixgo.errors import ConfigError, RemoteError
from aixgo.models import ChatMessage, ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.runs import Runs
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually


def runs_of(system: System) -> Runs:
    return system.runs


class Asked:
    """A model that notes with what it was asked, and says so."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.model = ScriptedModel([self.answer], repeat=True)

    def answer(self, request: ChatRequest) -> str:
        self.requests.append(request)
        return " | ".join(message.text for message in request.messages)

    def since(self, count: int) -> list[tuple[str, str]]:
        """Models and system messages of the requests after the first so many."""
        return [
            (request.model, request.messages[0].text if len(request.messages) > 1 else "")
            for request in self.requests[count:]
        ]


async def write(message: Message, ctx: Context) -> str:
    outline = await ctx.model.chat(f"outline {message.text}")
    return (await ctx.model.chat(f"write {len(outline.text)}")).text


async def judge(message: Message, ctx: Context) -> str:
    return (await ctx.model.chat("judge")).text


async def review(message: Message, ctx: Context) -> str:
    draft = await ctx.call("writer", message.text)
    first = await ctx.call("critic", draft.text)
    await ctx.call("writer", first.text)
    return (await ctx.call("critic", "again")).text


def agents() -> list[Agent]:
    return [
        Agent("writer", write, model="scripted/small", prompt="You write."),
        Agent("critic", judge, model="scripted/small", prompt="You judge."),
        Agent("review", review),
    ]


async def finished(system: System, begun: tuple[str, str]) -> Message:
    agent, run = begun
    result = await system.result(agent, run, timeout=PATIENCE_SECONDS)
    assert result is not None
    return result


async def test_a_fork_with_another_model_and_prompt_asks_only_later_steps_and_only_that_agent(
    running: Running,
) -> None:
    asked = Asked()
    async with running(*agents(), model=asked.model) as system:
        first = await system.call("review", "a poem")
        assert len(asked.requests) == 6
        fork = await runs_of(system).fork(
            first.run_id, "critic/1", prompt="You judge kindly.", model="scripted/large"
        )
        result = await finished(system, fork)
        assert asked.since(6) == [
            ("scripted/large", "You judge kindly."),
            ("scripted/small", "You write."),
            ("scripted/small", "You write."),
            ("scripted/large", "You judge kindly."),
        ]
        assert result.text == "You judge kindly. | judge"
        tree = await runs_of(system).tree(fork[1])
        assert tree.usage.model_calls == 4
        assert tree.input == "a poem"
        reused = {step.path: step.reused for step in tree.walk() if step.reused}
        assert reused == dict.fromkeys(
            ("writer/1", "writer/1/model/1", "writer/1/model/2"), first.run_id
        )
        (forked,) = [one for one in tree.history if one.what == "forked"]
        assert forked.detail == (
            f"from critic/1 of run {first.run_id}, model scripted/large for critic, "
            "prompt 'You judge kindly.' for critic"
        )


async def test_a_fork_from_a_model_step_keeps_the_requests_of_those_before_it(
    running: Running,
) -> None:
    asked = Asked()
    async with running(*agents(), model=asked.model) as system:
        first = await system.call("review", "a poem")
        fork = await runs_of(system).fork(first.run_id, "writer/1/model/2", model="scripted/large")
        await finished(system, fork)
        # the outline is taken over, asked of the small model; the text is written by the large one
        assert asked.since(6) == [
            ("scripted/large", "You write."),
            ("scripted/small", "You judge."),
            ("scripted/large", "You write."),
            ("scripted/large", "You write."),
            ("scripted/small", "You judge."),
        ]


async def test_a_fork_of_a_fork_knows_what_each_of_its_steps_was_asked_with(
    running: Running,
) -> None:
    asked = Asked()
    async with running(*agents(), model=asked.model) as system:
        runs = runs_of(system)
        first = await system.call("review", "a poem")
        second = await runs.fork(first.run_id, "writer/1/model/2", model="scripted/large")
        await finished(system, second)
        third = await runs.fork(second[1], "writer/2/model/2", prompt="You rhyme.")
        await finished(system, third)
        assert asked.since(11) == [
            ("scripted/large", "You rhyme."),
            ("scripted/small", "You judge."),
        ]
        fourth = await runs.fork(third[1], "critic/2")
        await finished(system, fourth)
        assert asked.since(13) == [("scripted/small", "You judge.")]
        tree = await runs.tree(fourth[1])
        executed_in = {step.path: step.reused for step in tree.walk()}
        assert executed_in["writer/1/model/1"] == first.run_id
        assert executed_in["writer/1/model/2"] == second[1]
        assert executed_in["writer/2/model/2"] == third[1]
        assert executed_in["critic/2"] == ""


async def test_a_fork_that_crashes_or_parks_goes_on_with_what_it_was_forked_with(
    running: Running,
) -> None:
    asked = Asked()

    async def careful(message: Message, ctx: Context) -> str:
        await ctx.model.chat("one")
        await ctx.model.chat("two")
        answer = await ctx.ask_human("go on?")
        return (await ctx.model.chat(f"three {answer}")).text

    agent = Agent("careful", careful, model="scripted/small", prompt="Before.")
    async with running(agent, model=asked.model) as system:
        run = await system.send("careful", timeout=100_000)
        await eventually(lambda: system.questions(run))
        await system.answer(run, "yes")
        await finished(system, ("careful", run))
        fork = await runs_of(system).fork(run, "model/2", prompt="After.", timeout=100_000)
        await eventually(lambda: system.questions(fork[1]))
        await system.answer(fork[1], "no")  # the handler runs again from its first line
        assert (await finished(system, fork)).text == "After. | three no"
        assert asked.since(3) == [("scripted/small", "After.")] * 2


async def test_words_and_models_that_the_code_names_are_overridden_at_just_the_step(
    running: Running,
) -> None:
    asked = Asked()

    async def own(message: Message, ctx: Context) -> str:
        for _ in range(2):
            await ctx.model.chat(
                [
                    ChatMessage(role="system", content="The code's own words."),
                    ChatMessage(role="user", content="go"),
                ],
                model="scripted/named",
            )
        with_prompt = "Prompt. And the date."
        words = [ChatMessage(role="system", content=with_prompt), ChatMessage(role="user")]
        return (await ctx.model.chat(words)).text

    agent = Agent("own", own, model="scripted/small", prompt="Prompt.")
    async with running(agent, model=asked.model) as system:
        first = await system.call("own")
        fork = await runs_of(system).fork(
            first.run_id, "model/1", prompt="Other.", model="scripted/large"
        )
        await finished(system, fork)
        assert asked.since(3) == [
            ("scripted/large", "Other."),
            ("scripted/named", "The code's own words."),
            ("scripted/large", "Other. And the date."),
        ]


async def test_an_agent_without_a_prompt_gets_one(running: Running) -> None:
    asked = Asked()
    async with running(Agent("plain", judge, model="scripted/any"), model=asked.model) as system:
        first = await system.call("plain")
        fork = await runs_of(system).fork(first.run_id, prompt="Be brief.")
        assert (await finished(system, fork)).text == "Be brief. | judge"


async def test_an_override_and_the_input_survive_a_dead_letter(running: Running) -> None:
    asked, broken = Asked(), True

    async def flaky(message: Message, ctx: Context) -> str:
        first = await ctx.model.chat(message.text)
        if broken:
            raise ValueError("not today")
        return first.text

    agent = Agent("flaky", flaky, model="scripted/any", prompt="Before.")
    async with running(agent, model=asked.model) as system:
        run = await system.send("flaky", "spinach")
        with pytest.raises(RemoteError):
            await system.result("flaky", run, timeout=PATIENCE_SECONDS)
        fork = await runs_of(system).fork(run, prompt="After.")
        with pytest.raises(RemoteError):
            await system.result(*fork, timeout=PATIENCE_SECONDS)
        broken = False
        letters = await system.dead_letters.list(run=fork[1])
        await system.replay(letters[0].number)
        assert (await finished(system, fork)).text == "After. | spinach"
        assert len(asked.requests) == 2


async def test_a_large_input_is_found_by_a_fork_too(running: Running) -> None:
    async def count(message: Message, ctx: Context) -> int:
        return await ctx.record(lambda: len(message.text))

    async with running(Agent("count", count)) as system:
        first = await system.call("count", "x" * 200_000, meta={"lang": "en"})
        fork = await runs_of(system).fork(first.run_id)
        assert msgspec.json.decode((await finished(system, fork)).envelope.body) == 200_000
        tree = await runs_of(system).tree(fork[1])
        assert tree.input == "x" * 200_000


async def test_a_model_without_its_provider_is_refused(running: Running) -> None:
    async with running(*agents(), model=Asked().model) as system:
        first = await system.call("review", "x")
        with pytest.raises(ConfigError, match="'large' names no provider; write provider/model"):
            await runs_of(system).fork(first.run_id, model="large")


async def test_branches_of_a_gather_are_overridden_each_by_its_own_past(running: Running) -> None:
    asked = Asked()

    async def both(message: Message, ctx: Context) -> str:
        async def branch(name: str) -> str:
            await ctx.model.chat(name, key="first")
            return (await ctx.model.chat(name, key="second")).text

        async def late() -> str:
            await asyncio.sleep(0.2)
            return await branch("late")

        return " ".join(await ctx.gather(branch("early"), late()))

    agent = Agent("both", both, model="scripted/small", prompt="Before.")
    async with running(agent, model=asked.model) as system:
        first = await system.call("both")
        fork = await runs_of(system).fork(first.run_id, "gather/1/1/model/first", prompt="After.")
        result = await finished(system, fork)
        assert result.text == "Before. | early After. | late"
        assert asked.since(4) == [("scripted/small", "After.")] * 2

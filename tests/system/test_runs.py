"""Runs as people see them: listed, as a tree with what happened, and forked."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.calls import settle
from aixgo.clock import now
from aixgo.errors import (
    Cancelled,
    ConfigError,
    InvalidPayload,
    ModelTimeout,
    NoRun,
    NoStep,
    NotSupported,
    RemoteError,
)
from aixgo.models.scripted import ScriptedModel
from aixgo.runs import Happened, Run, Runs, Step
from aixgo.runs.watch import RunEvent
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

MODEL = "scripted/any"
QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


def runs_of(system: System) -> Runs:
    return system.runs


def echo_model() -> ScriptedModel:
    return ScriptedModel([lambda request: request.messages[-1].text], repeat=True)


def shown(step: Step) -> dict[str, object]:
    """A tree as nested names, to compare it at a glance."""
    return {f"{one.path or 'root'}: {one.kind} {one.status}": shown(one) for one in step.steps}


class Office:
    """A run of two levels with model steps and recorded values."""

    def __init__(self) -> None:
        self.executions: Counter[str] = Counter()
        self.style = "plainly"

    async def writer(self, message: Message, ctx: Context) -> str:
        self.executions["writer"] += 1
        draft = await ctx.model.chat(f"write {message.text}")
        return draft.text

    async def critic(self, message: Message, ctx: Context) -> str:
        self.executions["critic"] += 1
        notes = await ctx.model.chat(f"judge {message.text} {self.style}")
        return notes.text

    async def review(self, message: Message, ctx: Context) -> str:
        self.executions["review"] += 1
        await ctx.record(message.text)
        draft = await ctx.call("writer", "a poem")
        return (await ctx.call("critic", draft.text)).text

    def agents(self) -> list[Agent]:
        return [
            Agent("writer", self.writer, model=MODEL),
            Agent("critic", self.critic, model=MODEL),
            Agent("review", self.review),
        ]


# -- list --------------------------------------------------------------------------------------


async def test_runs_are_listed_with_how_they_stand_the_newest_first(running: Running) -> None:
    gate = asyncio.Event()

    async def fine(message: Message) -> str:
        return "fine"

    async def broken(message: Message) -> str:
        raise InvalidPayload("no good")

    async def busy(message: Message) -> str:
        await gate.wait()
        return "late"

    async def asks(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("really?"))

    agents = [Agent("fine", fine), Agent("broken", broken), Agent("asks", asks)]
    async with running(*agents, Agent("busy", busy, concurrency=1)) as system:
        runs = runs_of(system)
        expected: dict[str, tuple[str, str]] = {}
        for agent, status in (
            ("fine", "done"),
            ("broken", "error"),
            ("asks", "parked"),
            ("busy", "running"),
            ("busy", "queued"),
            ("asks", "cancelled"),
        ):
            run = await system.send(agent, "x", timeout=100_000)
            if status == "cancelled":
                await system.cancel(agent, run)
            expected[run] = (agent, status)
            await asyncio.sleep(0.002)  # so that no two begin within the same millisecond

        async def as_expected() -> bool:
            return {one.run_id: (one.agent, one.status) for one in await runs.list()} == expected

        await eventually(as_expected)
        assert [one.run_id for one in await runs.list()] == list(reversed(expected))
        for run, (_, status) in expected.items():
            assert [one.run_id for one in await runs.list(status=status)] == [run]  # type: ignore[arg-type]  # each is one
        (newest,) = await runs.list(limit=1)
        assert newest.run_id == list(expected)[-1]
        gate.set()


async def test_the_newest_of_many_results_are_found_behind_those_of_their_steps(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.runs.runs.FIRST_WINDOW", 4)

    async def counting(message: Message, ctx: Context) -> str:
        for number in range(3):
            await ctx.record(number)
        return message.text

    async with running(Agent("counting", counting)) as system:
        sent = []
        for number in range(12):
            sent.append((await system.call("counting", str(number))).run_id)
            await asyncio.sleep(0.002)
        found = await runs_of(system).list(limit=10)
        assert [one.run_id for one in found] == sent[:1:-1]
        assert {one.status for one in found} == {"done"}
        assert len(await runs_of(system).list()) == 12


async def test_an_answered_run_is_not_listed_as_waiting_though_its_timer_is_still_set(
    running: Running,
) -> None:
    async def asks(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("really?"))

    async with running(Agent("asks", asks)) as system:
        run = await system.send("asks", timeout=100_000)
        runs = runs_of(system)

        async def parked() -> bool:
            return [one.run_id for one in await runs.list(status="parked")] == [run]

        await eventually(parked)
        await system.answer(run, "yes")
        assert await system.result("asks", run, timeout=PATIENCE_SECONDS)
        (listed,) = await runs.list()
        assert (listed.run_id, listed.status) == (run, "done")
        assert [*await runs.list(status="queued"), *await runs.list(status="parked")] == []


# -- tree --------------------------------------------------------------------------------------


async def test_a_tree_shows_who_called_whom_what_it_took_and_what_it_cost(
    running: Running,
) -> None:
    office = Office()
    async with running(*office.agents(), model=echo_model()) as system:
        result = await system.call("review", "topic")
        tree = await runs_of(system).tree(result.run_id)
        (root,) = tree.steps
        assert (tree.agent, tree.status, root.kind, root.path) == ("review", "done", "call", "")
        assert shown(root) == {
            "record/1: record done": {},
            "writer/1: call done": {"writer/1/model/1: model done": {}},
            "critic/1: call done": {"critic/1/model/1: model done": {}},
        }
        assert tree.usage == root.usage == result.usage
        assert tree.usage.model_calls == 2
        by_path = {step.path: step for step in tree.walk()}
        assert by_path["writer/1"].usage.model_calls == 1
        assert {step.attempts for step in tree.walk() if step.kind != "record"} == {1}
        assert by_path["record/1"].attempts == 0
        assert root.seconds >= by_path["writer/1"].seconds >= 0
        assert tree.history == ()


async def test_steps_of_a_gather_are_its_handlers_though_their_paths_begin_like_its_decision(
    running: Running,
) -> None:
    async def echo(message: Message) -> str:
        return message.text

    async def flow(message: Message, ctx: Context) -> int:
        return len(await ctx.gather(ctx.call("echo", "a"), ctx.call("echo", "b"), need=2))

    async def first(message: Message, ctx: Context) -> int:
        return len(await ctx.gather(ctx.call("echo", "a"), ctx.record("b"), need=1))

    agents = Agent("echo", echo), Agent("flow", flow), Agent("first", first)
    async with running(*agents) as system:
        for agent, steps in (("flow", 2), ("first", 3)):
            result = await system.call(agent)

            async def root(run: str = result.run_id, steps: int = steps) -> Step | None:
                (found,) = (await runs_of(system).tree(run)).steps
                return found if len([*found.walk()]) == steps + 1 else None

            found = await eventually(root)
            assert len(found.steps) == steps
            assert {step.kind for step in found.steps} <= {"call", "record", "gather"}


async def test_what_hears_an_answer_begins_with_its_own_first_attempt(running: Running) -> None:
    heard: list[int] = []

    async def flaky(message: Message, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise ModelTimeout("again")
        return "made"

    async def sink(message: Message, ctx: Context) -> None:
        heard.append(ctx.attempt)

    agents = (
        Agent("source", flaky),
        Agent("flaky", flaky, inputs=["source"], retry=QUICK),
        Agent("sink", sink, inputs=["flaky"]),
    )
    async with running(*agents) as system:
        run = await system.publish("source", "x")
        await eventually(lambda: heard)
        assert heard == [1]

        async def over() -> bool:
            return (await runs_of(system).tree(run)).status == "done"

        await eventually(over)
        tree = await runs_of(system).tree(run)
        assert tree.agent == ""
        assert [(step.agent, step.attempts) for step in tree.walk()] == [("flaky", 2), ("sink", 1)]
        with pytest.raises(NotSupported, match="an event began it"):
            await runs_of(system).fork(run)


async def test_every_kind_of_step_has_its_name_and_its_place(running: Running) -> None:
    async def leaf(message: Message) -> str:
        if message.text == "bad":
            raise InvalidPayload("no")
        return message.text

    async def middle(message: Message, ctx: Context) -> str:
        async def branch(name: str) -> str:
            await ctx.record(name)
            return (await ctx.call("leaf", name)).text

        await ctx.gather(branch("one"), branch("bad"), need=1)
        await ctx.sleep(0.001)
        await ctx.version("change")
        return (await ctx.model.chat("hello")).text

    async def top(message: Message, ctx: Context) -> str:
        await ctx.call("middle")
        await ctx.emit("news")
        return "done"

    agents = [Agent("leaf", leaf), Agent("middle", middle, model=MODEL), Agent("top", top)]
    async with running(*agents, model=echo_model()) as system:
        result = await system.call("top", {"on": 1})
        tree = await runs_of(system).tree(result.run_id)
        assert tree.input == {"on": 1}
        (root,) = tree.steps
        steps = {step.path.removeprefix("middle/1/"): step.kind for step in root.walk()}
        steps.pop("gather/1/1/leaf/1", None)  # cancelled, or as quick as the other
        steps.pop("gather/1/1/record/1", None)
        assert steps == {
            "": "call",
            "middle/1": "call",
            "gather/1": "gather",
            "gather/1/0/record/1": "record",
            "gather/1/0/leaf/1": "call",
            "sleep/1": "sleep",
            "version/change": "version",
            "model/1": "model",
            "emit/1": "emit",
        }
        assert [step.path for step in root.steps] == ["middle/1", "emit/1"]
        middle_step = root.steps[0]
        assert all(not step.steps for step in middle_step.steps)


async def test_the_time_of_a_step_is_that_of_its_last_execution(
    running: Running, kind: str
) -> None:
    async def flaky(message: Message, ctx: Context) -> str:
        await asyncio.sleep(0.3 if ctx.attempt == 3 else 0.01)
        if ctx.attempt < 3:
            raise ModelTimeout("again")
        return "at last"

    async with running(Agent("flaky", flaky, retry=QUICK)) as system:
        result = await system.call("flaky")
        (root,) = (await runs_of(system).tree(result.run_id)).steps
        assert root.attempts == 3
        assert 0.299 <= root.seconds < (0.31 if kind == "memory" else 5)


async def test_executions_that_failed_are_in_the_history_of_the_run(running: Running) -> None:
    async def flaky(message: Message, ctx: Context) -> str:
        if ctx.attempt < 3:
            raise ModelTimeout(f"try {ctx.attempt}")
        return "at last"

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("flaky")).text

    async with running(Agent("flaky", flaky, retry=QUICK), Agent("top", top)) as system:
        result = await system.call("top")
        history = await runs_of(system).history(result.run_id)
        assert [(one.what, one.agent, one.step, one.attempt) for one in history] == [
            ("failed", "flaky", "flaky/1", 1),
            ("failed", "flaky", "flaky/1", 2),
        ]
        first = history[0]
        assert first.error is not None
        assert (first.error.code, first.error.message) == ("model_timeout", "try 1")
        assert first.retry_in is not None
        assert 0 < first.retry_in <= 0.1
        assert abs(first.at - now()) < 30


async def test_a_question_is_in_the_tree_until_it_is_answered(running: Running) -> None:
    async def asks(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("really?", options=["yes", "no"]))

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("asks")).text

    async with running(Agent("asks", asks), Agent("top", top)) as system:
        run = await system.send("top", timeout=100_000)
        runs = runs_of(system)

        async def all_parked() -> bool:
            found = await runs.tree(run)
            return {step.status for step in found.walk()} == {"parked"} and len(
                [*found.walk()]
            ) == 3

        await eventually(all_parked)
        tree = await runs.tree(run)
        (question,) = [step for step in tree.walk() if step.question is not None]
        assert (question.kind, question.path, question.question) == (
            "ask",
            "asks/1/ask/1",
            "really?",
        )
        assert question.options == ("yes", "no")
        assert shown(tree.steps[0]) == {
            "asks/1: call parked": {"asks/1/ask/1: ask parked": {}},
        }
        await system.answer(run, "yes")
        assert await system.result("top", run, timeout=PATIENCE_SECONDS)
        assert [step.status for step in (await runs.tree(run)).walk()] == ["done"] * 3

        async def told() -> bool:
            what = Counter((one.what, one.agent) for one in await runs.history(run))
            return {("parked", "asks"), ("woken", "asks"), ("woken", "top")} <= set(what)

        await eventually(told)


async def test_a_dead_letter_a_replay_and_a_cancel_are_in_the_history(running: Running) -> None:
    broken = True

    async def tool(message: Message, ctx: Context) -> str:
        if broken:
            raise InvalidPayload("out of order")
        return str(await ctx.ask_human("go on?"))

    async with running(Agent("tool", tool)) as system:
        runs = runs_of(system)
        run = await system.send("tool", timeout=100_000)
        with pytest.raises(RemoteError, match="out of order"):
            await system.result("tool", run, timeout=PATIENCE_SECONDS)

        async def letters() -> bool:
            return len(await system.dead_letters.list(run=run)) == 1

        await eventually(letters)
        broken = False
        (letter,) = await system.dead_letters.list(run=run)
        await system.replay(letter.number)

        async def parked() -> bool:
            return (await runs.tree(run)).status == "parked"

        await eventually(parked)
        await system.cancel("tool", run, "enough")
        with pytest.raises(Cancelled):
            await system.result("tool", run, timeout=PATIENCE_SECONDS)

        async def complete() -> bool:
            return [one.what for one in await runs.history(run)] == [
                "dead_letter",
                "replayed",
                "parked",
                "cancelled",
            ]

        await eventually(complete)
        dead, replayed, _, cancelled = await runs.history(run)
        assert dead.error is not None
        assert dead.error.code == "invalid_payload"
        assert replayed.detail == f"dead letter {letter.number}"
        assert cancelled.detail == "enough"
        assert (await runs.tree(run)).status == "cancelled"


async def test_a_run_that_waits_long_for_its_next_attempt_is_queued_and_says_why(
    running: Running,
) -> None:
    async def flaky(message: Message) -> str:
        raise ModelTimeout("the provider is away")

    slow = {"initial_backoff": 5000.0, "max_backoff": 5000.0}
    async with running(Agent("flaky", flaky, retry=slow)) as system:
        run = await system.send("flaky", timeout=100_000)
        runs = runs_of(system)

        async def waits() -> bool:
            history = await runs.history(run)
            return bool(history) and (await runs.tree(run)).status == "queued"

        await eventually(waits)
        (root,) = (await runs.tree(run)).steps
        assert root.attempts == 1
        assert root.error is not None
        assert root.error.message == "the provider is away"
        assert [one.run_id for one in await runs.list(status="queued")] == [run]
        await system.cancel("flaky", run)
        assert await runs.list(status="queued") == []


async def test_a_call_that_was_parked_and_then_waits_long_for_its_next_attempt_is_not_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "LONG_DELAY_SECONDS", 0.1)
    executions = 0

    async def asks(message: Message, ctx: Context) -> str:
        nonlocal executions
        executions += 1
        answer = await ctx.ask_human("go on?")
        if executions < 4:
            raise ModelTimeout("the provider is away")
        return str(answer)

    slow = {"initial_backoff": 1.0, "max_backoff": 1.0}
    async with running(Agent("asks", asks, retry=slow)) as system:
        run = await system.send("asks", timeout=100_000)
        await eventually(lambda: system.questions(run))
        await system.answer(run, "yes")
        result = await system.result("asks", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert (result.text, executions) == ("yes", 4)


async def test_a_call_that_parks_again_while_it_is_being_woken_is_not_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asks(message: Message, ctx: Context) -> str:
        return "".join([str(await ctx.ask_human(f"part {number}?")) for number in range(3)])

    async with running(Agent("asks", asks)) as system:
        run = await system.send("asks", timeout=100_000)
        parking, answered = system.space.parking, 0
        forget = parking.remove

        async def asked() -> bool:
            """Whether the next question is asked; after the last one there is nothing to see."""
            questions = [one.question for one in await system.questions(run)]
            return answered == 3 or questions == [f"part {answered}?"]

        async def forget_late(*args: Any, **options: Any) -> None:
            nonlocal answered
            answered += 1
            await eventually(asked)
            await forget(*args, **options)

        monkeypatch.setattr(parking, "remove", forget_late)
        for text in "abc":
            await eventually(asked)
            await system.answer(run, text)
        result = await system.result("asks", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "abc"


async def test_a_run_that_nobody_began_is_an_error_with_a_hint(running: Running) -> None:
    async def fine(message: Message) -> str:
        return "fine"

    async with running(Agent("fine", fine)) as system:
        with pytest.raises(NoRun, match="aixgo runs ls"):
            await runs_of(system).tree("0" * 32)
        with pytest.raises(NoRun):
            await runs_of(system).fork("0" * 32)


async def test_whoever_watches_a_run_hears_of_failed_executions(running: Running) -> None:
    async def flaky(message: Message, ctx: Context) -> str:
        if ctx.attempt < 2:
            raise ModelTimeout("again")
        return "at last"

    async with running(Agent("flaky", flaky, retry=QUICK)) as system:
        run = "watched"
        seen: list[RunEvent] = []
        async with system.watch(run) as events:
            await system.call("flaky", run_id=run)
            async with asyncio.timeout(PATIENCE_SECONDS):
                seen = [event async for event in events]
        assert [event.what for event in seen if isinstance(event, Happened)] == ["failed"]


# -- fork --------------------------------------------------------------------------------------


async def test_a_fork_takes_over_what_was_done_before_the_step_and_does_the_rest(
    running: Running,
) -> None:
    office, model = Office(), echo_model()
    async with running(*office.agents(), model=model) as system:
        first = await system.call("review", "topic")
        assert first.text == "judge write a poem plainly"
        assert model.calls == 2
        office.style = "kindly"  # a new prompt, from the critic on
        agent, run = await runs_of(system).fork(first.run_id, "critic/1", data="topic")
        assert agent == "review"
        assert run != first.run_id
        result = await system.result(agent, run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "judge write a poem kindly"
        assert model.calls == 3
        assert office.executions == {"review": 2, "writer": 1, "critic": 2}
        tree = await runs_of(system).tree(run)
        attempts = {step.path: step.attempts for step in tree.walk()}
        assert (attempts["writer/1"], attempts["critic/1"]) == (0, 1)
        assert tree.usage.model_calls == 1  # what was paid before is not counted again
        assert [(one.what, one.detail) for one in tree.history] == [
            ("forked", f"from critic/1 of run {first.run_id}")
        ]
        again = await system.result("review", first.run_id)
        assert again is not None
        assert again.text == first.text


async def test_a_fork_inside_of_a_called_agent_repeats_its_callers_only(
    running: Running, kind: str
) -> None:
    office, model = Office(), echo_model()
    async with running(*office.agents(), model=model) as system:
        first = await system.call("review", "topic")
        agent, run = await runs_of(system).fork(first.run_id, "writer/1/model/1", data="topic")
        assert await system.result(agent, run, timeout=PATIENCE_SECONDS)
        assert model.calls == 4
        loop = asyncio.get_running_loop()
        began = loop.time()
        agent, run = await runs_of(system).fork(first.run_id, "critic/1/model/1", data="topic")
        assert await system.result(agent, run, timeout=PATIENCE_SECONDS)
        if kind == "memory":  # in virtual time: nothing waited for a result that was there
            assert loop.time() - began < 1.5
        assert model.calls == 5
        assert office.executions == {"review": 3, "writer": 2, "critic": 3}


async def test_a_fork_from_the_beginning_does_everything_again_with_other_input(
    running: Running,
) -> None:
    async def shout(message: Message, ctx: Context) -> str:
        return str(await ctx.record(message.text.upper()))

    async def plain(message: Message) -> str:
        return message.text

    async with running(Agent("shout", shout), Agent("plain", plain)) as system:
        first = await system.call("shout", "one")
        agent, run = await runs_of(system).fork(first.run_id, data="two")
        result = await system.result(agent, run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "TWO"
        stepless = await system.call("plain", "one")
        with pytest.raises(InvalidPayload, match="is not kept: it is over, and took no steps"):
            await runs_of(system).fork(stepless.run_id)


async def test_a_fork_of_a_failed_run_knows_its_input(running: Running) -> None:
    async def picky(message: Message) -> str:
        raise InvalidPayload(f"I do not like {message.text}")

    async with running(Agent("picky", picky)) as system:
        run = await system.send("picky", "spinach")
        with pytest.raises(RemoteError, match="spinach"):
            await system.result("picky", run, timeout=PATIENCE_SECONDS)
        agent, new = await runs_of(system).fork(run)
        with pytest.raises(RemoteError, match="spinach"):
            await system.result(agent, new, timeout=PATIENCE_SECONDS)


async def test_a_reused_step_that_would_be_asked_otherwise_stops_the_fork(
    running: Running,
) -> None:
    async def echo(message: Message) -> str:
        return message.text

    async def top(message: Message, ctx: Context) -> str:
        first = await ctx.call("echo", message.text)
        return (await ctx.call("echo", first.text)).text

    async with running(Agent("echo", echo), Agent("top", top)) as system:
        first = await system.call("top", "one")
        agent, run = await runs_of(system).fork(first.run_id, "echo/2", data="two")
        with pytest.raises(RemoteError, match="'echo/1'") as caught:
            await system.result(agent, run, timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "replay_mismatch"


async def test_a_fork_that_cannot_be_is_refused_with_the_steps_there_are(
    running: Running,
) -> None:
    office = Office()
    async with running(*office.agents(), model=echo_model()) as system:
        first = await system.call("review", "topic")
        runs = runs_of(system)
        with pytest.raises(NoStep, match=r"no step 'critic/2'; it has: .*critic/1"):
            await runs.fork(first.run_id, "critic/2", data="x")
        with pytest.raises(ConfigError, match="not above 0 s"):
            await runs.fork(first.run_id, data="x", timeout=0)
        (listed,) = await runs.list()
        assert isinstance(listed, Run)
        assert listed.run_id == first.run_id

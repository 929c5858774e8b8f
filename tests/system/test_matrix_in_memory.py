"""The kill matrix in memory: whoever dies, wherever it dies, every run finishes and pays once.

Real patterns, a nested orchestrator and a loop of model and agent calls; orchestrators, agents, the
model gateway and the broker die before and after every operation of every process, in pairs, and at
random. `simulate` requires of each run that it finishes, that first results stand, and that nothing
is executed again whose result was recorded; the scenarios here require the right result.
`tests/crash` does the same with processes and SIGKILL.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable

import pytest

from aixgo import Agent, Context, Message, Reply
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import (
    At,
    Faults,
    Report,
    SimulatedSystem,
    simulate,
    simulate_everywhere,
)

Scenario = Callable[[SimulatedSystem], Awaitable[None]]

EXPECTED = {
    "chain": "left(right(left(x)))",
    "desk": "right(x)",
    "nested": "left(right(left(x))) + left(x) + right(x)",
    "react": "thought of x/0 left(x/0) thought of x/1 left(x/1)",
}
MODEL_CALLS = {"chain": 0, "desk": 0, "nested": 0, "react": 2}
PATTERNS = list(EXPECTED)
SERVED_BY = {
    "orchestrator": ("chain", "desk", "nested", "react"),
    "agent": ("left", "right", "sorter"),
    "gateway": ("llm",),
}


def agents() -> list[Agent]:
    async def work(message: Message, ctx: Context) -> str:
        return f"{ctx.agent}({message.text})"

    async def sort(message: Message, ctx: Context) -> Reply:
        side = await ctx.record(lambda: random.choice(["heads", "tails"]))
        return Reply("sorted", meta={"category": side})

    async def nested(message: Message, ctx: Context) -> str:
        parts = await ctx.gather(
            ctx.call("chain", message.text),
            ctx.call("left", message.text),
            ctx.call("desk", message.text),
        )
        return " + ".join(part.text for part in parts)

    async def react(message: Message, ctx: Context) -> str:
        thoughts = []
        for number in range(2):
            asked = f"{message.text}/{number}"
            thoughts.append((await ctx.model.chat(asked)).text)
            thoughts.append((await ctx.call("left", asked)).text)
        return " ".join(thoughts)

    return [
        Agent("left", work),
        Agent("right", work),
        Agent("sorter", sort),
        Agent("chain", role="orchestrator", pattern="sequential", agents=["left", "right", "left"]),
        Agent(
            "desk",
            role="orchestrator",
            pattern="router",
            classifier="sorter",
            routes={"heads": "right", "tails": "right"},
        ),
        Agent("nested", nested),
        Agent("react", react, model="scripted/x"),
    ]


def model() -> ScriptedModel:
    return ScriptedModel([lambda asked: f"thought of {asked.messages[-1].text}"], repeat=True)


def one_run_of(pattern: str) -> Scenario:
    async def scenario(system: SimulatedSystem) -> None:
        assert (await system.call(pattern, "x", timeout=3600)).text == EXPECTED[pattern]

    return scenario


def assert_paid_once(report: Report, pattern: str) -> None:
    """The gateway's executions in flight may repeat, and nothing else is paid twice."""
    due = MODEL_CALLS[pattern] * report.runs
    assert due <= report.model_calls <= due + report.repeated


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.long(only=("nested",))
def test_a_process_dies_at_every_step_boundary(pattern: str) -> None:
    report = simulate_everywhere(one_run_of(pattern), agents=agents, model=model)
    assert report.runs == report.seeds
    assert report.faults == {"crash": report.seeds - 1}
    assert_paid_once(report, pattern)


@pytest.mark.parametrize("what", ["outage", "drop"])
@pytest.mark.parametrize("pattern", ["chain", "react"])
def test_the_broker_dies_or_its_answers_are_lost_at_every_step_boundary(
    pattern: str, what: str
) -> None:
    report = simulate_everywhere(
        one_run_of(pattern),
        agents=agents,
        model=model,
        what="outage" if what == "outage" else "drop",
    )
    assert report.runs == report.seeds
    assert report.faults == {what: report.seeds - 1}
    assert_paid_once(report, pattern)


def waiting_agents() -> list[Agent]:
    async def slow(message: Message, ctx: Context) -> str:
        await asyncio.sleep(3)
        return f"{message.text} done"

    async def waits(message: Message, ctx: Context) -> str:
        await ctx.sleep(40)
        answer = await ctx.ask_human("go on?", options=["yes", "no"])
        won = await ctx.gather(ctx.call("slow", "1"), ctx.call("slow", "2"), need=1)
        return f"{answer}, {len(won)} won"

    async def outer(message: Message, ctx: Context) -> str:
        return (await ctx.call("waits", message.text)).text

    return [Agent("slow", slow), Agent("waits", waits), Agent("outer", outer)]


async def a_run_that_waits(system: SimulatedSystem) -> None:
    run = await system.send("outer", "x", timeout=3600)
    while True:
        if await system.questions(run):
            break
        await asyncio.sleep(1)
    await system.answer(run, "yes")
    result = await system.result("outer", run, timeout=3600)
    assert result is not None
    assert result.text == "yes, 1 won"


@pytest.mark.long
def test_parked_runs_and_their_callers_are_woken_wherever_a_process_dies() -> None:
    report = simulate_everywhere(a_run_that_waits, agents=waiting_agents, of=["waits", "outer"])
    assert report.runs == report.seeds
    assert report.faults["crash"] > 100  # the last operations may come after the scenario's end


PAIRS = [
    ("orchestrator", "agent"),
    ("orchestrator", "gateway"),
    ("agent", "gateway"),
    ("orchestrator", "orchestrator"),
    ("orchestrator", "broker"),
    ("agent", "broker"),
]


@functools.cache
def operations(pattern: str) -> dict[str, int]:
    """Return how many operations each process has in a run in which nothing goes wrong."""
    report = simulate(
        one_run_of(pattern), agents=agents, model=model, seeds=[0], faults=[], processes=1
    )
    return dict(report.operations)


def place(kind: str, pattern: str, chance: random.Random) -> At | None:
    """Return a random place for the death of one of a kind in a run of a pattern."""
    kinds = SERVED_BY.get(kind, [name for names in SERVED_BY.values() for name in names])
    there = {
        name: count for name, count in operations(pattern).items() if name[:-2] in kinds and count
    }
    if not there:  # the gateway, where nobody asks a model
        return None
    name = chance.choice(sorted(there))
    return At(
        name,
        chance.randint(1, there[name]),
        after=chance.random() < 0.5,
        what="outage" if kind == "broker" else "crash",
    )


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
@pytest.mark.long
def test_pairs_die_together(pair: tuple[str, str]) -> None:
    total = Report()
    for seed in range(28):
        chance, pattern = random.Random(f"{pair}{seed}"), PATTERNS[seed % len(PATTERNS)]
        places = [found for kind in pair if (found := place(kind, pattern, chance))]
        report = simulate(
            one_run_of(pattern),
            agents=agents,
            model=model,
            seeds=[seed],
            faults=places,
            processes=1,
        )
        assert_paid_once(report, pattern)
        total.add(report)
    assert total.runs == 28
    assert sum(total.faults.values()) > 22


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.long
def test_everybody_dies_at_random(pattern: str) -> None:
    often = Faults(crash=0.06, drop=0.05, duplicate=0.05, outage=0.01, disconnect=0.01, until=120)
    report = simulate(
        one_run_of(pattern), agents=agents, model=model, seeds=range(20), faults=often
    )
    assert report.runs == 20
    assert report.faults["crash"] > 20
    assert_paid_once(report, pattern)

"""A planner searches for its plan with the strategy that it is told, and pays no answer twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from aixgo import Agent, ConfigError, tool
from aixgo.errors import RemoteError
from aixgo.models import ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import Faults, SimulatedSystem, simulate
from aixgo.testing.local import Running
from aixgo_services.planner.strategies.monte_carlo import Node

pytestmark = pytest.mark.virtual_time

PLAN = {"analysis": "easy", "steps": [{"step_number": 1, "action": "go"}]}
FRAME = {
    "analysis": "all in all",
    "execution_strategy": "slowly",
    "success_criteria": ["it works"],
    "risk_assessment": [],
}


def planner(**options: Any) -> Agent:
    return Agent("steps", role="planner", model="test/scripted", **options)


async def plan(running: Running, model: ScriptedModel, **options: Any) -> Any:
    async with running(planner(**options), model=model) as system:
        return await system.call("steps", "Move the shop.", timeout=600)


def asked(request: ChatRequest) -> str:
    return request.messages[-1].text


def said(*answers: Any) -> ScriptedModel:
    return ScriptedModel([json.dumps(one) for one in answers])


# -- every strategy ----------------------------------------------------------------------------


async def test_a_chain_of_thought_is_one_answer(running: Running) -> None:
    model = said(PLAN)
    result = await plan(running, model)
    assert result.data["steps"][0]["action"] == "go"
    assert (result.data["problem"], result.data["analysis"]) == ("Move the shop.", "easy")
    assert result.meta == {
        "type": "reasoning_plan",
        "strategy": "chain_of_thought",
        "plan_steps": 1,
        "confidence": 0.5,
    }
    (request,) = model.requests
    assert (request.temperature, request.max_tokens) == (0.7, 2000)
    assert asked(request).startswith("The problem:\nMove the shop.\n\nThink it through")


class Judge:
    """A model that names ideas and scores every way by a rule; it remembers what it scored."""

    def __init__(self, score: Callable[[str], float]) -> None:
        self._score = score
        self.scored: list[str] = []
        self.written = ""
        self._ideas = 0

    def __call__(self, request: ChatRequest) -> str:
        task = asked(request)
        if "different ways to go on" in task:
            self._ideas += 1
            count = int(task.split("Name ")[1].split()[0])
            return json.dumps({"ideas": [f"i{self._ideas}.{n}" for n in range(1, count + 1)]})
        if "Score how well" in task:
            ways = [one.partition("\n")[2] for one in task.split("Way ")[1:]]
            self.scored += ways
            return json.dumps({"scores": [self._score(one) for one in ways]})
        self.written = task
        return json.dumps(PLAN)


async def test_a_tree_of_thought_follows_the_best_way_at_each_place(running: Running) -> None:
    judge = Judge(lambda way: 9 if way.strip().endswith(".2") else 3)
    model = ScriptedModel([judge], repeat=True)
    await plan(running, model, planning_strategy="tree_of_thought", reasoning_depth=2)
    assert judge.written.endswith("1. i1.2\n2. i2.2")
    assert model.calls == 2 * 2 + 1


async def test_with_backtracking_a_way_that_was_left_is_taken_up_again(running: Running) -> None:
    def score(way: str) -> float:
        way = way.strip()
        first, last = way.split("\n")[0], way.split("\n")[-1]
        if "\n" not in way:
            return {"1. i1.1": 8, "1. i1.2": 7}[way]
        if first == "1. i1.1":
            return 1  # what looked best leads nowhere
        return 6 if last.endswith(".1") else 5

    for back, way in ((False, "1. i1.1\n2. i2.1"), (True, "1. i1.2\n2. i3.1")):
        judge = Judge(score)
        await plan(
            running,
            ScriptedModel([judge], repeat=True),
            planning_strategy="tree_of_thought",
            reasoning_depth=2,
            enable_backtracking=back,
        )
        assert judge.written.endswith(way)


async def test_scores_that_the_model_left_out_count_as_nothing(running: Running) -> None:
    model = said({"ideas": ["a", "b", "c"]}, {"scores": [1, 4]}, PLAN)
    await plan(running, model, planning_strategy="tree_of_thought", reasoning_depth=1)
    assert asked(model.requests[1]).count("Way ") == 1  # as many as there shall be
    assert asked(model.requests[2]).endswith("1. a")


def move(number: int, *, done: bool = False, needs: list[int] | None = None) -> dict[str, Any]:
    step = {"step_number": number, "action": f"do {number}", "prerequisites": needs or []}
    return {"observation": "on the way", "step": step, "done": done}


async def test_react_planning_adds_step_after_step(running: Running) -> None:
    model = said(move(1), move(2, needs=[1], done=True), FRAME)
    result = await plan(running, model, planning_strategy="react_planning")
    assert [one["action"] for one in result.data["steps"]] == ["do 1", "do 2"]
    assert result.data["analysis"] == "all in all"
    assert "1. do 1 -> " in asked(model.requests[1])


async def test_react_planning_takes_a_step_back_only_with_backtracking(running: Running) -> None:
    drop = {"observation": "that was wrong", "drop_last": True}
    model = said(move(1), drop, move(1, done=True), FRAME)
    options = {"planning_strategy": "react_planning"}
    result = await plan(running, model, **options, enable_backtracking=True)
    assert len(result.data["steps"]) == 1
    model = said(move(1), drop, move(2, done=True), FRAME)
    result = await plan(running, model, **options)
    assert len(result.data["steps"]) == 2
    assert "leave out `drop_last`" in asked(model.requests[2])


async def test_react_planning_ends_at_the_limit_of_steps(running: Running) -> None:
    model = said(move(1), move(2), FRAME)
    result = await plan(running, model, planning_strategy="react_planning", max_steps=2)
    assert len(result.data["steps"]) == 2


async def test_backward_chaining_goes_from_the_goal_to_the_start(running: Running) -> None:
    model = said(
        {
            "conditions": [
                {"of_goal": 1, "condition": "The goods are there"},
                {"of_goal": 1, "condition": "The room is free"},
                {"of_goal": 1, "condition": "It is day", "holds_already": True},
                {"of_goal": 9, "condition": "No such goal"},
            ]
        },
        {
            "conditions": [
                {"of_goal": 1, "condition": "the room is free."},
                {"of_goal": 2, "condition": "The goods are there"},
                {"of_goal": 2, "condition": "A key is found"},
            ]
        },
        {"conditions": []},
        {"actions": [{"action": name} for name in ("open", "carry", "clear", "search")]},
        FRAME,
    )
    result = await plan(running, model, planning_strategy="backward_chaining")
    steps = {one["action"]: one for one in result.data["steps"]}
    order = {one["step_number"]: one["action"] for one in result.data["steps"]}
    needs = {name: {order[n] for n in one["prerequisites"]} for name, one in steps.items()}
    assert needs == {
        "open": {"carry", "clear"},
        "carry": {"clear"},  # shared, and not the other way round as well
        "clear": {"search"},
        "search": set(),
    }
    assert [order[n] for n in sorted(order)] == ["search", "clear", "carry", "open"]


async def test_a_hierarchical_plan_ties_phases_together(running: Running) -> None:
    def answer(request: ChatRequest) -> str:
        task = asked(request)
        if "Divide the way" in task:
            return json.dumps(
                {
                    "phases": [
                        {"number": 1, "goal": "pack"},
                        {"number": 2, "goal": "move", "needs": [1]},
                    ]
                }
            )
        if "phase 1" in task:
            return json.dumps(
                {
                    "steps": [
                        {"step_number": 1, "action": "boxes"},
                        {"step_number": 2, "action": "labels", "prerequisites": [1]},
                    ]
                }
            )
        if "phase 2" in task:
            return json.dumps(
                {
                    "steps": [
                        {"step_number": 1, "action": "lorry"},
                        {"step_number": 2, "action": "keys"},
                    ]
                }
            )
        return json.dumps(FRAME)

    model = ScriptedModel([answer], repeat=True)
    result = await plan(
        running, model, planning_strategy="hierarchical_plan", parallelizable_steps=True
    )
    steps = result.data["steps"]
    assert [(one["action"], one["prerequisites"]) for one in steps] == [
        ("boxes", []),
        ("labels", [1]),
        ("lorry", [2]),
        ("keys", [2]),
    ]
    assert result.data["parallel_groups"] == [[1], [2], [3, 4]]
    assert "at most 10; their numbers" in asked(model.requests[1])


async def test_phases_that_wait_for_each_other_are_sent_back(running: Running) -> None:
    circle = {
        "phases": [
            {"number": 1, "goal": "a", "needs": [2]},
            {"number": 2, "goal": "b", "needs": [1]},
        ]
    }
    fine = {"phases": [{"number": 1, "goal": "a"}]}
    model = said(circle, fine, PLAN, FRAME)
    await plan(running, model, planning_strategy="hierarchical_plan")
    assert "phases wait for each other: 1 -> 2 -> 1" in asked(model.requests[1])


async def test_monte_carlo_tries_most_what_proves_good(running: Running) -> None:
    def score(way: str) -> float:
        return 9 if way.strip().startswith("1. i1.2") else 2

    judge = Judge(score)
    model = ScriptedModel([judge], repeat=True)
    await plan(running, model, planning_strategy="monte_carlo", reasoning_depth=2, simulations=12)
    assert "1. i1.2\n2. " in judge.written  # down to the last level
    first = sum(way.strip().startswith("1. i1.2") for way in judge.scored)
    assert len(judge.scored) == 12
    assert first > 12 - first
    assert {way.strip().split("\n")[0] for way in judge.scored} == {"1. i1.1", "1. i1.2"}


def test_what_was_not_tried_is_the_most_promising() -> None:
    root = Node([], visits=4, reward=2)
    new, good, bad = (
        Node(["a"], root),
        Node(["b"], root, visits=2, reward=2),
        Node(["c"], root, visits=2),
    )
    assert new.promise() > good.promise() > bad.promise()


# -- critique, tools, examples -----------------------------------------------------------------


async def test_a_plan_that_is_judged_bad_is_mended_once(running: Running) -> None:
    better = {"steps": [{"step_number": 1, "action": "check"}, {"step_number": 2, "action": "go"}]}
    critique = {"score": 4, "problems": ["nothing is checked"]}
    model = said(PLAN, critique, better)
    result = await plan(running, model, enable_self_critique=True)
    assert [one["action"] for one in result.data["steps"]] == ["check", "go"]
    assert result.data["self_critique"] == {**critique, "mended": True}
    assert "- nothing is checked" in asked(model.requests[2])
    for good in ({"score": 8, "problems": ["a word"]}, {"score": 1, "problems": []}):
        result = await plan(running, said(PLAN, good), enable_self_critique=True)
        assert result.data["self_critique"] == {**good, "mended": False}


@tool(effect="read")
async def search(text: str) -> str:
    """Look something up."""
    raise AssertionError("a planner uses no tool")


async def test_steps_name_tools_that_there_are(running: Running) -> None:
    def using(name: str) -> dict[str, Any]:
        return {"steps": [{"step_number": 1, "action": "look", "tool": name}]}

    model = said(using("google"), using("search"))
    result = await plan(running, model, tools=[search])
    assert result.data["steps"][0]["tool"] == "search"
    assert "- search: Look something up." in model.requests[0].messages[0].text
    assert not model.requests[0].tools
    assert "uses the tool 'google', which there is not" in asked(model.requests[1])


async def test_what_is_declared_is_told_to_the_model(running: Running) -> None:
    model = said(PLAN)
    await plan(
        running,
        model,
        prompt="You plan moves.",
        step_detail_level="brief",
        max_steps=7,
        include_alternatives=True,
        parallelizable_steps=True,
        temperature=0,
        max_tokens=99,
        example_plans=[{"problem": "tea", "steps": ["boil", "pour"], "explanation": "hot first"}],
    )
    (request,) = model.requests
    text = request.messages[0].text
    for words in (
        "You plan moves.",
        "one short sentence",
        "at most 7 steps",
        "`alternatives`",
        "side by side",
        "The problem: tea\nThe plan:\n1. boil\n2. pour\nWhy it is good: hot first",
    ):
        assert words in text
    assert (request.temperature, request.max_tokens) == (0, 99)


async def test_no_plan_at_all_is_a_final_error(running: Running) -> None:
    model = ScriptedModel(['{"steps": []}'], repeat=True)
    with pytest.raises(RemoteError, match="at least one step") as failed:
        await plan(running, model)
    assert (failed.value.cause, failed.value.attempts, model.calls) == ("bad_model_answer", 1, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"planning_strategy": "luck"}, "planning_strategy"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 101}, "100"),
        ({"reasoning_depth": 9}, "8"),
        ({"simulations": 0}, "simulations"),
        ({"step_detail_level": "long"}, "step_detail_level"),
        ({"example_plans": [{"problem": "x", "steps": []}]}, "example_plans.0.steps"),
        ({"planning_strategie": "x"}, "did you mean 'planning_strategy'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planner(**options)


# -- durability --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["tree_of_thought", "hierarchical_plan", "monte_carlo"])
def test_a_search_that_is_killed_goes_on_where_it_was(strategy: str) -> None:
    """Whatever dies, the same questions are asked once each: the search does not fork."""

    def answer(request: ChatRequest) -> str:
        task = asked(request)
        if "different ways to go on" in task:
            return json.dumps({"ideas": ["a", "b"]})
        if "Score how well" in task:
            return json.dumps({"scores": [(len(task) * 7) % 10 for _ in range(task.count("Way "))]})
        if "Divide the way" in task:
            return json.dumps({"phases": [{"number": n, "goal": str(n)} for n in (1, 2, 3)]})
        return json.dumps({**FRAME, **PLAN})

    async def scenario(system: SimulatedSystem) -> None:
        result = await system.call("steps", "x", timeout=3600)
        assert result.data["steps"]

    report = simulate(
        scenario,
        agents=lambda: [planner(planning_strategy=strategy, reasoning_depth=2, simulations=4)],
        model=lambda: ScriptedModel([answer], repeat=True),
        seeds=range(10),
        faults=Faults(crash=0.1),
    )
    assert report.repeated > 0

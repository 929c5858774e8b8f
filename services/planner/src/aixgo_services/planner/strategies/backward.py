"""backward_chaining: from the goal to what has to be true before it, and before that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from aixgo_services.planner.plan import Draft, Step
from aixgo_services.planner.planning import Planning


class Condition(msgspec.Struct, kw_only=True):
    """Something that has to be true before a goal can be reached.

    Attributes:
        of_goal: number of the goal, as it was listed.
        holds_already: nothing has to be done for it.
    """

    of_goal: int
    condition: str
    holds_already: bool = False


class Conditions(msgspec.Struct, kw_only=True):
    """What has to be true before."""

    conditions: list[Condition]


class Action(msgspec.Struct, kw_only=True):
    """What reaches a goal, once what it needs is true."""

    action: Annotated[str, msgspec.Meta(min_length=1)]
    reasoning: str = ""
    complexity: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    minutes: Annotated[float, msgspec.Meta(ge=0, le=1e7)] = 0.0
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    alternatives: list[str] = []


class Actions(msgspec.Struct, kw_only=True):
    """For each goal what reaches it, in the order in which they were listed."""

    actions: Annotated[list[Action], msgspec.Meta(min_length=1)]


@dataclass
class _Goal:
    text: str
    needs: list[_Goal] = field(default_factory=list)


async def backward_chaining(planning: Planning) -> Draft:
    """Return a plan whose steps reach the conditions that were found from the goal backwards.

    `reasoning_depth` levels down; two goals that need the same share its step.
    """
    options = planning.options
    found = [_Goal(f"This is solved: {planning.problem}")]
    known = {_plain(found[0].text): found[0]}
    level = found[:1]
    for depth in range(1, options.reasoning_depth + 1):
        listed = "\n".join(f"{number}. {goal.text}" for number, goal in enumerate(level, 1))
        answer: Conditions = await planning.ask(
            f"Think backwards from these goals:\n{listed}\n\nFor each, name what has to be true "
            "right before it can be reached (`of_goal` is its number). Say of each condition "
            "whether it holds already. Name none for a goal that can be reached from the start.",
            Conditions,
            f"level{depth}",
        )
        below: list[_Goal] = []
        for one in answer.conditions:
            if one.holds_already or not 1 <= one.of_goal <= len(level):
                continue
            above, text = level[one.of_goal - 1], _plain(one.condition)
            goal = known.get(text)
            if goal is None:
                if len(found) == options.max_steps:
                    continue
                goal = known[text] = _Goal(one.condition)
                found.append(goal)
                below.append(goal)
            if goal not in above.needs and not _leads_to(goal, above):
                above.needs.append(goal)
        if not below:
            break
        level = below
    return await planning.framed(await _steps(planning, found), "frame")


async def _steps(planning: Planning, goals: list[_Goal]) -> list[Step]:
    listed = "\n".join(f"{number}. {goal.text}" for number, goal in enumerate(goals, 1))
    answer: Actions = await planning.ask(
        f"Say for each of these {len(goals)} goals, in their order, which action reaches it once "
        f"what it needs is true:\n{listed}",
        Actions,
        "actions",
    )
    numbers = {id(goal): number for number, goal in enumerate(goals, 1)}
    steps = []
    for number, goal in enumerate(goals, 1):
        action = (
            answer.actions[number - 1]
            if number <= len(answer.actions)
            else Action(action=f"Reach this: {goal.text}")
        )
        steps.append(
            Step(
                step_number=number,
                prerequisites=[numbers[id(one)] for one in goal.needs],
                expected_outcome=goal.text,
                **msgspec.structs.asdict(action),
            )
        )
    return steps


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _leads_to(goal: _Goal, other: _Goal) -> bool:
    """Whether a goal needs the other one, so that the other cannot need it."""
    waiting, seen = [goal], set()
    while waiting:
        one = waiting.pop()
        if one is other:
            return True
        if id(one) not in seen:
            seen.add(id(one))
            waiting += one.needs
    return False

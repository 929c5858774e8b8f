"""A plan: what a model says of it, what makes it a plan, and what follows from its steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from aixgo.config.suggest import did_you_mean
from aixgo.errors import InvalidPayload
from aixgo.payloads import Shape
from aixgo.steps.answers import AnswerShape

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Level = Annotated[int, msgspec.Meta(ge=1, le=10)]
_Minutes = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Step(msgspec.Struct, kw_only=True):
    """A step of a plan.

    Attributes:
        prerequisites: numbers of the steps that have to be finished before.
        complexity: 1 to 10.
        minutes: how long it takes, estimated.
        tool: with what it is done; empty for no tool.
    """

    step_number: _Number
    action: Annotated[str, msgspec.Meta(min_length=1)]
    reasoning: str = ""
    prerequisites: list[_Number] = []
    expected_outcome: str = ""
    complexity: _Level = 5
    minutes: _Minutes = 0.0
    confidence: _Share = 0.5
    alternatives: list[str] = []
    tool: str = ""


class Draft(msgspec.Struct, kw_only=True):
    """A plan as a model writes it."""

    analysis: str = ""
    steps: list[Step]
    execution_strategy: str = ""
    success_criteria: list[str] = []
    risk_assessment: list[str] = []
    backup_plans: list[str] = []


class Frame(msgspec.Struct, kw_only=True):
    """What a plan says besides its steps."""

    analysis: str
    execution_strategy: str
    success_criteria: list[str]
    risk_assessment: list[str]
    backup_plans: list[str] = []


def draft_shape(max_steps: int, tools: Collection[str]) -> AnswerShape:
    """Return the shape of a plan; one that cannot be carried out does not fit."""
    shape = Shape.of(Draft)

    def read(body: bytes) -> Draft:
        draft: Draft = shape.decode(body)
        if wrong := problems_of(draft.steps, max_steps, tools):
            raise InvalidPayload("; ".join(wrong[:5]))
        return draft

    return AnswerShape("plan", shape.schema, read)


def problems_of(steps: Sequence[Step], max_steps: int, tools: Collection[str]) -> list[str]:
    """Return what keeps steps from being a plan; empty when nothing does."""
    if not steps:
        return ["a plan needs at least one step"]
    wrong = []
    if len(steps) > max_steps:
        wrong.append(f"the plan has {len(steps)} steps, over the limit of {max_steps} steps")
    numbers = [step.step_number for step in steps]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    wrong += [f"two steps have the number {number}" for number in twice]
    known = set(numbers)
    for step in steps:
        missing = [number for number in step.prerequisites if number not in known]
        wrong += [
            f"step {step.step_number} needs step {number}, which is not in the plan"
            for number in missing
        ]
        if step.tool and step.tool not in tools:
            wrong.append(
                f"step {step.step_number} uses the tool {step.tool[:100]!r}, which there is not"
                f"{did_you_mean(step.tool[:100], tools)}"
            )
    if not wrong and (circle := _circle(steps)):
        wrong.append(f"steps wait for each other: {' -> '.join(map(str, circle))}")
    return wrong


def _circle(steps: Sequence[Step]) -> list[int]:
    """Return numbers of steps that need each other, the first one again at the end."""
    needs = {step.step_number: step.prerequisites for step in steps}
    done: set[int] = set()
    for start in needs:
        path: list[int] = []
        waiting = [(start, iter(needs[start]))]
        while waiting:
            number, rest = waiting[-1]
            if len(path) < len(waiting):
                path.append(number)
            following = next((one for one in rest if one not in done), None)
            if following is None:
                done.add(path.pop())
                waiting.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                waiting.append((following, iter(needs[following])))
    return []


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Return the steps so that each comes after what it needs, numbered anew from 1."""
    levels = _levels(steps)
    ordered = sorted(steps, key=lambda step: (levels[step.step_number], step.step_number))
    numbers = {step.step_number: place for place, step in enumerate(ordered, 1)}
    return [
        msgspec.structs.replace(
            step,
            step_number=numbers[step.step_number],
            prerequisites=sorted({numbers[one] for one in step.prerequisites}),
        )
        for step in ordered
    ]


def _levels(steps: Sequence[Step]) -> dict[int, int]:
    """Return for each number how many steps at most have to come before it."""
    needs = {step.step_number: step.prerequisites for step in steps}
    levels: dict[int, int] = {}
    left = dict(needs)
    while left:
        ready = [number for number, before in left.items() if all(one in levels for one in before)]
        for number in ready:
            levels[number] = max((levels[one] + 1 for one in left.pop(number)), default=0)
    return levels


def groups_of(steps: Sequence[Step], *, parallel: bool) -> list[list[int]]:
    """Return the steps that can be taken side by side, group after group."""
    if not parallel:
        return [[step.step_number] for step in steps]
    levels = _levels(steps)
    groups: dict[int, list[int]] = {}
    for step in steps:
        groups.setdefault(levels[step.step_number], []).append(step.step_number)
    return [groups[level] for level in sorted(groups)]


def heaviest(steps: Sequence[Step], weights: Mapping[int, float]) -> list[int]:
    """Return the way through the plan, by prerequisites, with the greatest sum of weights.

    Args:
        steps: in an order in which each comes after what it needs.
        weights: by the number of the step.
    """
    best: dict[int, tuple[float, list[int]]] = {}
    for step in steps:
        before = max((best[one] for one in step.prerequisites), default=(0.0, []))
        best[step.step_number] = (
            before[0] + weights[step.step_number],
            [*before[1], step.step_number],
        )
    return max(best.values(), key=lambda one: one[0])[1]


def finished(problem: str, draft: Draft, *, parallel: bool, alternatives: bool) -> dict[str, Any]:
    """Return a draft as the planner answers it, with what follows from its steps."""
    steps = in_order(draft.steps)
    groups = groups_of(steps, parallel=parallel)
    together = {number for group in groups if len(group) > 1 for number in group}
    path = heaviest(steps, {step.step_number: float(step.complexity) for step in steps})
    slowest = heaviest(steps, {step.step_number: step.minutes for step in steps})
    minutes = {step.step_number: step.minutes for step in steps}
    timed = slowest if parallel else [*minutes]
    return {
        "problem": problem,
        "analysis": draft.analysis,
        "steps": [_as_said(step, step.step_number in together, alternatives) for step in steps],
        "execution_strategy": draft.execution_strategy,
        "critical_path": path,
        "parallel_groups": groups,
        "backup_plans": draft.backup_plans if alternatives else [],
        "success_criteria": draft.success_criteria,
        "risk_assessment": draft.risk_assessment,
        "total_complexity": sum(step.complexity for step in steps),
        "estimated_duration": f"{round(sum(minutes[number] for number in timed))}m",
    }


def _as_said(step: Step, together: bool, alternatives: bool) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(step)
    if not alternatives:
        del said["alternatives"]
    if not step.tool:
        del said["tool"]
    return {**said, "can_parallelize": together}

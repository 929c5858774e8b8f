"""What makes steps a plan, and what follows from them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.errors import InvalidPayload
from aixgo_services.planner.plan import (
    Draft,
    Step,
    draft_shape,
    finished,
    groups_of,
    heaviest,
    in_order,
    problems_of,
)


def step(number: int, *needs: int, **facts: Any) -> Step:
    return Step(step_number=number, action=f"do {number}", prerequisites=[*needs], **facts)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "at least one step"),
        ([step(n) for n in range(1, 7)], "has 6 steps, over the limit of 5 steps"),
        ([step(1), step(1)], "two steps have the number 1"),
        ([step(1, 7)], "step 1 needs step 7, which is not in the plan"),
        ([step(1, 1)], "steps wait for each other: 1 -> 1"),
        ([step(1, 3), step(2, 1), step(3, 2)], "steps wait for each other: 1 -> 3 -> 2 -> 1"),
        ([step(1), step(2, 1, 3), step(3, 2)], "steps wait for each other: 2 -> 3 -> 2"),
        ([step(1, tool="serch")], "the tool 'serch', which there is not; did you mean 'search'?"),
    ],
)
def test_what_cannot_be_carried_out_is_no_plan(steps: list[Step], said: str) -> None:
    assert said in "; ".join(problems_of(steps, 5, ["search"]))


def test_a_draft_is_refused_with_what_is_wrong() -> None:
    shape = draft_shape(5, ())
    fine = '{"steps": [{"step_number": 4, "action": "go"}]}'
    assert shape.read(fine).steps[0].complexity == 5
    for wrong, said in (
        ('{"steps": []}', "at least one step"),
        (fine.replace("4", "0"), ">= 1"),
        (fine.replace('"go"', '""'), "length >= 1"),
        (fine.replace('"go"', '"go", "confidence": 1.5'), "<= 1.0"),
    ):
        with pytest.raises(InvalidPayload, match=said):
            shape.read(wrong)


def test_steps_come_after_what_they_need_and_are_numbered_anew() -> None:
    steps = in_order([step(30, 10, 20), step(20, 10), step(10), step(5)])
    assert [(one.action, one.step_number, one.prerequisites) for one in steps] == [
        ("do 5", 1, []),
        ("do 10", 2, []),
        ("do 20", 3, [2]),
        ("do 30", 4, [2, 3]),
    ]
    assert groups_of(steps, parallel=True) == [[1, 2], [3], [4]]
    assert groups_of(steps, parallel=False) == [[1], [2], [3], [4]]


def test_the_critical_path_is_the_heaviest_way_and_no_list_of_beginnings() -> None:
    steps = [step(1, complexity=9), step(2), step(3, 2, complexity=8), step(4, 3, complexity=2)]
    weights = {one.step_number: float(one.complexity) for one in steps}
    assert heaviest(steps, weights) == [2, 3, 4]


def test_a_finished_plan_says_what_follows_from_its_steps() -> None:
    draft = Draft(
        analysis="a",
        steps=[
            step(1, minutes=10, complexity=1, tool="search", alternatives=["ask"]),
            step(2, minutes=50, complexity=2),
            step(3, 1, 2, minutes=5, complexity=3),
        ],
        backup_plans=["wait"],
    )
    plan = finished("p", draft, parallel=True, alternatives=True)
    assert plan["parallel_groups"] == [[1, 2], [3]]
    assert plan["critical_path"] == [2, 3]
    assert plan["total_complexity"] == 6
    assert plan["estimated_duration"] == "55m"
    assert [one["can_parallelize"] for one in plan["steps"]] == [True, True, False]
    assert (plan["steps"][0]["tool"], plan["steps"][0]["alternatives"]) == ("search", ["ask"])
    assert plan["backup_plans"] == ["wait"]
    plain = finished("p", draft, parallel=False, alternatives=False)
    assert plain["parallel_groups"] == [[1], [2], [3]]
    assert plain["estimated_duration"] == "65m"
    assert plain["backup_plans"] == []
    assert "alternatives" not in plain["steps"][0]
    assert not any(one["can_parallelize"] for one in plain["steps"])


@st.composite
def plans(draw: st.DrawFn) -> list[Step]:
    numbers = draw(st.lists(st.integers(1, 50), min_size=1, max_size=12, unique=True))
    return [
        step(
            number,
            *draw(st.lists(st.sampled_from(numbers[:place]), unique=True)) if place else [],
            complexity=draw(st.integers(1, 10)),
        )
        for place, number in enumerate(numbers)
    ]


@given(plans())
def test_every_plan_without_circles_is_ordered_grouped_and_has_a_heaviest_way(
    steps: list[Step],
) -> None:
    assert problems_of(steps, 50, ()) == []
    ordered = in_order(steps)
    assert [one.step_number for one in ordered] == list(range(1, len(steps) + 1))
    assert all(need < one.step_number for one in ordered for need in one.prerequisites)
    groups = groups_of(ordered, parallel=True)
    assert sorted(itertools.chain(*groups)) == [one.step_number for one in ordered]
    place = {number: index for index, group in enumerate(groups) for number in group}
    needs = {one.step_number: one.prerequisites for one in ordered}
    assert all(place[need] < place[number] for number in needs for need in needs[number])
    weights = {one.step_number: float(one.complexity) for one in ordered}
    way = heaviest(ordered, weights)
    assert all(before in needs[after] for before, after in itertools.pairwise(way))
    assert sum(weights[number] for number in way) >= max(weights.values())

"""hierarchical_plan: phases first, then the steps of each phase, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from aixgo.errors import InvalidPayload
from aixgo.payloads import Shape
from aixgo.steps.answers import AnswerShape
from aixgo_services.planner.plan import Draft, Step, draft_shape, problems_of
from aixgo_services.planner.planning import Planning

MOST_PHASES = 8


class Phase(msgspec.Struct, kw_only=True):
    """A part of the plan with a goal of its own.

    Attributes:
        needs: numbers of the phases that have to be finished before.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=1_000)]
    goal: Annotated[str, msgspec.Meta(min_length=1)]
    needs: list[int] = []


class Phases(msgspec.Struct, kw_only=True):
    """The parts of the plan."""

    phases: list[Phase]


async def hierarchical_plan(planning: Planning) -> Draft:
    """Return the steps of all phases as one plan.

    The first steps of a phase need the last ones of the phases that it needs. Each phase may have
    its share of `max_steps`.
    """
    most = min(MOST_PHASES, planning.options.max_steps)
    phases: list[Phase] = (
        await planning.ask(
            f"Divide the way to the solution into phases, at most {most}, each with a goal of its "
            "own, and say which phases (`needs`) have to be finished before which.",
            _shape(most),
            "phases",
        )
    ).phases
    share = planning.options.max_steps // len(phases)
    drafts: list[Draft] = await planning.ctx.gather(
        *(_phase(planning, phases, one, share) for one in phases), key="phases"
    )
    return await planning.framed(joined(phases, [draft.steps for draft in drafts]), "frame")


async def _phase(planning: Planning, phases: Sequence[Phase], phase: Phase, share: int) -> Draft:
    listed = "\n".join(f"{one.number}. {one.goal}" for one in phases)
    draft: Draft = await planning.ask(
        f"The phases of the plan:\n{listed}\n\nWrite the steps of phase {phase.number}, "
        f"{phase.goal!r}, at most {share}; their numbers begin with 1, and their `prerequisites` "
        "are steps of this phase.",
        draft_shape(share, planning.tools),
        f"phase{phase.number}",
    )
    return draft


def joined(phases: Sequence[Phase], steps_of: Sequence[Sequence[Step]]) -> list[Step]:
    """Return the steps of all phases with numbers of their own, tied together by the phases."""
    numbers: dict[int, dict[int, int]] = {}
    taken = 0
    for phase, steps in zip(phases, steps_of, strict=True):
        numbers[phase.number] = {one.step_number: taken + i for i, one in enumerate(steps, 1)}
        taken += len(steps)
    last = {
        phase.number: [
            numbers[phase.number][one.step_number]
            for one in steps
            if not any(one.step_number in other.prerequisites for other in steps)
        ]
        for phase, steps in zip(phases, steps_of, strict=True)
    }
    found = []
    for phase, steps in zip(phases, steps_of, strict=True):
        before = [number for needed in phase.needs for number in last[needed]]
        for step in steps:
            own = [numbers[phase.number][one] for one in step.prerequisites]
            found.append(
                msgspec.structs.replace(
                    step,
                    step_number=numbers[phase.number][step.step_number],
                    prerequisites=own or before,
                )
            )
    return found


def _shape(most: int) -> AnswerShape:
    shape = Shape.of(Phases)

    def read(body: bytes) -> Phases:
        found: Phases = shape.decode(body)
        as_steps = [
            Step(step_number=one.number, action=one.goal, prerequisites=one.needs)
            for one in found.phases
        ]
        if wrong := problems_of(as_steps, most, ()):
            raise InvalidPayload("; ".join(wrong[:5]).replace("step", "phase"))
        return found

    return AnswerShape("phases", shape.schema, read)

"""react_planning: step after step, each after a look at where the plan has led up to now."""

from __future__ import annotations

import msgspec

from aixgo.errors import InvalidPayload
from aixgo.payloads import Shape
from aixgo.steps.answers import AnswerShape
from aixgo_services.planner.plan import Draft, Step, problems_of
from aixgo_services.planner.planning import Planning


class Move(msgspec.Struct, kw_only=True):
    """What the model does next.

    Attributes:
        observation: where the plan has led up to now, and what is missing.
        done: the plan is complete; then there is no step.
        drop_last: take the last step back, which turned out wrong.
    """

    observation: str
    done: bool = False
    drop_last: bool = False
    step: Step | None = None


async def react_planning(planning: Planning) -> Draft:
    """Return the plan that was built step by step, at most `max_steps` of them.

    With backtracking the model may take its last step back, for which there are as many more
    answers as there may be steps.
    """
    options = planning.options
    steps: list[Step] = []
    answers = options.max_steps * (2 if options.enable_backtracking else 1)
    for number in range(1, answers + 1):
        if len(steps) == options.max_steps:
            break
        move: Move = await planning.ask(
            _task(steps, options.enable_backtracking), _shape(planning, steps), f"move{number}"
        )
        if move.drop_last:
            steps.pop()
        elif move.step is not None:
            steps.append(move.step)
        if move.done:
            break
    return await planning.framed(steps, "frame")


def _task(steps: list[Step], may_drop: bool) -> str:
    listed = "\n".join(
        f"{step.step_number}. {step.action} -> {step.expected_outcome}" for step in steps
    )
    number = steps[-1].step_number + 1 if steps else 1
    drop = " Set `drop_last` instead to take the last step back." if may_drop and steps else ""
    return (
        f"The plan up to now:\n{listed or '(no step yet)'}\n\nIn `observation`, say where it has "
        f"led and what is missing. Then give the next `step` with the number {number}, and set "
        f"`done` when the plan is complete with it, or without a step when it already is.{drop}"
    )


def _shape(planning: Planning, steps: list[Step]) -> AnswerShape:
    shape = Shape.of(Move)

    def read(body: bytes) -> Move:
        move: Move = shape.decode(body)
        if move.drop_last and (not planning.options.enable_backtracking or not steps):
            raise InvalidPayload("there is no step that could be taken back; leave out `drop_last`")
        if move.drop_last and move.step is not None:
            raise InvalidPayload("either take the last step back or give another one, not both")
        if move.step is None and not move.drop_last and not (move.done and steps):
            raise InvalidPayload("give the next `step`; the plan has none that completes it")
        if move.step is not None:
            together = [*steps, move.step]
            if wrong := problems_of(together, planning.options.max_steps, planning.tools):
                raise InvalidPayload("; ".join(wrong[:5]))
        return move

    return AnswerShape("move", shape.schema, read)

"""One search for a plan: its problem, and how the model is asked about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from aixgo import Context
from aixgo.steps.answers import AnswerShape
from aixgo_services.planner.options import PlannerOptions
from aixgo_services.planner.plan import Draft, Frame, Step, draft_shape
from aixgo_services.planner.prompts import Prompts, outline

Score = Annotated[float, msgspec.Meta(ge=0, le=10)]


class Ideas(msgspec.Struct, kw_only=True):
    """Different ways to go on."""

    ideas: Annotated[list[str], msgspec.Meta(min_length=1)]


class Scores(msgspec.Struct, kw_only=True):
    """How promising each of several ways is, 0 to 10, in their order."""

    scores: Annotated[list[Score], msgspec.Meta(min_length=1)]


@dataclass(kw_only=True)
class Planning:
    """Asks the model about one problem; every answer is a step of the run, named by its key."""

    ctx: Context
    options: PlannerOptions
    prompts: Prompts
    problem: str
    tools: Mapping[str, str]
    temperature: float
    max_tokens: int

    async def ask(self, task: str, output: type[Any] | AnswerShape, key: str) -> Any:
        """Return the model's answer to one task.

        Raises:
            BadModelAnswer: no answer fits; final.
            ModelError: the model did not answer.
        """
        return await self.ctx.model.ask(
            self.prompts.ask(self.problem, task, self.tools),
            output=output,
            key=key,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def draft(self) -> AnswerShape:
        """The shape of a whole plan."""
        return draft_shape(self.options.max_steps, self.tools)

    async def plan_from(self, way: Sequence[str], key: str) -> Draft:
        """Return the plan of a way that was found."""
        task = f"Write the plan that goes this way:\n{outline(way)}"
        draft: Draft = await self.ask(task, self.draft, key)
        return draft

    async def framed(self, steps: Sequence[Step], key: str) -> Draft:
        """Return steps that were found one by one, with what a plan says besides them."""
        listed = outline([step.action for step in steps])
        frame: Frame = await self.ask(
            f"These are the steps of the plan:\n{listed}\n\nSay what the whole of it comes to.",
            Frame,
            key,
        )
        return Draft(
            steps=list(steps),
            analysis=frame.analysis,
            execution_strategy=frame.execution_strategy,
            success_criteria=frame.success_criteria,
            risk_assessment=frame.risk_assessment,
            backup_plans=frame.backup_plans,
        )

    async def ideas(self, way: Sequence[str], most: int, key: str) -> list[str]:
        """Return different next parts of a plan that goes a way up to now."""
        found: Ideas = await self.ask(
            f"The plan up to now:\n{outline(way)}\n\nName {most} different ways to go on, each in "
            "one or two sentences.",
            Ideas,
            key,
        )
        return found.ideas[:most]

    async def scores(self, ways: Sequence[Sequence[str]], key: str) -> list[float]:
        """Return how promising each way is; one that the model left out counts as nothing."""
        listed = "\n\n".join(f"Way {number}:\n{outline(way)}" for number, way in enumerate(ways, 1))
        found: Scores = await self.ask(
            f"Score how well each of these {len(ways)} ways leads to a good plan, from 0 "
            f"(useless) to 10 (as good as it gets), in their order:\n\n{listed}",
            Scores,
            key,
        )
        return [*found.scores[: len(ways)], *[0.0] * (len(ways) - len(found.scores))]

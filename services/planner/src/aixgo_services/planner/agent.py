"""`Planner`: a problem in, a plan out whose steps can be carried out in their order."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import ClassVar

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo.tools import AnyTool, Toolbox
from aixgo_services.planner.critique import criticised
from aixgo_services.planner.options import PlannerOptions
from aixgo_services.planner.plan import finished
from aixgo_services.planner.planning import Planning
from aixgo_services.planner.prompts import Prompts
from aixgo_services.planner.strategies import STRATEGIES

TEMPERATURE = 0.7
MAX_TOKENS = 2_000
"""Defaults of a planner that declares none: room for ideas, and for a plan of twenty steps."""


class Planner(Role):
    """Answers a problem with a plan: steps, what they need, and the way that takes longest."""

    style: ClassVar[Style] = "hybrid"
    options_model = PlannerOptions
    calls_models = True
    takes_tools = True

    def __init__(self, spec: AgentSpec, options: PlannerOptions) -> None:
        super().__init__(spec, options)
        self._settings = options
        self._prompts = Prompts(options, spec.prompt)
        self._temperature = TEMPERATURE if spec.temperature is None else spec.temperature
        self._max_tokens = MAX_TOKENS if spec.max_tokens is None else spec.max_tokens

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return the plan; see the README for its members.

        Its tools are not used: the steps name those with which they are done.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            BadModelAnswer: none of the model's answers is a plan; final.
            ModelError: the model did not answer.
        """
        options = self._settings
        planning = Planning(
            ctx=ctx,
            options=options,
            prompts=self._prompts,
            problem=model_text(message),
            tools=await _told(ctx, self.tools),
            temperature=self._temperature,
            max_tokens=self._max_tokens,
        )
        draft = await STRATEGIES[options.planning_strategy](planning)
        critique = None
        if options.enable_self_critique:
            draft, critique = await criticised(planning, draft)
        plan = finished(
            planning.problem,
            draft,
            parallel=options.parallelizable_steps,
            alternatives=options.include_alternatives,
        )
        if critique is not None:
            plan["self_critique"] = critique
        confidence = mean(step.confidence for step in draft.steps)
        meta = {
            "type": "reasoning_plan",
            "strategy": options.planning_strategy,
            "plan_steps": len(draft.steps),
            "confidence": round(confidence, 3),
        }
        return Reply(plan, meta=meta)


async def _told(ctx: Context, tools: Toolbox) -> dict[str, str]:
    """Return what the tools are for, by name; recorded where that can change during a run."""
    if not tools.dynamic:
        return _about(tools)

    async def now() -> dict[str, str]:
        return _about((await tools.load()).values())

    return await ctx.record(now, key="tools")


def _about(tools: Iterable[AnyTool]) -> dict[str, str]:
    return {tool.spec.name: tool.spec.description for tool in tools}

"""What a planner is told: how it searches, how much, and what its plans look like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aixgo.config.agents import Options

Strategy = Literal[
    "chain_of_thought", "tree_of_thought", "react_planning", "backward_chaining",
    "hierarchical_plan", "monte_carlo",
]  # fmt: skip

DetailLevel = Literal["brief", "detailed", "exhaustive"]

MOST_STEPS = 100
MOST_DEPTH = 8
MOST_SIMULATIONS = 100


class ExamplePlan(Options):
    """A plan that is shown to the model."""

    problem: str = Field(min_length=1)
    """What it is a plan for."""
    steps: tuple[str, ...] = Field(min_length=1)
    """Its steps, in order."""
    explanation: str = ""
    """Why it is a good one."""


class PlannerOptions(Options):
    """What a planner takes besides `model`, `prompt`, `tools` and what every agent has."""

    planning_strategy: Strategy = "chain_of_thought"
    """How the plan is looked for."""
    max_steps: int = Field(default=20, ge=1, le=MOST_STEPS)
    """Steps of a plan; one with more is sent back."""
    step_detail_level: DetailLevel = "detailed"
    """How much each step says."""
    reasoning_depth: int = Field(default=3, ge=1, le=MOST_DEPTH)
    """How many alternatives `tree_of_thought` and `monte_carlo` try at each place, and how many
    levels they and `backward_chaining` go down."""
    simulations: int = Field(default=10, ge=1, le=MOST_SIMULATIONS)
    """Rounds of `monte_carlo`; each asks the model twice."""
    enable_backtracking: bool = False
    """Go back to a way that was left when the one that was taken turns out worse
    (`tree_of_thought`), or take a step back (`react_planning`)."""
    enable_self_critique: bool = False
    """Have the model judge its plan, and mend it once when something is wrong with it."""
    parallelizable_steps: bool = False
    """Let steps that need nothing of each other be taken side by side."""
    include_alternatives: bool = False
    """Ask for other ways to do each step, and for backup plans."""
    example_plans: tuple[ExamplePlan, ...] = Field(default=(), max_length=10)
    """Plans that are shown to the model."""

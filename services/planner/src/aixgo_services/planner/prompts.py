"""What a planner tells its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aixgo.models import ChatMessage
from aixgo_services.planner.options import PlannerOptions

INSTRUCTION = "You make plans that people and programs can carry out as they are written."

_DETAIL = {
    "brief": "Each step is one short sentence.",
    "detailed": "Each step says what is done, why, and what comes out of it.",
    "exhaustive": "Each step says what is done, with what, why, how it is checked, and what can "
    "go wrong with it.",
}


class Prompts:
    """Builds the conversations of one planner.

    Args:
        instruction: the agent's own prompt, in place of the default instruction.
    """

    def __init__(self, options: PlannerOptions, instruction: str = "") -> None:
        self._options, self._instruction = options, instruction or INSTRUCTION

    def ask(self, problem: str, task: str, tools: Mapping[str, str]) -> list[ChatMessage]:
        """Return the conversation that has a task done about a problem.

        Args:
            tools: description by name.
        """
        return [
            ChatMessage(role="system", content=self._system(tools)),
            ChatMessage(role="user", content=f"The problem:\n{problem}\n\n{task}"),
        ]

    def _system(self, tools: Mapping[str, str]) -> str:
        options = self._options
        parts = [
            self._instruction,
            _DETAIL[options.step_detail_level],
            f"A plan has at most {options.max_steps} steps. `prerequisites` of a step are the "
            "numbers of the steps whose outcome it needs, and of no others.",
            "Estimate the `complexity` of each step from 1 to 10, its `minutes`, and your "
            "`confidence` that it works from 0 to 1.",
        ]
        if options.parallelizable_steps:
            parts.append("Let steps that do not need each other stand side by side.")
        if options.include_alternatives:
            parts.append("Name `alternatives` for each step, and `backup_plans` for the whole.")
        if tools:
            listed = "\n".join(f"- {name}: {about}" for name, about in tools.items())
            parts.append(f"A step may name one of these as its `tool`:\n{listed}")
        for example in options.example_plans:
            steps = "\n".join(f"{number}. {one}" for number, one in enumerate(example.steps, 1))
            why = f"\nWhy it is good: {example.explanation}" if example.explanation else ""
            parts.append(f"An example. The problem: {example.problem}\nThe plan:\n{steps}{why}")
        return "\n\n".join(parts)


def outline(parts: Sequence[str]) -> str:
    """Return the parts of a plan up to now, numbered."""
    return "\n".join(f"{number}. {part}" for number, part in enumerate(parts, 1)) or "(none yet)"

"""`Classifier`: says which of the declared categories a message belongs to, and how surely."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo_services.classifier.answers import Answers, Verdict
from aixgo_services.classifier.embeddings import Nearest
from aixgo_services.classifier.options import ClassifierOptions
from aixgo_services.classifier.prompt import Prompt

TEMPERATURE = 0.3
MAX_TOKENS = 500
"""Defaults of a classifier that declares none: nearly the same answer each time, room for reasons.
"""


class Classifier(Role):
    """Answers a message with its category and the confidence in it, also as metadata."""

    style: ClassVar[Style] = "hybrid"
    options_model = ClassifierOptions
    calls_models = True

    def __init__(self, spec: AgentSpec, options: ClassifierOptions) -> None:
        super().__init__(spec, options)
        self._settings = options
        self._nearest = Nearest(options) if options.use_embeddings else None
        self._answers = Answers(options)
        self._prompt = Prompt(options, spec.prompt)
        self._temperature = TEMPERATURE if spec.temperature is None else spec.temperature
        # its own choice of a temperature is a wish, the user's is an order
        self._on_unsupported: Literal["", "error", "drop"] = spec.on_unsupported or (
            "drop" if spec.temperature is None else ""
        )
        self._max_tokens = MAX_TOKENS if spec.max_tokens is None else spec.max_tokens

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return `{category, confidence, …}`, with `below_threshold` in the metadata too.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            BadModelAnswer: no answer had a category of the declared ones; final.
            ModelError: the model did not answer.
        """
        text = model_text(message)
        if self._nearest is not None:
            return self._reply(await self._nearest.verdict(text, ctx))
        return self._reply(self._answers.verdict(await self._ask_all(text, ctx)))

    def _reply(self, verdict: Verdict) -> Reply:
        options, threshold = self._settings, self._settings.confidence_threshold
        (category, confidence), *others = verdict.ranked.items()
        data: dict[str, Any] = {"category": category, "confidence": confidence}
        meta = {**data, "below_threshold": confidence < threshold}
        if options.multi_label:
            fitting = {name: one for name, one in verdict.ranked.items() if one >= threshold}
            data["categories"] = _listed(fitting)
            meta["categories"] = [*fitting]
        if options.alternatives:
            data["alternatives"] = _listed(dict(others[: options.alternatives]))
        if verdict.reasoning:
            data["reasoning"] = verdict.reasoning
        if verdict.votes:
            data["votes"] = verdict.votes
        return Reply(data, meta=meta)

    async def _ask_all(self, text: str, ctx: Context) -> list[Any]:
        """Return one answer for each vote, asked for at once."""
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._ask(text, vote, ctx), name=f"{self.name}: vote {vote}")
                    for vote in range(self._settings.votes)
                ]
        except ExceptionGroup as failed:
            raise _first(failed) from None
        return [task.result() for task in asked]

    async def _ask(self, text: str, vote: int, ctx: Context) -> Any:
        return await ctx.model.ask(
            self._prompt.conversation(text, vote),
            output=self._answers.shape,
            key=f"vote{vote + 1}",
            temperature=self._temperature,
            on_unsupported=self._on_unsupported,
            max_tokens=self._max_tokens,
        )


def _listed(numbers: dict[str, float]) -> list[dict[str, Any]]:
    return [{"category": name, "confidence": value} for name, value in numbers.items()]


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group, so that callers see an error and not a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error

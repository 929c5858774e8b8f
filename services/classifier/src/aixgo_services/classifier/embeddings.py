"""A classifier without a chat model: the category whose texts are nearest to the message."""

from __future__ import annotations

import math

from aixgo import Context
from aixgo.models.similarity import cosine
from aixgo_services.classifier.answers import Verdict
from aixgo_services.classifier.options import ClassifierOptions

TEMPERATURE = 0.05
"""Of the softmax that makes confidences of cosine similarities: a lead of 0.1 over one other
category is a confidence of 0.88."""


class Nearest:
    """Compares a message with every text that is declared of the categories.

    A category is as near as the nearest of its texts: its name with its description, its examples,
    and the few-shots of it. Keywords belong to the first of them.
    """

    def __init__(self, options: ClassifierOptions) -> None:
        self._model = options.embedding_model
        self._texts: list[str] = []
        self._of: list[str] = []
        for category in options.categories:
            about = ": ".join(part for part in (category.name, category.description) if part)
            words = f" ({', '.join(category.keywords)})" if category.keywords else ""
            self._add(category.name, about + words, *category.examples)
        for shot in options.few_shot_examples:
            for name in shot.categories:
                self._add(name, shot.input)

    def _add(self, name: str, *texts: str) -> None:
        self._texts += texts
        self._of += [name] * len(texts)

    async def verdict(self, text: str, ctx: Context) -> Verdict:
        """Return every category, the nearest first.

        The categories' texts are embedded with the message, in one call: what a run did is then
        all in its own record, and no second execution can differ from the first.

        Raises:
            UnsupportedByModel: the provider has no embeddings.
            ModelError: the model did not answer.
        """
        answer = await ctx.model.embed([text, *self._texts], key="embed", model=self._model)
        message, *others = answer.vectors
        nearness: dict[str, float] = {}
        for name, vector in zip(self._of, others, strict=True):
            nearness[name] = max(cosine(message, vector), nearness.get(name, -1.0))
        return Verdict(ranked=softmax(nearness))


def softmax(numbers: dict[str, float]) -> dict[str, float]:
    """Return shares of 1, the largest first; equal ones in their order."""
    most = max(numbers.values())
    powers = {name: math.exp((value - most) / TEMPERATURE) for name, value in numbers.items()}
    total = sum(powers.values())
    ranked = sorted(powers.items(), key=lambda one: -one[1])
    return {name: power / total for name, power in ranked}

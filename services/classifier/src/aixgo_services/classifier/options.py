"""What a classifier is told: its categories, examples, and how sure it must be."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from aixgo.config.agents import Options

MAX_VOTES = 15
"""Each vote is a model call; more of them hardly change a majority."""


class Category(Options):
    """One of the answers of a classifier."""

    name: str = Field(min_length=1, max_length=64)
    """The answer itself; a router's routes use it."""
    description: str = ""
    """What belongs to it, in a few words."""
    keywords: tuple[str, ...] = ()
    """Words that speak for it. Those found in a message are shown to the model as evidence."""
    examples: tuple[str, ...] = ()
    """Messages that belong to it; the first two are shown to the model."""


class FewShot(Options):
    """A message with its right answer."""

    input: str = Field(min_length=1)
    """The message."""
    category: str
    """Name of its category."""
    reason: str = ""
    """Why; shown when the classifier states reasons."""


class ClassifierOptions(Options):
    """What a classifier takes besides `model`, `prompt`, `temperature` and `max_tokens`."""

    categories: tuple[Category, ...] = Field(min_length=2, max_length=100)
    """The possible answers, 2 to 100 with unique names."""
    few_shot_examples: tuple[FewShot, ...] = ()
    """Messages with their answers; the first three are shown to the model."""
    confidence_threshold: float = Field(default=0.7, ge=0, le=1)
    """Answers below it are marked `below_threshold`, so that a router takes its fallback."""
    votes: int = Field(default=1, ge=1, le=MAX_VOTES)
    """Independent answers for each message. With 1 the confidence is the model's own number, which
    only large models state honestly; with more it is the share of votes for the winner."""
    reasoning: bool = False
    """Ask for a sentence of reasoning before the category; large models decide better so."""

    @field_validator("categories")
    @classmethod
    def _names_are_unique(cls, categories: tuple[Category, ...]) -> tuple[Category, ...]:
        seen: set[str] = set()
        for category in categories:
            if category.name in seen:
                raise ValueError(
                    f"two categories are named {category.name!r}; give each a name of its own"
                )
            seen.add(category.name)
        return categories

    @model_validator(mode="after")
    def _few_shots_are_of_known_categories(self) -> ClassifierOptions:
        names = [category.name for category in self.categories]
        for number, shot in enumerate(self.few_shot_examples):
            if shot.category not in names:
                raise ValueError(
                    f"few_shot_examples.{number} has the category {shot.category!r}; the "
                    f"categories are {', '.join(names)}"
                )
        return self

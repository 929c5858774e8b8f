"""What a classifier is told: its categories, examples, and how sure it must be."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from aixgo.config.agents import Options

MAX_VOTES = 15
"""Each vote is a model call; more of them hardly change a majority."""

MAX_ALTERNATIVES = 10


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
    category: str | tuple[str, ...]
    """Name of its category; with `multi_label` a list of all that it belongs to."""
    reason: str = ""
    """Why; shown when the classifier states reasons."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of all its categories."""
        return (self.category,) if isinstance(self.category, str) else self.category


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
    alternatives: int = Field(default=0, ge=0, le=MAX_ALTERNATIVES)
    """How many further categories to name, the likeliest first, each with its confidence."""
    multi_label: bool = False
    """A message may belong to several categories; those that reach the threshold are named."""
    use_embeddings: bool = False
    """Compare the message with the categories by their embeddings, instead of asking a model."""
    embedding_model: str = ""
    """`provider/model` of the embeddings; without it the agent's own `model`."""

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
            if not isinstance(shot.category, str) and not (self.multi_label and shot.category):
                raise ValueError(
                    f"few_shot_examples.{number} has a list of categories, which belongs to "
                    "`multi_label: true` and is not empty; name one category"
                )
            for unknown in set(shot.categories) - set(names):
                raise ValueError(
                    f"few_shot_examples.{number} has the category {unknown!r}; the "
                    f"categories are {', '.join(names)}"
                )
        return self

    @model_validator(mode="after")
    def _keys_fit_together(self) -> ClassifierOptions:
        if self.multi_label and self.alternatives:
            raise ValueError(
                "alternatives belongs to a single category; with multi_label every category that "
                "fits is named already, so leave one of the two out"
            )
        if self.embedding_model and not self.use_embeddings:
            raise ValueError(
                "embedding_model is only used with `use_embeddings: true`; add it, or leave "
                "embedding_model out"
            )
        asked = [name for name in ("multi_label", "reasoning") if getattr(self, name)]
        asked += ["votes"] if self.votes > 1 else []
        if self.use_embeddings and asked:
            raise ValueError(
                f"use_embeddings asks no model, so it has no {', '.join(asked)}; leave one out"
            )
        return self

"""What a classifier's model must say, and what several of its answers come to together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from aixgo.errors import InvalidPayload
from aixgo.payloads import Shape
from aixgo.steps.answers import AnswerShape
from aixgo_services.classifier.options import ClassifierOptions

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is thought of a message.

    Attributes:
        ranked: confidence of each category that was named, the likeliest first; never empty.
        reasoning: why, if that was asked for.
        votes: answers for each category; empty without votes.
    """

    ranked: dict[str, float]
    reasoning: str = ""
    votes: dict[str, int] = field(default_factory=dict)


class Answers:
    """The form of a classifier's answers, and how they are counted."""

    def __init__(self, options: ClassifierOptions) -> None:
        self._options = options
        self._names = [category.name for category in options.categories]
        self._numbers = options.votes == 1
        shape = Shape.of(self._kind())

        def read(body: bytes) -> Any:
            try:
                return shape.decode(body)
            except InvalidPayload as error:
                raise InvalidPayload(
                    f"{error}; a category is one of: {', '.join(self._names)}"
                ) from error

        self.shape = AnswerShape("classification", shape.schema, read)

    def _kind(self) -> Any:
        """Return the type of one answer; reasons come first, so that they lead to the category."""
        options = self._options
        one: list[tuple[str, Any]] = [("category", Literal[tuple(self._names)])]
        if self._numbers:
            one.append(("confidence", _Share))
        label = msgspec.defstruct("Label", one)
        fields: list[tuple[str, Any]] = [("reasoning", str)] if options.reasoning else []
        if options.multi_label:
            fields.append(("labels", Annotated[list[label], msgspec.Meta(min_length=1)]))  # type: ignore[valid-type] # made at run time
        else:
            fields += one
            if self._numbers and options.alternatives:
                fields.append(("alternatives", list[label]))  # type: ignore[valid-type]
        return msgspec.defstruct("Classification", fields)

    def verdict(self, answers: Sequence[Any]) -> Verdict:
        """Return what the answers say together: one answer's numbers, or the shares of votes."""
        if self._numbers:
            (answer,) = answers
            return Verdict(
                ranked=self._numbered(answer), reasoning=getattr(answer, "reasoning", "")
            )
        votes: dict[str, int] = {}
        for answer in answers:
            for name in dict.fromkeys(self._named(answer)):
                votes[name] = votes.get(name, 0) + 1
        ranked = self._ranked({name: count / len(answers) for name, count in votes.items()})
        winner = next(iter(ranked))
        reasons = (answer for answer in answers if winner in self._named(answer))
        return Verdict(
            ranked=ranked, reasoning=getattr(next(reasons), "reasoning", ""), votes=votes
        )

    def _named(self, answer: Any) -> list[str]:
        if self._options.multi_label:
            return [label.category for label in answer.labels]
        return [answer.category]

    def _numbered(self, answer: Any) -> dict[str, float]:
        """Return the model's own numbers; a single category stays before its alternatives."""
        if self._options.multi_label:
            return self._ranked({one.category: one.confidence for one in reversed(answer.labels)})
        others = reversed(getattr(answer, "alternatives", []))
        ranked = self._ranked({one.category: one.confidence for one in others})
        ranked.pop(answer.category, None)
        return {answer.category: answer.confidence, **ranked}

    def _ranked(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return the categories by confidence; equal ones as they are declared."""
        order = {name: place for place, name in enumerate(self._names)}
        return dict(sorted(numbers.items(), key=lambda one: (-one[1], order[one[0]])))

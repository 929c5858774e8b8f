"""What a classifier asks its model: short instructions, examples as turns, keywords as evidence.

Small models copy what they saw last and follow examples better than instructions. So the examples
are turns of a conversation in the very form of the answer, and each vote sees the categories and
the examples in another order: an answer that only follows the order gets no majority.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from aixgo.models import ChatMessage
from aixgo_services.classifier.options import Category, ClassifierOptions, FewShot

EXAMPLES_PER_CATEGORY = 2
FEW_SHOTS = 3
"""With the line above: what helps, before the prompt grows longer than the messages."""

SHOWN_CONFIDENCE = 0.95
"""Confidence of the examples' answers: sure, but leaving room for surer."""

INSTRUCTION = "Sort each message into one category:"
MULTI_INSTRUCTION = "Say for each message which of these categories it belongs to, one or several:"


class Prompt:
    """Builds the conversations of one classifier.

    Args:
        instruction: the agent's own prompt, in place of the default instruction.
    """

    def __init__(self, options: ClassifierOptions, instruction: str = "") -> None:
        self._options = options
        default = MULTI_INSTRUCTION if options.multi_label else INSTRUCTION
        self._instruction = instruction or default
        self._keywords = [
            (category.name, keyword, _pattern(keyword))
            for category in options.categories
            for keyword in category.keywords
        ]

    def conversation(self, text: str, vote: int) -> list[ChatMessage]:
        """Return the conversation that asks for the category of `text`; votes count from 0."""
        categories = _turned(self._options.categories, vote)
        messages = [ChatMessage(role="system", content=self._system(categories))]
        for shot in self._shots(categories):
            messages.append(ChatMessage(role="user", content=self._question(shot.input)))
            messages.append(ChatMessage(role="assistant", content=self._answer(shot)))
        messages.append(ChatMessage(role="user", content=self._question(text)))
        return messages

    def evidence(self, text: str) -> list[tuple[str, str]]:
        """Return the (keyword, category) pairs whose keyword begins a word of `text`."""
        folded = text.casefold()
        return [
            (keyword, name) for name, keyword, pattern in self._keywords if pattern.search(folded)
        ]

    def _system(self, categories: Sequence[Category]) -> str:
        lines = [
            f"- {category.name}: {category.description}"
            if category.description
            else f"- {category.name}"
            for category in categories
        ]
        return "\n".join([self._instruction, *lines])

    def _shots(self, categories: Sequence[Category]) -> list[FewShot]:
        """Return the declared few-shots, then the examples, one of each category in turn."""
        shots = list(self._options.few_shot_examples[:FEW_SHOTS])
        for position in range(EXAMPLES_PER_CATEGORY):
            shots += [
                FewShot(input=category.examples[position], category=category.name)
                for category in categories
                if position < len(category.examples)
            ]
        return shots

    def _question(self, text: str) -> str:
        if not self._keywords:
            return text
        found = ", ".join(f"{keyword} -> {name}" for keyword, name in self.evidence(text))
        return f"{text}\n\nKeywords: {found or 'none'}"

    def _answer(self, shot: FewShot) -> str:
        answer: dict[str, object] = {}
        if self._options.reasoning:
            answer["reasoning"] = shot.reason or f"This belongs to {' and '.join(shot.categories)}."
        sure = {} if self._options.votes > 1 else {"confidence": SHOWN_CONFIDENCE}
        if self._options.multi_label:
            answer["labels"] = [{"category": name, **sure} for name in shot.categories]
            return _spaced(answer)
        answer |= {"category": shot.category, **sure}
        if sure and self._options.alternatives:
            answer["alternatives"] = []
        return _spaced(answer)


def _turned(categories: Sequence[Category], vote: int) -> list[Category]:
    start = vote % len(categories)
    return [*categories[start:], *categories[:start]]


def _pattern(keyword: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)" + re.escape(keyword.casefold()))


def _spaced(answer: dict[str, object]) -> str:
    """Return JSON with spaces, as models write it themselves."""
    return json.dumps(answer, ensure_ascii=False)

"""Roles of one's own: a class that answers, a class that produces events, and a plain function."""

from __future__ import annotations

import re

from pydantic import Field

from aixgo import Context, Message, Reply, Role
from aixgo.agents.role import Feed
from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration
from aixgo.errors import InvalidPayload, WrongSequence


class PlainWordsOptions(Options):
    """Keys of `PlainWords`."""

    words: dict[str, str] = Field(min_length=1)
    """What to write instead, by the word that is replaced."""
    max_changes: int = Field(default=100, ge=1)
    """Replacements in one text; a text with more of them is refused."""


class PlainWords(Role):
    """Replaces words in a text, and says how many."""

    options_model = PlainWordsOptions

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return the text with the words replaced."""
        words: dict[str, str] = self.options.words
        pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        text, changes = re.subn(rf"\b({pattern})\b", lambda found: words[found[1]], message.text)
        if changes > self.options.max_changes:
            raise InvalidPayload(
                f"the text needs {changes} replacements, over the {self.options.max_changes} of "
                f"agent {self.name!r}; rewrite it, or raise `max_changes`"
            )
        return Reply(text, meta={"changes": message.meta.get("changes", 0) + changes})


class CountdownOptions(Options):
    """Keys of `Countdown`."""

    start: int = Field(default=10, ge=0)
    """The first number."""
    every: PositiveDuration = 1.0
    """Time between two numbers."""


class Countdown(Role):
    """Publishes numbers down to 0: each once, over restarts and instances."""

    style = "reactive"
    options_model = CountdownOptions

    async def start(self, feed: Feed) -> None:
        """Publish until 0 is published."""
        while True:
            known = await feed.recall()
            number = self.options.start if known.value is None else known.value - 1
            if number < 0:
                return
            await feed.emit(number, key=str(number))
            try:
                await feed.remember(number, revision=known.revision)
            except WrongSequence:
                continue  # another instance was faster
            if not await feed.sleep(self.options.every):
                return


async def headline(text: str) -> str:
    """Return the first sentence, as a headline."""
    return text.partition(".")[0].strip().capitalize()

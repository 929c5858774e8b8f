"""How many tokens messages have, and which of them fit a model's context.

No tokenizer is needed: they belong to models that a process of agents does not have, and some
providers have none to give. Tokens are estimated, rather too many than too few, and the estimate is
corrected by what the model itself counted of the requests before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import msgspec

from aixgo.models.messages import ChatMessage
from aixgo.models.port import ToolDefinition

_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,2}|\n\s*|[!-/:-@\[-`{-~]|[^\x00-\x7f]+")
"""What tokenizers cut a text into, roughly: words at their capitals, pairs of digits, signs. Single
spaces belong to the word that follows."""

_WORD_CHARS = 6
"""Letters of a word in one token: common words are one token, others several."""

_OTHER = ((0x590, 0.7), (0x2E80, 1.1), (0x10000, 1.4), (0x110000, 3.0))
"""Tokens of a character below a code point that is not ASCII: Latin, Greek and Cyrillic letters;
those of Semitic and Indian scripts; Chinese and Japanese; emojis and rare ones."""

MESSAGE_TOKENS, TOOL_TOKENS, IMAGE_TOKENS = 6, 16, 1_600
"""What a message, a tool and an image have beside their text; the last is a large one's."""

LEAST_RATIO, MOST_RATIO = 0.3, 3.0
"""By how much a correction may differ from 1: more is a provider that counts something else."""


def tokens_of(text: str) -> int:
    """Return how many tokens a text has, estimated.

    It was compared with the tokenizers of GPT-4 and GPT-4o: for prose, code and JSON it is 0.9 to 3
    times what they count; for Base64, which is not prose, 0.7 times.
    """
    found = 0.0
    for piece in _PIECE.findall(text):
        if piece[0] < "\x80":
            found += 1 + (len(piece) - 1) // _WORD_CHARS
        else:
            found += sum(
                next(tokens for end, tokens in _OTHER if ord(char) < end) for char in piece
            )
    return math.ceil(found)


def size_of(message: ChatMessage) -> int:
    """Return how many tokens a message has, estimated."""
    calls = sum(tokens_of(call.name) + tokens_of(call.arguments) for call in message.tool_calls)
    images = IMAGE_TOKENS * len(message.images)
    return MESSAGE_TOKENS + tokens_of(message.text) + tokens_of(message.name) + calls + images


class Gauge:
    """Measures the requests of one conversation with one model.

    Args:
        tools: those that are offered with each request.
    """

    def __init__(self, tools: Sequence[ToolDefinition] = ()) -> None:
        self._tools = sum(
            TOOL_TOKENS + tokens_of(msgspec.json.encode(tool).decode()) for tool in tools
        )
        self._sizes: dict[int, tuple[ChatMessage, int]] = {}
        self.ratio = 1.0
        """What the model counted, as a part of the estimate."""

    def learn(self, messages: Sequence[ChatMessage], counted: int) -> None:
        """Correct the estimates by what a model counted of a request; 0 says nothing."""
        estimated = self._tools + sum(map(self._size, messages))
        if counted > 0 and estimated > 0:
            self.ratio = min(max(counted / estimated, LEAST_RATIO), MOST_RATIO)

    def size(self, message: ChatMessage) -> float:
        """Return how many tokens a message has."""
        return self._size(message) * self.ratio

    def _size(self, message: ChatMessage) -> int:
        known = self._sizes.get(id(message))  # the message is kept, so no other one has its id
        if known is None:
            known = self._sizes[id(message)] = message, size_of(message)
        return known[1]

    @property
    def tools(self) -> float:
        """Tokens of the tools."""
        return self._tools * self.ratio


def surplus(
    messages: Sequence[ChatMessage],
    gauge: Gauge,
    *,
    limit: int,
    current: int,
    pinned: int = 0,
    keep: int = 0,
) -> list[int]:
    """Return which messages have to go so that a request fits, by index; the oldest go first.

    System messages stay, and the one at `current`, which is to be answered. What was said before
    goes in whole exchanges, from a message of the user to the next; what came after goes as a call
    of tools with its results. So no result is without its call, and no answer without its question.

    Args:
        limit: tokens of the request.
        pinned: messages at the beginning, after the system's, that stay.
        keep: messages at the end that stay.
    """
    left = gauge.tools + sum(map(gauge.size, messages)) - limit
    if left <= 0:
        return []
    system = next((i for i, one in enumerate(messages) if one.role != "system"), len(messages))
    stays = {*range(system + pinned), current, *range(len(messages) - max(keep, 1), len(messages))}
    gone: list[int] = []
    for unit in [*_exchanges(messages, system, current), *_uses(messages, current + 1)]:
        if left <= 0:
            break
        if not stays.intersection(unit):
            gone += unit
            left -= sum(gauge.size(messages[index]) for index in unit)
    return gone


def _exchanges(messages: Sequence[ChatMessage], start: int, end: int) -> list[list[int]]:
    found: list[list[int]] = []
    for index in range(start, end):
        if messages[index].role == "user" or not found:
            found.append([])
        found[-1].append(index)
    return found


def _uses(messages: Sequence[ChatMessage], start: int) -> list[list[int]]:
    """Return the calls of tools, each with its results."""
    found: list[list[int]] = []
    for index in range(start, len(messages)):
        message = messages[index]
        if message.role == "assistant" and message.tool_calls:
            found.append([index])
        elif message.role == "tool" and found:
            found[-1].append(index)
    return found


def measured(messages: Sequence[ChatMessage], gauge: Gauge) -> int:
    """Return how many tokens a request has."""
    return math.ceil(gauge.tools + sum(map(gauge.size, messages)))

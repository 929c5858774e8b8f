"""How many tokens a provider says that it used, wherever it says so.

A counter is never worth more than the answer that was paid for: what is not a count is 0, with a
warning, and never an error.
"""

from __future__ import annotations

import logging
from typing import Any

from aixgo.envelope import Usage
from aixgo.models.wires.reading import record

MAX_TOKENS = 1_000_000_000
"""Of one call: a hundred times the largest context window; more is not a count."""

_PROMPT = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_COMPLETION = ("completion_tokens", "output_tokens", "eval_count")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_REASONING = ("reasoning_tokens",)
_OUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")

_log = logging.getLogger(__name__)


def usage_of(
    prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0, total: int = 0
) -> Usage:
    """Return the usage of one call whose price the adapter does not know.

    Args:
        reasoning: of the completion.
        total: what the provider calls total; where it is more than the sum, the rest are reasoning
            tokens, which are billed as completion (xAI counts them apart).
    """
    completion = max(completion, total - prompt)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        reasoning_tokens=min(reasoning, completion),
        cached_tokens=min(cached, prompt),
        model_calls=1,
        unpriced_calls=1,
    )


def count(value: Any, name: str) -> int:
    """Return a count of tokens: an integer of 0 to a billion; anything else is 0.

    What is there and is not a count is logged as a warning.
    """
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        return count(int(value), name)
    if isinstance(value, float) and 0.0 <= value <= MAX_TOKENS:
        return round(value)
    if value is not None:
        shown = f"an integer of {value.bit_length()} bits" if _is_huge(value) else repr(value)[:40]
        _log.warning("a provider counts %s as %s; taken as 0", name, shown)
    return 0


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 64


class Counter:
    """Takes what a provider says of its usage, in one place or in several.

    The last count that is not 0 stands: streams repeat them, and some end with empty ones.
    """

    def __init__(self) -> None:
        self._prompt = self._completion = self._cached = self._reasoning = self._total = 0

    def see(self, usage: Any) -> None:
        """Take an object of usage; what is not one says nothing."""
        if not usage or not isinstance(usage, dict):
            return
        fields: dict[str, Any] = usage
        prompt = _first(fields, _PROMPT)
        cached = _first(fields, _CACHED)
        for name in _DETAILS:
            if details := fields.get(name):
                cached = _first(record(details), _CACHED) or cached
        for name in _OUT_DETAILS:
            if details := fields.get(name):
                self._reasoning = _first(record(details), _REASONING) or self._reasoning
        if "prompt_tokens" not in fields and "cache_read_input_tokens" in fields:
            # Anthropic counts cached input apart
            prompt += cached + _first(fields, ("cache_creation_input_tokens",))
        self._prompt = prompt or self._prompt
        self._completion = _first(fields, _COMPLETION) or self._completion
        self._cached = cached or self._cached
        self._total = _first(fields, ("total_tokens",)) or self._total

    @property
    def usage(self) -> Usage:
        """What was counted so far."""
        return usage_of(
            self._prompt,
            self._completion,
            cached=self._cached,
            reasoning=self._reasoning,
            total=self._total,
        )


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = fields.get(name)
        if value and (found := count(value, name)):
            return found
    return 0

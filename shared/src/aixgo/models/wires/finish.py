"""Why an answer ended: the port's five words for what servers call it."""

from __future__ import annotations

import re
from typing import Any

from aixgo.models.port import FinishReason

_KNOWN: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "model_length": "length",
    "malformed_function_call": "error",
}

_WORDS: tuple[tuple[str, FinishReason], ...] = (
    (
        r"error|abort|cancel|fail|insufficient|overload|unavailable|interrupt|disconnect"
        r"|exception|malformed|timeout|timed_?out|preempt|kill",
        "error",
    ),
    (
        r"filter|safety|refus|sensitive|policy|block|moderation|prohibit|guardrail|recitation"
        r"|spii|harm",
        "content_filter",
    ),
    (r"length|max|limit|truncat|context|budget", "length"),
    (r"tool|function", "tool_calls"),
    (r"stop|eos|end|complete|finish|done|normal|success|^ok$", "stop"),
)
_RULES = tuple((re.compile(words), reason) for words, reason in _WORDS)


def finish_reason(value: Any, *, has_tool_calls: bool) -> FinishReason:
    """Return the port's word for a server's; some servers say `stop` although they ask for tools.

    A word that nothing is known of is an `error`: half an answer must not pass as a whole one.
    """
    reason = _meaning(value.lower()) if isinstance(value, str) and value else "stop"
    return "tool_calls" if has_tool_calls and reason == "stop" else reason


def _meaning(word: str) -> FinishReason:
    if word in _KNOWN:
        return _KNOWN[word]
    return next((reason for rule, reason in _RULES if rule.search(word)), "error")

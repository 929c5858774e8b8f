"""How results look: in words for people, in JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aixgo.cli._terminal import one_line
from aixgo.config.durations import format_duration
from aixgo.envelope import NO_USAGE, Usage
from aixgo.errors import AixgoError, ConfigError, RemoteError, code_of
from aixgo.message import Message


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one message ended: with an answer or with an error."""

    name: str
    agent: str
    run_id: str
    seconds: float
    answer: Message | None = None
    error: AixgoError | None = None
    usage: Usage = field(default=NO_USAGE)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON value."""
        found: dict[str, Any] = {
            "input": self.name,
            "agent": self.agent,
            "run_id": self.run_id,
            "status": "error" if self.answer is None else "done",
            "seconds": round(self.seconds, 3),
            "usage": usage_json(self.usage),
        }
        if self.answer is not None:
            found["text"] = self.answer.text
            found["data"] = self.answer.data
            found["meta"] = dict(self.answer.meta)
            found["trace_id"] = self.answer.trace_id
        if self.error is not None:
            found["error"] = error_json(self.error)
        return found

    def summary(self) -> str:
        """Return route, confidence, tokens, cost and time in one line."""
        meta = {} if self.answer is None else self.answer.meta
        parts = []
        if routed := meta.get("routed_to"):
            fallback = " (fallback)" if meta.get("used_fallback") else ""
            parts.append(f"route {meta.get('category', '?')} → {routed}{fallback}")
        elif category := meta.get("category"):
            parts.append(f"category {category}")
        parts += confidence(meta)
        parts += looked_at(meta)
        parts += [tokens(self.usage), f"cost {cost(self.usage)}", format_duration(self.seconds)]
        return " · ".join(parts)


def error_json(error: AixgoError) -> dict[str, Any]:
    """Return an error as a JSON value; the cause and the agent of a remote one are facts."""
    found: dict[str, Any] = {
        "code": code_of(error),
        "message": str(error),
        "retryable": error.retryable,
    }
    if isinstance(error, RemoteError):
        found |= {"agent": error.agent, "cause": error.cause, "attempts": error.attempts}
    if isinstance(error, ConfigError):
        found["fault"] = "configuration"
    return found


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return usage as a JSON value; a cost that is not known is null."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "model_calls": usage.model_calls,
        "cost_usd": usage.cost,
    }


def confidence(meta: Any) -> list[str]:
    """Return `confidence 0.93`; nothing when a result does not say it."""
    value = meta.get("confidence")
    return [f"confidence {value:.2f}"] if isinstance(value, int | float) else []


def looked_at(meta: Any) -> list[str]:
    """Return what hooks said of a result: that it is a refusal, and their notes."""
    refused, notes = meta.get("refused"), meta.get("notes")
    parts = []
    if isinstance(refused, Mapping):
        point = str(refused.get("point", "")).replace("_", " ")
        where = " ".join(part for part in (str(refused.get("hook", "")), point) if part)
        parts.append(one_line(f"refused ({where})" if where else "refused", 100))
    if isinstance(notes, list) and notes:
        parts.append(one_line(f"noted: {'; '.join(map(str, notes))}", 200))
    return parts


def tokens(usage: Usage) -> str:
    """Return `1,234 tokens`."""
    return f"{usage.total_tokens:,} token{'' if usage.total_tokens == 1 else 's'}"


def cost(usage: Usage) -> str:
    """Return the cost in US dollars: `$0` only when it is known to be nothing, else `unknown`."""
    if usage.cost is None:
        return "unknown"
    if usage.cost == 0:
        return "$0"
    return f"${usage.cost:,.2f}" if usage.cost >= 1 else f"${usage.cost:.2g}"


def used(usage: Usage) -> list[str]:
    """Return tokens and cost in words; nothing when no model was asked."""
    return [tokens(usage), cost(usage)] if usage.model_calls else []

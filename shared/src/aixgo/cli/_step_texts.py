"""A step in a few words, for the plain lines and for the live tree."""

from __future__ import annotations

from aixgo.cli._live import LiveStep
from aixgo.cli._terminal import one_line
from aixgo.cli._texts import confidence, tokens
from aixgo.config.durations import format_duration


def ended(step: LiveStep) -> str:
    """Return in a few words how a finished step ended."""
    if step.error is not None:
        return one_line(f"{step.status}: {step.error.message}", 200)
    category = step.meta.get("category")
    parts = [str(category)] if category else []
    parts += confidence(step.meta)
    if step.usage.total_tokens:
        parts.append(tokens(step.usage))
    parts.append(format_duration(step.seconds))
    return one_line(" · ".join(parts), 200)

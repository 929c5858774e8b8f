"""A step in a few words, for the plain lines and for the live tree."""

from __future__ import annotations

from aixgo.cli._live import LiveStep
from aixgo.cli._terminal import one_line
from aixgo.cli._texts import confidence, looked_at, tokens
from aixgo.config.durations import format_duration
from aixgo.runs.watch import StepFinished, ToolAsked


def ended(step: LiveStep) -> str:
    """Return in a few words how a finished step ended."""
    if step.error is not None:
        return one_line(f"{step.status}: {step.error.message}", 200)
    category = step.meta.get("category")
    parts = [str(category)] if category else []
    parts += confidence(step.meta)
    parts += looked_at(step.meta)
    if step.usage.total_tokens:
        parts.append(tokens(step.usage))
    parts.append(format_duration(step.seconds))
    return one_line(" · ".join(parts), 200)


def used_tool(asked: ToolAsked) -> str:
    """Return a tool that a model asks for, with its arguments."""
    return one_line(f"{asked.tool}({asked.arguments})", 200)


def tool_ended(event: StepFinished) -> str:
    """Return in a few words how the use of a tool ended."""
    return "done" if event.error is None else one_line(f"failed: {event.error.message}", 200)

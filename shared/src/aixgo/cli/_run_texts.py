"""How runs, their steps and what happened to them look: in words, as a tree, in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.calls.history import Happened
from aixgo.cli._people import utc
from aixgo.cli._question_texts import answering, asked, choices
from aixgo.cli._terminal import is_terminal, one_line, styled, write
from aixgo.cli._texts import usage_json, used
from aixgo.cli._value_texts import as_text, line_width, value_line, value_lines, value_text
from aixgo.config.durations import format_duration
from aixgo.runs import LIVE, Run, RunTree, Step

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

MARKS = {
    "queued": ("◌", "yellow"),
    "running": ("◌", "yellow"),
    "parked": ("◍", "cyan"),
    "done": ("●", "green"),
    "cancelled": ("✗", "yellow"),
}
FAILED = ("✗", "red")

WIDE = 1_000_000
"""The same for values of any size."""

VALUE_INDENT = 24
"""Characters of a terminal that the branches of the tree may take before a value."""

LINE_WIDTH = 1_000
"""Characters of a line that is written to a file or a pipe: more than any has."""


# -- JSON --------------------------------------------------------------------------------------


def run_json(run: Run) -> dict[str, Any]:
    """Return a run as a JSON value; a tree with its steps and its history."""
    found: dict[str, Any] = {
        "run_id": run.run_id,
        "agent": run.agent,
        "status": run.status,
        "started": utc(run.started),
        "seconds": round(run.seconds, 3),
        "usage": usage_json(run.usage),
    }
    if isinstance(run, RunTree):
        if run.input is not msgspec.UNSET:
            found["input"] = run.input
        own = own_call(run)
        if own is not None and own.value is not msgspec.UNSET:
            found["result"] = own.value
        found["steps"] = [step_json(step) for step in run.steps]
        found["history"] = [happened_json(record) for record in run.history]
    return found


def step_json(step: Step) -> dict[str, Any]:
    """Return a step, and what is below it, as a JSON value."""
    found: dict[str, Any] = {
        "step": step.path,
        "agent": step.agent,
        "kind": step.kind,
        "status": step.status,
        "attempts": step.attempts,
        "seconds": round(step.seconds, 3),
        "usage": usage_json(step.usage),
    }
    if step.ended is not None:
        found["ended"] = utc(step.ended)
    if step.value is not msgspec.UNSET:
        found["value"] = step.value
    if step.stored:
        found["stored_bytes"] = step.stored
    if step.error is not None:
        found["error"] = msgspec.to_builtins(step.error)
    if step.question is not None:
        found |= {"question": step.question, "options": list(step.options)}
    if step.until is not None:
        found["until"] = utc(step.until)
    if step.reused:
        found["reused"] = step.reused
    found["steps"] = [step_json(one) for one in step.steps]
    return found


def happened_json(record: Happened) -> dict[str, Any]:
    """Return a record of the history as a JSON value."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    found["at"] = utc(record.at)
    if record.until is not None:
        found["until"] = utc(record.until)
    return found


# -- words -------------------------------------------------------------------------------------


def summary(run: Run) -> str:
    """Return a run in one line."""
    parts = [
        f"run {run.run_id}",
        run.agent or "event",
        run.status,
        f"started {utc(run.started)}",
        format_duration(run.seconds),
        *used(run.usage),
    ]
    return " · ".join(parts)


def said(step: Step) -> str:
    """Return in a few words how a step stands."""
    parts: list[str] = [] if step.status == "done" else [step.status]
    if step.reused:
        parts.append("reused")
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.attempts or step.status in LIVE:
        parts.append(format_duration(step.seconds))
    parts += used(step.usage)
    if step.until is not None:
        parts.append(f"until {utc(step.until)}")
    if step.error is not None:
        parts.append(f"{step.error.code}: {step.error.message}")
    return one_line(" · ".join(parts), 300)


def named(step: Step) -> str:
    """Return a step's agent, or its kind when the agent took it itself, and its path."""
    name = step.agent if step.kind == "call" else step.kind
    return f"{name} {step.path}".rstrip()


def own_call(tree: RunTree) -> Step | None:
    """Return the run's own call, whose value is the run's result; None for the run of an event."""
    return tree.steps[0] if tree.steps and not tree.steps[0].path else None


def result_lines(tree: RunTree, *, full: bool) -> list[str]:
    """Return a run's result, or why it has none, in one line or whole; nothing while it runs."""
    own = own_call(tree)
    if own is None:
        return []
    if own.error is not None and tree.status not in LIVE:
        return [f"error: {own.error.code}: {own.error.message}"]
    lines = value_lines(own)
    if not full:
        return [f"result: {value_line(own, line_width(8))}"] if lines else []
    return [f"result: {lines[0]}"] if len(lines) == 1 else ["result:", *lines] if lines else []


def told(record: Happened) -> str:
    """Return in a few words what happened."""
    text = f"{record.error.code}: {record.error.message}" if record.error is not None else ""
    match record.what:
        case "failed":
            again = format_duration(record.retry_in or 0.0)
            text = f"attempt {record.attempt} failed, again in {again}: {text}"
        case "dead_letter":
            text = f"dead letter after attempt {record.attempt}: {text}"
        case "parked":
            waits = [*record.awaited]
            if record.until is not None:
                waits.append(utc(record.until))
            text = f"parked until {' or '.join(waits) or 'it is woken'}"
        case _:
            said = record.detail.startswith(record.what)  # such as the reason of a cancel
            parts = [record.detail] if said else [record.what, record.detail]
            text = ": ".join(part for part in parts if part)
    return one_line(text, 300)


def question(run: str, step: Step) -> str:
    """Return what a person is asked, and how to answer."""
    choice = f" ({choices(step.options)})" if step.options else ""
    return f"{asked(step.question)}{choice}   {answering(run, step.path)}"


# -- the tree ----------------------------------------------------------------------------------


def show(tree: RunTree, *, full: bool = False) -> None:
    """Write a run as a tree of its steps, with their values and what happened to each.

    Args:
        full: values whole, instead of their beginnings.
    """
    from rich.console import Console
    from rich.tree import Tree

    write(summary(tree))
    if tree.input is not msgspec.UNSET:
        given = as_text(tree.input, indent=full)
        write(f"input: {given if full else one_line(given, line_width(7))}")
    for line in result_lines(tree, full=full):
        write(line)
    # a terminal wraps what is too long; what is read by `less` or `grep` stays in its line
    width = None if is_terminal() else WIDE if full else LINE_WIDTH
    console = Console(highlight=False, width=width)
    known = {step.path for step in tree.walk()}
    for step in tree.steps:
        branch = Tree(_label(step), guide_style="dim")
        _fill(branch, tree, step, full=full)
        console.print(branch)
    for record in tree.history:
        if record.step not in known:
            console.print(styled(f"{utc(record.at)} {record.step} {told(record)}"))


def _fill(branch: Tree, tree: RunTree, step: Step, *, full: bool) -> None:
    for record in tree.history:
        if record.step == step.path:
            branch.add(styled(f"{utc(record.at)} {told(record)}", "dim"))
    for one in step.steps:
        below = branch.add(_label(one))
        shown = value_text(one, indent=True) if full else value_line(one, line_width(VALUE_INDENT))
        if shown:
            below.add(styled(f"→ {shown}"))
        if one.question is not None:
            below.add(styled(question(tree.run_id, one), "bold"))
        _fill(below, tree, one, full=full)


def _label(step: Step) -> Text:
    from rich.text import Text

    mark, style = MARKS.get(step.status, FAILED)
    name = step.agent if step.kind == "call" else step.kind
    return Text.assemble(
        (f"{mark} ", style),
        styled(name, "bold"),
        styled(f" {step.path}" if step.path else "", "cyan"),
        styled(f"  {said(step)}".rstrip(), "red" if step.error is not None else "dim"),
    )

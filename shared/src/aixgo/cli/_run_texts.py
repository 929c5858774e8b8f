"""How runs, their steps and what happened to them look: in words, as a tree, in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.calls.history import Happened
from aixgo.cli._options import is_terminal
from aixgo.cli._people import utc
from aixgo.cli._texts import clean, cost, one_line, tokens, usage_json, write
from aixgo.config.durations import format_duration
from aixgo.envelope import Usage
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


def used(usage: Usage) -> list[str]:
    """Return tokens and cost in words; nothing when no model was asked."""
    return [tokens(usage), cost(usage)] if usage.model_calls else []


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
    return " · ".join(clean(part) for part in parts)


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
            text = f"{record.what}{': ' * bool(record.detail)}{record.detail}"
    return one_line(text, 300)


def question(run: str, step: Step) -> str:
    """Return what a person is asked, and how to answer."""
    asked = step.question if isinstance(step.question, str) else _json(step.question)
    choice = f" ({' | '.join(step.options)})" if step.options else ""
    return one_line(f"{asked}{choice}", 300) + f"   aixgo runs answer {run} … --step {step.path}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# -- the tree ----------------------------------------------------------------------------------


def show(tree: RunTree) -> None:
    """Write a run as a tree of its steps, with what happened to each."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    write(summary(tree))
    if tree.input is not msgspec.UNSET:
        asked = tree.input if isinstance(tree.input, str) else _json(tree.input)
        write(f"input: {one_line(asked, 300)}")
    # a terminal wraps what is too long; what is read by `less` or `grep` stays in its line
    console = Console(highlight=False, width=None if is_terminal() else LINE_WIDTH)
    known = {step.path for step in tree.walk()}
    for step in tree.steps:
        branch = Tree(_label(step), guide_style="dim")
        _fill(branch, tree, step)
        console.print(branch)
    for record in tree.history:
        if record.step not in known:
            console.print(Text(f"{utc(record.at)} {clean(record.step)} {told(record)}"))


def _fill(branch: Tree, tree: RunTree, step: Step) -> None:
    from rich.text import Text

    for record in tree.history:
        if record.step == step.path:
            branch.add(Text(f"{utc(record.at)} {told(record)}", "dim"))
    for one in step.steps:
        below = branch.add(_label(one))
        if one.question is not None:
            below.add(Text(question(tree.run_id, one), "bold"))
        _fill(below, tree, one)


def _label(step: Step) -> Text:
    from rich.text import Text

    mark, style = MARKS.get(step.status, FAILED)
    name = step.agent if step.kind == "call" else step.kind
    return Text.assemble(
        (f"{mark} ", style),
        (clean(name), "bold"),
        (f" {clean(step.path)}" if step.path else "", "cyan"),
        (f"  {said(step)}".rstrip(), "red" if step.error is not None else "dim"),
    )

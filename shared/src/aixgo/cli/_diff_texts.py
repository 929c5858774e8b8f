"""Two runs side by side, in words and in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo.cli._run_texts import named, said, step_json, summary
from aixgo.cli._terminal import is_terminal, one_line, write
from aixgo.cli._value_texts import as_text, line_width, value_lines
from aixgo.runs import RunTree, Step, differences

MARKS = {"reused": "↺", "same": "=", "changed": "~", "new": "+", "missing": "-"}

GAP = " │ "


def diff_json(before: RunTree, after: RunTree) -> dict[str, Any]:
    """Return two runs as one JSON value, with both values of every step."""
    steps = [
        {
            "step": one.path,
            "change": one.change,
            "before": _step_json(one.before),
            "after": _step_json(one.after),
        }
        for one in differences(before, after)
    ]
    return {
        "before": before.run_id,
        "after": after.run_id,
        "same_input": before.input == after.input,
        "steps": steps,
    }


def _step_json(step: Step | None) -> dict[str, Any] | None:
    return None if step is None else {k: v for k, v in step_json(step).items() if k != "steps"}


def show_diff(before: RunTree, after: RunTree, *, full: bool) -> None:
    """Write the steps of two runs, each with how it ended in both."""
    write(f"- {summary(before)}")
    write(f"+ {summary(after)}")
    if before.input != after.input:
        write("~ input  changed")
        _both(*([_input(run)] for run in (before, after)), full=full)
    found = differences(before, after)
    for one in found:
        step = one.after or one.before
        assert step is not None  # it is in one of them
        write(f"{MARKS[one.change]} {named(step)}  {one.change}")
        if one.change == "changed":
            _both(_ended(one.before), _ended(one.after), full=full)
        else:
            for line in _ended(step) if full else [" ".join(_ended(step))]:
                write(f"    {line if full else one_line(line, line_width(4))}".rstrip())
    counts = [(change, sum(one.change == change for one in found)) for change in MARKS]
    write(" · ".join(f"{number} {change}" for change, number in counts if number))


def _both(before: list[str], after: list[str], *, full: bool) -> None:
    """Write what was and what is: side by side in a line, or whole, one below the other."""
    if full:
        for mark, lines in (("-", before), ("+", after)):
            for line in lines:
                write(f"    {mark} {line}")
        return
    half = (line_width(4) - len(GAP)) // 2
    left, right = (one_line(" ".join(lines), half) for lines in (before, after))
    write(f"    {left:<{half}}{GAP}{right}" if is_terminal() else f"    {left}{GAP}{right}")


def _ended(step: Step | None) -> list[str]:
    """Return how a step ended: its value, or how it stands without one."""
    if step is None:
        return []
    return value_lines(step) or ([said(step)] if step.status != "done" else [])


def _input(run: RunTree) -> str:
    return "(not kept)" if run.input is msgspec.UNSET else as_text(run.input)

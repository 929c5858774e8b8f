"""What differs between two runs, such as a fork and the run that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from aixgo.runs.shapes import RunTree, Step

Change = Literal["reused", "same", "changed", "new", "missing"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A step in two runs.

    Attributes:
        path: inside both runs; empty for the run's own call.
        change: `reused` when the second run took it over without executing it, `same` when it was
            executed again and ended the same way, `changed` when it ended otherwise, `new` when
            only the second run has it, `missing` when only the first one has.
        before, after: the step in the first and in the second run.
    """

    path: str
    change: Change
    before: Step | None
    after: Step | None


def differences(before: RunTree, after: RunTree) -> Sequence[Difference]:
    """Return every step of two runs, in the order of the second; then what only the first has.

    Values that lie in the object store are compared when both trees are `whole`.
    """
    old = {step.path: step for step in before.walk()}
    new = {step.path: step for step in after.walk()}
    return [
        Difference(
            path=path,
            change=_change(old.get(path), new.get(path)),
            before=old.get(path),
            after=new.get(path),
        )
        for path in dict.fromkeys((*new, *old))
    ]


def _change(before: Step | None, after: Step | None) -> Change:
    if after is None:
        return "missing"
    if before is None:
        return "new"
    if after.reused and after.reused != before.reused:
        return "reused"
    ends = [
        (step.status, step.value, step.stored, step.error and step.error.code, step.question)
        for step in (before, after)
    ]
    if ends[0] == ends[1]:
        return "reused" if after.reused else "same"
    return "changed"

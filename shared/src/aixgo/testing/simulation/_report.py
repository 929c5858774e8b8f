"""What a simulation returns: a report when all went well, and a failure that can be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SHOWN_FAULTS = 40
"""Lines of a failure's fault timeline; what led to it is nearly always among the last ones."""


class Event(NamedTuple):
    """Something that happened: virtual seconds, who, what, and to what."""

    at: float
    process: str
    what: str
    about: str

    def __str__(self) -> str:
        return f"{self.at:10.3f} s  {self.process:<14} {self.what:<10} {self.about}".rstrip()


@dataclass(kw_only=True)
class Report:
    """What happened in all seeds together.

    Attributes:
        seeds: how many were simulated.
        runs: accepted from outside; every one finished.
        executions: of handlers, the gateway's too.
        repeated: executions that began although an earlier one of the same call was in flight or
            was lost with its process: what at-least-once means.
        model_calls: that reached the model.
        faults: how many there were of each kind.
        operations: of each process by its name; the places for `At`.
        virtual_seconds: that passed inside.
        seconds: that it took.
        traces: everything that happened, by seed; equal for equal seeds.
    """

    seeds: int = 0
    runs: int = 0
    executions: int = 0
    repeated: int = 0
    model_calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    virtual_seconds: float = 0.0
    seconds: float = 0.0
    traces: dict[int, Sequence[Event]] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Count another report too."""
        self.seeds += other.seeds
        self.runs += other.runs
        self.executions += other.executions
        self.repeated += other.repeated
        self.model_calls += other.model_calls
        self.faults.update(other.faults)
        self.operations.update(other.operations)
        self.virtual_seconds += other.virtual_seconds
        self.seconds += other.seconds
        self.traces.update(other.traces)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds, {self.runs} runs, {self.executions} executions "
            f"({self.repeated} repeated), {self.model_calls} model calls; "
            f"faults: {faults or 'none'}; {self.virtual_seconds:,.0f} virtual seconds in "
            f"{self.seconds:.1f} s"
        )


class PromiseBroken(AssertionError):
    """The runtime broke one of its own promises; the text says which, and where."""


class SimulationFailed(AssertionError):
    """A seed failed: the scenario raised, a promise was broken, or it did not end.

    Attributes:
        seed: pass it to `simulate` again to see the same.
        error: what was raised.
        faults: what went wrong on purpose before, oldest first.
        trace: everything that happened.
    """

    def __init__(
        self,
        seed: int,
        error: BaseException,
        *,
        faults: Sequence[Event],
        trace: Sequence[Event],
        again: str,
    ) -> None:
        self.seed, self.error, self.faults, self.trace = seed, error, faults, trace
        lines = [f"seed {seed}: {type(error).__name__}: {error}", "what went wrong on purpose:"]
        if len(faults) > SHOWN_FAULTS:
            lines.append(f"  … {len(faults) - SHOWN_FAULTS} earlier ones, then")
        lines += [f"  {event}" for event in faults[-SHOWN_FAULTS:]] or ["  nothing"]
        lines.append(f"the same again: simulate(…, {again})")
        super().__init__("\n".join(lines))

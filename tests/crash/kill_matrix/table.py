"""What a part of the matrix came to, as a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field

HEADER = (
    "| killed | kills | moments that hit a run | runs accepted | runs finished | wrong results "
    "| completed steps run again | paid again | calls in flight repeated | recovery p50 / p95 |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
SHOWN = 3
"""Problems of one sort that a failure shows; the rest are counted."""


@dataclass
class Row:
    """Counts of one part of the matrix; `recovery` are seconds from a kill to the last hit run."""

    victims: str
    kills: int = 0
    accepted: int = 0
    finished: int = 0
    wrong: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    paid_again: list[str] = field(default_factory=list)
    repeated: int = 0
    executions: int = 0
    recovery: list[float] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    log_tail: str = ""

    def __str__(self) -> str:
        seconds = sorted(self.recovery)
        shown = "–"
        if seconds:
            p50, p95 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
            shown = f"{p50:.1f} / {p95:.1f} s"
        return (
            f"| {self.victims} | {self.kills} | {len(seconds)} | {self.accepted} | {self.finished} "
            f"| {len(self.wrong)} | {len(self.again)} | {len(self.paid_again)} "
            f"| {self.repeated} of {self.executions} | {shown} |"
        )

    def __iadd__(self, other: Row) -> Row:
        self.kills += other.kills
        self.accepted += other.accepted
        self.finished += other.finished
        self.wrong += other.wrong
        self.again += other.again
        self.paid_again += other.paid_again
        self.repeated += other.repeated
        self.executions += other.executions
        self.recovery += other.recovery
        self.exits += other.exits
        self.log_tail = self.log_tail if self.broken else other.log_tail
        return self

    @property
    def broken(self) -> bool:
        """Whether a promise was not kept."""
        return bool(self.wrong or self.again or self.paid_again or self.finished != self.accepted)

    def problems(self) -> str:
        """Return what went wrong, short: a few of each sort, and the end of the services' log."""
        if not self.broken:
            return ""
        parts = [f"killed: {self.victims}; {self.finished} of {self.accepted} runs finished"]
        for title, found in (
            ("wrong", self.wrong),
            ("completed step run again", self.again),
            ("paid again", self.paid_again),
            ("ended by itself", self.exits),
        ):
            parts += [f"  {title}: {text}" for text in found[:SHOWN]]
            if len(found) > SHOWN:
                parts.append(f"  {title}: and {len(found) - SHOWN} more")
        return "\n".join([*parts, "  the services' log ends with:", self.log_tail])

"""Figures: what was measured, beside its baseline and its budget.

Machines differ and are noisy, so a figure counts only beside its baseline of the same rounds: the
ratio is the median of the rounds' ratios, not the ratio of two medians.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, and how it compares with its baseline.

    Attributes:
        row: of the table of budgets.
        baseline: name of the contender that it is compared with; empty for a baseline itself.
        ratio: this by the baseline, median over the rounds; rates: more is better, times and
            sizes: less is better.
        spread: smallest and largest ratio of a round.
        must, aim: budget of the ratio.
    """

    row: str
    what: str
    contender: str
    value: float
    unit: str
    baseline: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    must: float | None = None
    aim: float | None = None
    rounds: int = 0

    @property
    def verdict(self) -> str:
        """`aim`, `must` or `missed`; empty without a budget."""
        value = self.value if self.ratio is None else self.ratio
        if self.must is None or self.aim is None:
            return ""
        better = _at_most if self.unit in LESS_IS_BETTER else _at_least
        return (
            "aim" if better(value, self.aim) else "must" if better(value, self.must) else "missed"
        )


LESS_IS_BETTER = frozenset({"µs", "ms", "MB"})


def _at_most(value: float, limit: float) -> bool:
    return value <= limit


def _at_least(value: float, limit: float) -> bool:
    return value >= limit


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The ratio that is asked for, against one baseline; without one, the figure itself.

    Without `must` and `aim` nothing is asked for: the ratio is for information.
    """

    baseline: str
    must: float | None = None
    aim: float | None = None


def compare(
    row: str | Mapping[str, str],
    what: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    budgets: Mapping[str, Sequence[Budget]],
) -> Iterator[Figure]:
    """Yield the figures of one row: every contender's median, and its ratios to its baselines.

    Args:
        row: of the table of budgets, or one for each contender.
        values: one for each round, by contender.
        budgets: by contender.
    """
    for contender, ours in values.items():
        plain = Figure(
            row=row if isinstance(row, str) else row[contender],
            what=what,
            contender=contender,
            value=statistics.median(ours),
            unit=unit,
            rounds=len(ours),
        )
        for budget in budgets.get(contender, ()):
            yield replace(_against(plain, ours, values, budget), must=budget.must, aim=budget.aim)
        if contender not in budgets:
            yield plain


def _against(
    plain: Figure, ours: Sequence[float], values: Mapping[str, Sequence[float]], budget: Budget
) -> Figure:
    if not budget.baseline:
        return plain
    ratios = [mine / its for mine, its in zip(ours, values[budget.baseline], strict=True)]
    return replace(
        plain,
        baseline=budget.baseline,
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
    )


def tell(figures: Iterable[Figure]) -> list[Figure]:
    """Print one JSON line for each figure."""
    told = []
    for figure in figures:
        print(json.dumps(asdict(figure) | {"verdict": figure.verdict}), flush=True)
        told.append(figure)
    return told


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| row | what | contender | figure | against | ratio | must · aim | |"]
    lines.append("|---|---|---|---:|---|---:|---|---|")
    for figure in figures:
        ratio = budget = ""
        if figure.ratio is not None and figure.spread is not None:
            low, high = figure.spread
            ratio = f"{figure.ratio:.2f} × ({low:.2f} … {high:.2f})"
        if figure.must is not None:
            budget = f"{figure.must:g} · {figure.aim:g}"
        lines.append(
            f"| {figure.row} | {figure.what} | {figure.contender} | "
            f"{figure.value:,.{0 if figure.value >= 100 else 1}f} {figure.unit} | "
            f"{figure.baseline} | {ratio} | {budget} | {figure.verdict} |"
        )
    return "\n".join(lines)

"""The benchmarks' arithmetic: a wrong ratio would be worse than none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield import_module("figures")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_medians(figures: ModuleType) -> None:
    # the machine was slow in the second round, for both
    values = {"ours": [30.0, 3.0, 33.0], "theirs": [10.0, 1.0, 10.0]}
    budget = figures.Budget(baseline="theirs", must=2.0, aim=4.0)
    theirs, ours = sorted(
        figures.compare("1", "x", "calls/s", values, {"ours": [budget]}), key=lambda f: f.value
    )
    assert (ours.value, ours.ratio, ours.spread) == (30.0, 3.0, (3.0, 3.3))
    assert (theirs.ratio, theirs.verdict) == (None, "")


@pytest.mark.parametrize(
    ("unit", "ratio", "verdict"),
    [
        ("calls/s", 4.0, "aim"),
        ("calls/s", 2.0, "must"),
        ("calls/s", 1.9, "missed"),
        ("µs", 4.0, "must"),
        ("µs", 2.0, "aim"),
        ("µs", 4.1, "missed"),
    ],
)
def test_more_is_better_for_rates_and_less_for_times(
    figures: ModuleType, unit: str, ratio: float, verdict: str
) -> None:
    must, aim = (2.0, 4.0) if unit == "calls/s" else (4.0, 2.0)
    budget = figures.Budget(baseline="theirs", must=must, aim=aim)
    values = {"ours": [ratio], "theirs": [1.0]}
    found = [f for f in figures.compare("1", "x", unit, values, {"ours": [budget]}) if f.must]
    assert [figure.verdict for figure in found] == [verdict]


def test_a_budget_without_a_baseline_is_about_the_figure_itself(figures: ModuleType) -> None:
    budget = figures.Budget(baseline="", must=5.0, aim=2.0)
    (figure,) = figures.compare("13", "x", "MB", {"ours": [1.0, 3.0, 9.0]}, {"ours": [budget]})
    assert (figure.value, figure.ratio, figure.verdict) == (3.0, None, "must")


def test_a_ratio_for_which_nothing_is_asked_has_no_verdict(figures: ModuleType) -> None:
    values = {"ours": [9.0], "theirs": [3.0]}
    budgets = {"ours": [figures.Budget(baseline="theirs")]}
    found = {f.contender: f for f in figures.compare("x", "x", "ms", values, budgets)}
    assert (found["ours"].ratio, found["ours"].verdict) == (3.0, "")
    assert "| 3.00 × (3.00 … 3.00) |  |  |" in figures.table([found["ours"]])


def test_the_table_has_a_line_for_each_figure_with_its_spread(figures: ModuleType) -> None:
    budget = figures.Budget(baseline="theirs", must=2.0, aim=4.0)
    values = {"ours": [3000.0], "theirs": [1000.0]}
    text = figures.table(figures.compare("1", "alone", "calls/s", values, {"ours": [budget]}))
    assert (
        "| 1 | alone | ours | 3,000 calls/s | theirs | 3.00 × (3.00 … 3.00) | 2 · 4 | must |"
        in text
    )
    assert len(text.splitlines()) == 4

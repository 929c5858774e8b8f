"""Every benchmark script runs to its end; what it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    "in_process.py",
    "over_nats.py",
    "sequential_durable.py",
    "model_calls.py",
    "processes.py",
    "mcp_memory.py",
    "cancel.py",
)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_script_gives_figures_and_a_table(script: str) -> None:
    """The first run installs the peers, so it needs a package index."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), "--quick"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = ended.stdout.splitlines()
    figures = [json.loads(line) for line in lines if line.startswith("{")]
    assert figures
    assert all(figure["value"] > 0 for figure in figures if figure["row"] != "13")
    assert any(figure["ratio"] is not None for figure in figures)
    assert lines[len(figures)].startswith("| row |")

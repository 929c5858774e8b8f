"""What every test shares: the event loop it runs on, and the skips that this run forbids.

`AIXGO_REQUIRE=nats,local_model,containers` names markers whose tests must run: where something is
installed on purpose (CI), a skip would hide that it is broken, so there it is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

# tests run beside each other's processes: one thread of the model is faster than two that wait
os.environ.setdefault("AIXGO_LOCAL_MODEL_THREADS", "1")

REQUIRED = frozenset(filter(None, os.environ.get("AIXGO_REQUIRE", "").split(",")))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests on asyncio, the loop that services run on."""
    return ("asyncio", {})


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a name in `AIXGO_REQUIRE` that is no marker: it would forbid nothing."""
    known = {line.split(":")[0] for line in config.getini("markers")}
    unknown = REQUIRED - known
    if unknown:
        raise pytest.UsageError(
            f"AIXGO_REQUIRE names {', '.join(sorted(unknown))}, "
            "which is no marker of pyproject.toml"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a required test into a failure that keeps the reason."""
    report = yield
    required = REQUIRED.intersection(mark.name for mark in item.iter_markers())
    if report.skipped and required and not hasattr(report, "wasxfail"):
        _fail(report, f"needs {', '.join(sorted(required))}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure: its markers were never read."""
    report = yield
    if report.skipped and REQUIRED:
        _fail(report, "is a whole module")
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport, why: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{reason}; AIXGO_REQUIRE forbids this skip ({report.nodeid} {why})"

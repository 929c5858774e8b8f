"""What every test shares: its event loop, brokers and systems, and the skips that are forbidden.

`AIXGO_REQUIRE=nats,local_model,containers` names markers whose tests must run: where something is
installed on purpose (CI), a skip would hide that it is broken, so there it is a failure.

A test that hangs ends: first pytest-timeout fails it; if it hangs on, its process is ended.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from aixgo.testing.local import Running, run_local
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.virtual_time import VirtualTimeLoop

# Tests start hundreds of processes, and each would compile all that it imports: keep what is
# compiled, also where the environment says otherwise (some machines do, to save space).
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# tests run beside each other's processes: one thread of the model is faster than two that wait
os.environ.setdefault("AIXGO_LOCAL_MODEL_THREADS", "1")

# One profile for everyone: without this, hypothesis is lenient where CI is set and strict where it
# is not. What measures the speed of the machine is off: the deadline of an example, and the check
# that inputs are drawn quickly. Every other health check counts, so it stays on. Every run draws
# the same inputs, so a red test means that the code has changed; `explore` looks for new ones.
settings.register_profile(
    "same-for-everyone",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
settings.register_profile(
    "explore",
    settings.get_profile("same-for-everyone"),
    derandomize=False,
    max_examples=1_000,
    print_blob=True,
)
settings.load_profile("same-for-everyone")

FIRST = (
    "tests/crash",
    "tests/examples",
    "tests/integration/cli",
    "tests/processes",
    "tests/wire",
    "tests/docs",
    "tests/conformance",
    "tests/system/test_matrix_in_memory.py",
    "tests/unit/test_simulation.py",
)
"""Where tests start processes, load a model or explore: tens of seconds for a file."""

ENOUGH = 1.25
"""Times the timeout of a test: after that it does not end, so its process does."""

REQUIRED = frozenset(filter(None, os.environ.get("AIXGO_REQUIRE", "").split(",")))


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run async tests on asyncio, the loop of services; `virtual_time` marks where waits are free.

    A test marked `nats` has sockets, so it takes real time, whatever its module says.
    """
    node = request.node
    virtual = node.get_closest_marker("virtual_time") and not node.get_closest_marker("nats")
    return ("asyncio", {"loop_factory": VirtualTimeLoop} if virtual else {})


@pytest.fixture(scope="session")
def nats_server() -> Generator[NatsServer, None, None]:
    """One server for many tests; each uses a namespace of its own."""
    with NatsServer() as server:
        yield server


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.virtual_time),
        pytest.param("nats", marks=pytest.mark.nats),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """The broker under a test, which runs once on each."""
    return str(request.param)


@pytest.fixture
def running(kind: str, request: pytest.FixtureRequest) -> Running:
    """Return `run_local` on the broker of this test: `running(*agents, **app options)`."""
    if kind == "memory":
        return run_local
    return partial(run_local, broker=request.getfixturevalue("nats_server").url)


@pytest.fixture
def nothing_blocks_the_loop() -> Generator[None, None, None]:
    """Fail the test when Aixgo makes a blocking call in a running event loop."""
    # starting and killing a server blocks for some milliseconds; it is what the tests do, not Aixgo
    starting = ["aixgo.testing", "aixgo.broker.embedded"]
    with blockbuster_ctx("aixgo", excluded_modules=starting):
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a name in `AIXGO_REQUIRE` that is not a marker: it would forbid nothing."""
    config.stash[_STDERR] = os.dup(2)  # that of a test is captured
    known = {line.split(":")[0] for line in config.getini("markers")}
    unknown = REQUIRED - known
    if unknown:
        raise pytest.UsageError(
            f"AIXGO_REQUIRE names {', '.join(sorted(unknown))}, "
            "which is not a marker of pyproject.toml"
        )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `long(only=…)` mean those cases of a test whose id has one of these words."""
    for mark in list(item.iter_markers("long")):
        only = mark.kwargs.get("only", ())
        if only and not any(word in item.name for word in only):
            item.own_markers.remove(mark)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, in their random order, so that short ones fill the end.

    xdist would begin with the files that have many tests, which are the short ones.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


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


_STDERR = pytest.StashKey[int]()
_WATCH = pytest.StashKey[threading.Timer]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process of a test that hangs although its timeout has passed.

    pytest-timeout fires once, and no more after a failure: a fixture that then waits for what
    never comes would wait for ever. xdist reports the test as failed and goes on with the others.
    """
    given = item.config.getoption("timeout", 0)  # None where there is only the setting
    if given is None:
        given = item.config.getini("timeout")
    if (mark := item.get_closest_marker("timeout")) is not None:
        given = mark.args[0]
    timeout = float(given or 0)
    if timeout <= 0 or item.config.getoption("usepdb"):
        return (yield)
    watch = threading.Timer(timeout * ENOUGH, _end_the_process, (item, timeout * ENOUGH))
    watch.daemon = True
    item.config.stash[_WATCH] = watch
    watch.start()
    try:
        return (yield)
    finally:
        watch.cancel()


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Let people debug for as long as they like."""
    if (watch := config.stash.get(_WATCH, None)) is not None:
        watch.cancel()


def _end_the_process(item: pytest.Item, seconds: float) -> None:
    stderr = item.config.stash[_STDERR]
    line = f"\n{item.nodeid} hangs after {seconds:g} s, so its process ends. Its threads:\n"
    os.write(stderr, line.encode())
    faulthandler.dump_traceback(stderr)
    os._exit(1)


_ROOT = Path(__file__).parent
_EXAMPLES = str(_ROOT / "examples")
_OURS = (str(_ROOT), sys.prefix, sys.base_prefix)
"""What stays, even where the clone or the Python itself is in a temporary folder."""


@pytest.fixture(autouse=True)
def modules_of_users_are_forgotten() -> Generator[None, None, None]:
    """Forget what a test imported from an example or a temporary folder: names there repeat."""
    before = sys.path.copy()
    yield
    sys.path[:] = before
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        temporary = file.startswith(tempfile.gettempdir()) and not file.startswith(_OURS)
        if temporary or file.startswith(_EXAMPLES):
            del sys.modules[name]

"""`aixgo.clock`: the machine's time, until a loop owns the time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from aixgo import clock
from aixgo.testing.virtual_time import EPOCH, VirtualTimeLoop, run_virtual


def test_a_process_without_virtual_time_takes_the_machines_and_asks_no_loop() -> None:
    code = (
        "import asyncio, time\n"
        "from aixgo import clock\n"
        "class Loop(asyncio.SelectorEventLoop):\n"
        "    def wall_time(self): raise SystemExit('asked')\n"
        "async def main(): return abs(clock.now() - time.time())\n"
        "with asyncio.Runner(loop_factory=Loop) as runner: print(runner.run(main()) < 3600)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "True"


def test_now_is_the_virtual_loops_time_inside_it_and_the_machines_outside() -> None:
    async def main() -> float:
        await asyncio.sleep(3600.0)
        return clock.now()

    assert run_virtual(main()) == EPOCH + 3600.0
    assert abs(clock.now() - time.time()) < 3600


def test_an_ordinary_loop_beside_virtual_ones_keeps_the_machines_time() -> None:
    VirtualTimeLoop().close()

    async def main() -> float:
        return clock.now()

    assert abs(asyncio.run(main()) - time.time()) < 3600


def test_rfc3339_is_in_utc_with_microseconds() -> None:
    assert clock.rfc3339(EPOCH + 0.25) == "2030-01-01T00:00:00.250000Z"


# -- a clock that differs from the broker's --------------------------------------------------------


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_skew", 0.0)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("ahead", [300.0, -300.0, 2.5])
def test_a_wrong_clock_is_corrected_and_told_once(ahead: float) -> None:
    assert clock.measured(ahead, 0.01)
    assert abs(clock.now() - clock.machine() - ahead) < 1.0
    assert not clock.measured(ahead + 0.3, 0.01)
    assert clock.skew() == ahead
    assert clock.measured(0.0, 0.01), "somebody has set the clock"
    assert clock.skew() == 0.0


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("ahead", "uncertain"), [(1.9, 0.0), (-1.9, 0.1), (300.0, 1.5), (2.2, 0.5)]
)
def test_what_is_tolerated_or_uncertain_corrects_nothing(ahead: float, uncertain: float) -> None:
    assert not clock.measured(ahead, uncertain)
    assert clock.skew() == 0.0

"""Run the default tests several times, each in another random order, while the cores are kept busy.

    make test-busy                               five times, beside two busy processes
    make test-busy ARGS="--times 1 --busy 6"     once, beside six

A test that depends on the speed of the machine fails here sooner or later. Other arguments go to
pytest. The last lines say what each run came to, and how to repeat its order.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPIN = "while True: pass"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep that many cores busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> int:
    """Run the tests; the exit code is 1 if they failed once."""
    parser = argparse.ArgumentParser(description="Run the default tests on a busy machine.")
    parser.add_argument("--times", type=int, default=5, help="runs (default: 5)")
    parser.add_argument("--busy", type=int, default=2, help="processes that spin (default: 2)")
    chosen, arguments = parser.parse_known_args()
    tests = [sys.executable, "-m", "pytest", "-n", "3", "--dist", "loadfile", *arguments]
    verdicts = []
    with busy(chosen.busy):
        for _ in range(chosen.times):
            seed, began = random.getrandbits(32), time.monotonic()
            code = subprocess.run([*tests, f"--randomly-seed={seed}"], cwd=ROOT, check=False)
            seconds = time.monotonic() - began
            verdict = "passed" if code.returncode == 0 else "FAILED"
            verdicts.append(f"--randomly-seed={seed}: {verdict} in {seconds:.0f} s")
    print(f"\nbeside {chosen.busy} busy processes:", *verdicts, sep="\n")
    return int(any("FAILED" in verdict for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())

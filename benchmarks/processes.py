"""Rows 12 and 13: start-up time and memory of agent service processes.

Ready means that the server has confirmed the subscriptions. Streams and consumers are there
already, as in a deployment; bytecode is compiled by a start that is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from figures import Budget, Figure, compare, table, tell
from referee import Options, options, ready, run
from stage import SERVICE, free_port, install, nats_server

FASTSTREAM, AUTOGEN, AIXGO = "FastStream NATS worker", "AutoGen gRPC worker", "Aixgo service"
READY = {AIXGO: [Budget(baseline=FASTSTREAM, must=1.3, aim=1.0)]}
MEMORY = {AIXGO: [Budget(baseline=FASTSTREAM, must=1.15, aim=1.0)]}
COMMAND, HUNDRED = "aixgo service (command)", "Aixgo service, 100 agents"
MORE = {HUNDRED: [Budget(baseline="", must=5.0, aim=2.0)]}


@dataclass(frozen=True)
class Start:
    """How to start a process of one kind."""

    script: str
    arguments: tuple[str, ...]
    home: str = ""

    def measure(self) -> tuple[float, float]:
        """Return milliseconds until it is ready, and its megabytes then."""
        began = time.perf_counter()
        with ready(self.script, *self.arguments, home=self.home) as started:
            took = (time.perf_counter() - began) * 1e3
            return took, started.megabytes()


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures of rows 12 and 13."""
    install("autogen", "faststream", SERVICE)
    with nats_server() as url, ExitStack() as stack:
        address = f"127.0.0.1:{free_port()}"
        stack.enter_context(ready("autogen_grpc.py", address, "host", home="autogen"))
        run("aixgo_command.py", url, "provision")
        run("aixgo_worker.py", url, "100", "provision")
        starts = {
            FASTSTREAM: Start("faststream_nats.py", (url, "worker"), home="faststream"),
            AUTOGEN: Start("autogen_grpc.py", (address, "worker"), home="autogen"),
            AIXGO: Start("aixgo_worker.py", (url, "1", "serve"), home=SERVICE),
            COMMAND: Start("aixgo_command.py", (url, "service"), home=SERVICE),
            HUNDRED: Start("aixgo_worker.py", (url, "100", "serve"), home=SERVICE),
        }
        for start in starts.values():
            start.measure()
        times: dict[str, list[float]] = {name: [] for name in starts}
        sizes: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(given.rounds):
            for name, start in starts.items():
                took, size = start.measure()
                times[name].append(took)
                sizes[name].append(size)
    yield from compare("12", "ready after", "ms", times, READY)
    yield from compare("12", "resident memory", "MB", sizes, MEMORY)
    more = [big - small for big, small in zip(sizes[HUNDRED], sizes[AIXGO], strict=True)]
    yield from compare("13", "99 more agents: memory", "MB", {HUNDRED: more}, MORE)


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

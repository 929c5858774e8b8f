"""Rows 6, 6b and 7: calls from one process to another, against nats-py alone and FastStream.

One nats-server with file storage for all; every contender has a process that calls and one that
works.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Contender, Options, options, quantity, ready, rounds, run
from stage import install, nats_server

RAW, FASTSTREAM, RPC = "nats-py request", "FastStream request", "Aixgo rpc"
RAW_CALL, CALL = "nats-py publish, pull, reply", "Aixgo durable call"

RPC_RATE = {
    RPC: [
        Budget(baseline=RAW, must=0.65, aim=1.0),
        Budget(baseline=FASTSTREAM, must=2.0, aim=3.0),
    ]
}
RPC_ALONE = {RPC: [Budget(baseline=RAW, must=1.25, aim=1.0)]}
CALL_RATE = {CALL: [Budget(baseline=RAW_CALL, must=0.5, aim=0.8)]}
CALL_ALONE = {CALL: [Budget(baseline=RAW_CALL, must=1.6, aim=1.2)]}


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures, alone and 64 at once."""
    install("faststream")
    with nats_server() as url, ExitStack() as stack:
        run("aixgo_worker.py", url, "1", "provision")
        stack.enter_context(ready("aixgo_worker.py", url, "1", "serve"))

        def pair(script: str, *, home: str = "") -> Contender:
            stack.enter_context(ready(script, url, "worker", home=home))
            return stack.enter_context(ready(script, url, "caller", home=home))

        rpcs = {
            RAW: pair("raw_rpc.py"),
            FASTSTREAM: pair("faststream_nats.py", home="faststream"),
            RPC: stack.enter_context(ready("aixgo_nats.py", url, "rpc")),
        }
        yield from compare_both("6", "6b", rpcs, given, RPC_RATE, RPC_ALONE)
        calls = {
            RAW_CALL: pair("raw_call.py"),
            CALL: stack.enter_context(ready("aixgo_nats.py", url, "call")),
        }
        yield from compare_both("7", "7", calls, given, CALL_RATE, CALL_ALONE)


def compare_both(
    row: str,
    row_alone: str,
    contenders: dict[str, Contender],
    given: Options,
    rate: dict[str, list[Budget]],
    alone: dict[str, list[Budget]],
) -> Iterator[Figure]:
    """Yield calls/s at 64 at once, and the median latency of one at a time."""
    measured = rounds(contenders, given, at_once=64)
    yield from compare(row, "64 at once", "calls/s", quantity(measured, "rate"), rate)
    yield from compare(row, "64 at once, p99", "µs", quantity(measured, "p99", 1e6), {})
    measured = rounds(contenders, given, at_once=1)
    yield from compare(row_alone, "one at a time, p50", "µs", quantity(measured, "p50", 1e6), alone)


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

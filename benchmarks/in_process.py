"""Rows 1 and 2: calls to a no-op agent in one process, against AutoGen core's runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Options, options, quantity, ready, rounds
from stage import install

AUTOGEN, RPC, CALL = "AutoGen send_message", "Aixgo rpc", "Aixgo durable call"
BUDGETS = {
    RPC: [Budget(baseline=AUTOGEN, must=4.0, aim=8.0)],
    CALL: [Budget(baseline=AUTOGEN, must=2.0, aim=4.0)],
}
ALONE = {  # the same budgets as latencies: what else runs on the machine hurts a median least
    RPC: [Budget(baseline=AUTOGEN, must=0.25, aim=0.125)],
    CALL: [Budget(baseline=AUTOGEN, must=0.5, aim=0.25)],
}
ROWS = {AUTOGEN: "1, 2", RPC: "1", CALL: "2"}


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures, alone and 64 at once."""
    install("autogen")
    with ExitStack() as stack:
        contenders = {
            AUTOGEN: stack.enter_context(ready("autogen_memory.py", home="autogen")),
            RPC: stack.enter_context(ready("aixgo_memory.py", "rpc")),
            CALL: stack.enter_context(ready("aixgo_memory.py", "call")),
        }
        for at_once, what in ((1, "one at a time"), (64, "64 at once")):
            measured = rounds(contenders, given, at_once=at_once)
            yield from compare(ROWS, what, "calls/s", quantity(measured, "rate"), BUDGETS)
            if at_once == 1:
                yield from compare(
                    ROWS, f"{what}, p50", "µs", quantity(measured, "p50", 1e6), ALONE
                )


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

"""Rows 8 and 8b: durable runs of five steps, against LangGraph, DBOS and plain publishes.

Row 8: nothing is acknowledged before it is synced to the disk, for all of them. Row 8b: a server
that syncs every two minutes, as it does by default; those figures stand beside nobody else's.

In row 8 Aixgo is provisioned with `power_safe`, which is made for such a server: what a run cannot
do without is synced before it is acknowledged, and its other calls are written behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Contender, Options, options, quantity, ready, rounds, run
from stage import install, nats_server

LANGGRAPH, DBOS = "LangGraph AsyncSqliteSaver", "DBOS on SQLite"
TWO, THREE = "Aixgo sequential, 2 processes", "Aixgo sequential, 3 processes"
RAW = "nats-py, 6 publishes"
SERVICES = {TWO: ("both",), THREE: ("flow", "steps")}
"""What serves the agents, beside the process of the client."""

ALONE, AT_ONCE, UNSYNCED = (
    {name: [Budget(baseline=baseline, must=must, aim=aim)] for name in SERVICES}
    for baseline, must, aim in ((LANGGRAPH, 1.0, 1.5), (LANGGRAPH, 3.0, 5.0), (RAW, 0.2, 0.4))
)


def aixgo(stack: ExitStack, url: str, provision: str = "provision") -> dict[str, Contender]:
    """Start both ways to deploy the agents; returns their callers."""
    found = {}
    for name, verbs in SERVICES.items():
        space = "-".join(verbs)
        run("aixgo_sequential.py", url, provision, space)
        for verb in verbs:
            stack.enter_context(ready("aixgo_sequential.py", url, verb, space))
        found[name] = stack.enter_context(ready("aixgo_sequential.py", url, "call", space))
    return found


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures, alone and 16 at once."""
    install("langgraph", "dbos")
    with nats_server(sync="always") as url, ExitStack() as stack:
        contenders = {
            LANGGRAPH: stack.enter_context(ready("langgraph_sqlite.py", home="langgraph")),
            DBOS: stack.enter_context(ready("dbos_sqlite.py", home="dbos")),
            **aixgo(stack, url, "power-safe"),
        }
        for at_once, what, budgets in (
            (1, "synced, one at a time", ALONE),
            (16, "synced, 16 at once", AT_ONCE),
        ):
            measured = rounds(contenders, given, at_once=at_once)
            yield from compare("8", what, "runs/s", quantity(measured, "rate"), budgets)
    with nats_server() as url, ExitStack() as stack:
        raw = stack.enter_context(ready("raw_publishes.py", url))
        measured = rounds({RAW: raw, **aixgo(stack, url)}, given, at_once=1)
        yield from compare(
            "8b", "default sync, one at a time", "runs/s", quantity(measured, "rate"), UNSYNCED
        )


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

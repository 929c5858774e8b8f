"""Cancel: from `client.cancel()` until the leaf's handler and the model's socket are closed.

Four levels of agents, the last of which waits for its model. In memory they share a process; over
NATS each has one of its own, as have the model gateway and the client. The provider always has one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Contender, Options, contender, options, ready, run
from stage import free_port, nats_server

DIRECT, MEMORY, NATS = "direct model call", "Aixgo, in memory", "Aixgo over NATS, 6 processes"
INFORMATION = {name: [Budget(baseline=DIRECT)] for name in (MEMORY, NATS)}
WHAT = {"handler": "leaf's handler cancelled", "socket": "provider's socket closed"}
CANCELS = 25
"""In each round: 375 of each contender in 15 rounds, enough for a 99th percentile."""


def measure(given: Options) -> Iterator[Figure]:
    """Yield the medians, and the 99th percentiles of all rounds together."""
    with nats_server() as url, ExitStack() as stack:

        def started(script: str, *broker: str, serving: tuple[str, ...] = ()) -> Contender:
            witness = str(free_port())
            provider = stack.enter_context(contender("hanging_provider.py", witness)).line()
            arguments = (script, *broker, witness, provider)
            if serving:
                run(*arguments, "provision")
            for agent in serving:
                stack.enter_context(ready(*arguments, agent))
            return stack.enter_context(ready(*arguments, *(["cancel"] if broker else [])))

        contenders = {
            DIRECT: started("direct_cancel.py"),
            MEMORY: started("aixgo_cancel.py", "memory"),
            NATS: started("aixgo_cancel.py", url, serving=("a", "b", "c", "d", "llm")),
        }
        taken = _rounds(contenders, given)
    for key, what in WHAT.items():
        medians = {
            name: [statistics.median(times) for times in of[key]] for name, of in taken.items()
        }
        yield from compare("cancel", f"{what}, p50", "µs", medians, INFORMATION)
        for name, of in taken.items():
            every = sorted(time for times in of[key] for time in times)
            worst = every[len(every) * 99 // 100]
            yield from compare("cancel", f"{what}, p99", "µs", {name: [worst]}, {})


def _rounds(
    contenders: dict[str, Contender], given: Options
) -> dict[str, dict[str, list[list[float]]]]:
    """Return microseconds by contender, by what was closed, by round."""
    taken: dict[str, dict[str, list[list[float]]]] = {
        name: {key: [] for key in WHAT} for name in contenders
    }
    for name in contenders:
        contenders[name].ask(cancels=5)  # warm
    for _ in range(given.rounds):
        for name, one in contenders.items():
            result = one.ask(cancels=5 if given.quick else CANCELS)
            for key, rounds in taken[name].items():
                rounds.append([seconds * 1e6 for seconds in result[key]])
    return taken


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

"""Row 16: a react run of three model turns and two tools, against agents that record nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Options, contender, options, quantity, ready, rounds
from stage import install, nats_server

PEERS = {
    "pydantic-ai": ("pydantic_ai_react.py", "pydantic-ai"),
    "LangGraph prebuilt": ("langgraph_react.py", "langgraph-agent"),
    "openai-agents": ("openai_agents_react.py", "openai-agents"),
}
"""By name: the contender, and its environment."""

MEMORY, NATS = "Aixgo react, in memory", "Aixgo react, over NATS"
AT_ONCE = 32


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures, alone and 32 at once; every budget holds against the fastest peer."""
    install(*(home for _, home in PEERS.values()))
    with ExitStack() as stack:
        port = stack.enter_context(contender("tool_provider.py")).line()
        contenders = {
            name: stack.enter_context(ready(script, port, home=home))
            for name, (script, home) in PEERS.items()
        }
        for name, broker in ((MEMORY, "memory"), (NATS, stack.enter_context(nats_server()))):
            contenders[name] = stack.enter_context(ready("aixgo_react.py", port, broker))
        measured = rounds(contenders, given, at_once=1)
        alone = {
            name: [Budget(baseline=peer, must=must, aim=aim) for peer in PEERS]
            for name, must, aim in ((MEMORY, 0.25, 0.15), (NATS, 0.6, 0.4))
        }
        milliseconds = quantity(measured, "p50", 1e3)
        yield from compare("16", "one at a time, p50", "ms", milliseconds, alone)
        measured = rounds(contenders, given, at_once=AT_ONCE)
        together = {
            name: [Budget(baseline=peer, must=6.0, aim=9.0) for peer in PEERS]
            for name in (MEMORY, NATS)
        }
        rates = quantity(measured, "rate")
        yield from compare("16", f"{AT_ONCE} at once", "runs/s", rates, together)


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

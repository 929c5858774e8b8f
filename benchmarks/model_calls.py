"""Row 10: chat calls to an OpenAI-compatible server that answers at once, against litellm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from figures import Budget, Figure, compare, table, tell
from referee import Options, contender, options, quantity, ready, rounds
from stage import install

LITELLM, AIXGO = "litellm acompletion", "Aixgo OpenAI-compatible"
BUDGETS = {AIXGO: [Budget(baseline=LITELLM, must=10.0, aim=20.0)]}


def measure(given: Options) -> Iterator[Figure]:
    """Yield the figures, 64 at once and alone."""
    install("litellm")
    with ExitStack() as stack:
        port = stack.enter_context(contender("fake_provider.py")).line()
        contenders = {
            LITELLM: stack.enter_context(ready("litellm_model.py", port, home="litellm")),
            AIXGO: stack.enter_context(ready("aixgo_model.py", port)),
        }
        measured = rounds(contenders, given, at_once=64)
        yield from compare("10", "64 at once", "calls/s", quantity(measured, "rate"), BUDGETS)
        measured = rounds(contenders, given, at_once=1)
        yield from compare("10", "one at a time, p50", "µs", quantity(measured, "p50", 1e6), {})


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

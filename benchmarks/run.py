"""Run every benchmark, print the figures and write them to `docs/benchmarks.md`.

A JSON line for each figure, a table at the end. Nothing is asserted: the exit code is 1 only when a
script could not run. `--quick` runs one short round of each and writes nothing.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from importlib.metadata import version

import cancel
import in_process
import mcp_memory
import model_calls
import over_nats
import processes
import react_runs
import sequential_durable
from cancel import CANCELS
from figures import Figure, table, tell
from referee import Options, options
from stage import HERE, nats_server_version

SCRIPTS = (
    in_process,
    over_nats,
    sequential_durable,
    model_calls,
    react_runs,
    processes,
    mcp_memory,
    cancel,
)
PAGE = HERE.parent / "docs" / "benchmarks.md"


def main() -> int:
    """Run all; returns the exit code."""
    given = options(__doc__)
    figures: list[Figure] = []
    failed: list[str] = []
    for script in SCRIPTS:
        try:
            figures += tell(script.measure(given))
        except Exception:  # noqa: BLE001 - the other scripts still have something to say
            traceback.print_exc()
            failed.append(script.__name__)
    print(table(figures))
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
        return 1
    if not given.quick:
        PAGE.write_text(page(figures, given))
        print(f"written to {PAGE.relative_to(HERE.parent)}")
    return 0


def page(figures: list[Figure], given: Options) -> str:
    """Return the page of documentation about these figures."""
    return f"""# Benchmarks

Written by `make bench`; how it measures is in [`benchmarks/`](../benchmarks/README.md).

A figure alone says little: machines differ, and this one was not idle. What counts is the ratio to
a baseline that was measured in the same run, in turns of {given.seconds:g} s. A ratio is the median
of {given.rounds} rounds, with the smallest and the largest round beside it. For rates more is
better; for times and memory less is better. *must* and *aim* are the budgets that we set ourselves
before the code was written; the last column says which one was met.

Every call carries 1 kB there and 1 kB back, to an agent that only gives back what it gets. CPython,
asyncio without uvloop. Each script has one nats-server with file storage for all its figures; only
row 8 has another sync than the server's default.

Measured on {datetime.now(UTC):%Y-%m-%d}: {platform.system()} {platform.machine()},
{os.cpu_count()} cores, Python {platform.python_version()}, nats-py {version("nats-py")},
nats-server {nats_server_version()}; peers as in
[`requirements.txt`](../benchmarks/requirements.txt).

{table(figures)}

## What is compared

* **AutoGen send_message**: `SingleThreadedAgentRuntime` hands Python objects over by reference.
  Aixgo encodes, limits and decodes every message in memory too, so that nothing changes when the
  agents move to a broker. The durable call adds the whole protocol: stored call, one result record
  that can only be written once, acknowledgement.
* **nats-py request** is `Client.request` and a subscription, without headers. **FastStream
  request** is `broker.request` to a subscriber with a queue group.
* **nats-py publish, pull, reply** is the least that survives a crash of the worker: an acknowledged
  publish into a work queue, `fetch(64)`, a reply, an acknowledgement that nobody waits for. The
  durable call does more: the call is stored once however often it is sent, the result is a record
  that late and restarted callers find, and it is stored before anything is acknowledged.
* **LangGraph** is a graph of five nodes with `AsyncSqliteSaver` and `durability="sync"`; **DBOS**
  a workflow of five steps on SQLite; both with the SQLite settings that they choose, which sync
  every commit. **Aixgo sequential** is the sequential pattern over five agents, called from a
  process of its own; with two processes the pattern and the agents share the other one, with three
  they do not. In row 8 the nats-server has `sync_interval: always`, so nobody goes on before a step
  is on the disk, and Aixgo is provisioned with `power_safe`: run and results are synced, and calls
  that would be sent again are written behind (`docs/durability.md`). The peers do all in one
  process and need no server. **nats-py, 6 publishes** is what such a run must at least store in
  turn.
* **litellm** and Aixgo's OpenAI-compatible adapter talk to the same fake server, which answers at
  once, in a process of its own.
* **A react run** is three answers of a model and two tools, with a provider that answers at once in
  a process of its own. **pydantic-ai**, **LangGraph's prebuilt agent** and **openai-agents** record
  nothing; every model call and tool of Aixgo's is a durable step, over NATS of one process that
  holds agent, model gateway and caller.
* **Processes**: from the start of the interpreter until the server has confirmed the
  subscriptions, with compiled bytecode; resident memory at that moment. Streams and consumers were
  declared before.
* **Cancel**: from `client.cancel()` until the fourth level's handler is cancelled, and until the
  provider sees its socket closed; {CANCELS} cancels in each round. **Direct model call** is
  `Task.cancel` on the adapter, without a system around it. A 99th percentile is that of all
  cancels together.
"""


if __name__ == "__main__":
    sys.exit(main())

"""Memory of an agent process that is connected to an MCP server with 20 tools, and of one without.

The server is a process of its own, which is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from figures import Budget, Figure, compare, table, tell
from referee import Options, options, ready
from stage import nats_server

WITHOUT, WITH = "Aixgo agent", "Aixgo agent, 20 MCP tools"
MORE = {WITH: [Budget(baseline=WITHOUT)]}


def measure(given: Options) -> Iterator[Figure]:
    """Yield the sizes of both; what the connection costs is their difference."""
    sizes: dict[str, list[float]] = {WITHOUT: [], WITH: []}
    with nats_server() as url:
        for _ in range(min(given.rounds, 5)):
            for name, tools in ((WITHOUT, "0"), (WITH, "20")):
                with ready("aixgo_mcp.py", url, tools) as started:
                    sizes[name].append(started.megabytes())
    yield from compare("mcp", "memory", "MB", sizes, MORE)


if __name__ == "__main__":
    print(table(tell(measure(options(__doc__)))))

"""The tools of one agent, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, UnknownTool
from aixgo.tools.port import Tool


class Toolbox:
    """The tools that an agent may use.

    Args:
        agent: name of the agent, for errors.

    Raises:
        ConfigError: something is not a tool, or two have the same name.
    """

    def __init__(self, agent: str = "", tools: Iterable[Tool[Any]] = ()) -> None:
        self._agent = agent
        self._tools: dict[str, Tool[Any]] = {}
        for tool in tools:
            spec = getattr(tool, "spec", None)
            if spec is None:
                raise ConfigError(
                    f"agent {agent!r}: {tool!r} is not a tool; put `@tool(effect=…)` on the "
                    "function"
                )
            if spec.name in self._tools:
                raise ConfigError(
                    f"agent {agent!r} has two tools named {spec.name!r}; rename one of them with "
                    "@tool(name=…)"
                )
            self._tools[spec.name] = tool

    def __iter__(self) -> Iterator[Tool[Any]]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def find(self, wanted: Tool[Any] | str) -> Tool[Any]:
        """Return the agent's tool of that name, or that tool if the agent has it.

        Raises:
            UnknownTool: the agent has no such tool; names the nearest one.
        """
        name = wanted if isinstance(wanted, str) else wanted.spec.name
        found = self._tools.get(name)
        if found is None or (found is not wanted and not isinstance(wanted, str)):
            raise UnknownTool(name, self._agent, did_you_mean(name, self._tools))
        return found


NO_TOOLS = Toolbox()
"""Of an agent without tools."""

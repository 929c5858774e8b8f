"""The tools of one agent, by name."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, UnknownTool
from aixgo.tools.agent import Callee
from aixgo.tools.port import AnyTool, Connected, ToolSource

log = logging.getLogger("aixgo.tools")


class Toolbox:
    """The tools that an agent may use.

    Args:
        agent: name of the agent, for errors.
        tools: its tools, and sources of tools that are known when they are connected.
        allow: by the name of a source, the tools that the agent takes of it, by the source's own
            names; of a source that is not in it, all.

    Raises:
        ConfigError: something is not a tool, or two have the same name.
    """

    def __init__(
        self,
        agent: str = "",
        tools: Iterable[AnyTool | ToolSource] = (),
        *,
        allow: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._agent = agent
        self._tools: dict[str, AnyTool] = {}
        self._sources: dict[str, ToolSource] = {}
        self._allow = dict(allow or {})
        self._told: set[str] = set()
        for tool in tools:
            if callable(getattr(tool, "tools", None)):
                self._add_source(tool)  # type: ignore[arg-type]
            else:
                self._add(tool)  # type: ignore[arg-type]

    def _add(self, tool: AnyTool) -> None:
        spec = getattr(tool, "spec", None)
        if spec is None:
            raise ConfigError(
                f"agent {self._agent!r}: {tool!r} is not a tool; put `@tool(effect=…)` on the "
                "function"
            )
        if spec.name in self._tools:
            raise ConfigError(
                f"agent {self._agent!r} has two tools named {spec.name!r}; rename one of them with "
                "@tool(name=…)"
            )
        self._tools[spec.name] = tool

    def _add_source(self, source: ToolSource) -> None:
        if source.name in self._sources:
            raise ConfigError(
                f"agent {self._agent!r} names the server {source.name!r} twice; name it once, with "
                "everything in its `allow`"
            )
        self._sources[source.name] = source

    def __iter__(self) -> Iterator[AnyTool]:
        """Yield the tools that are always there; `load` has those of the sources too."""
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __bool__(self) -> bool:
        return bool(self._tools or self._sources)

    @property
    def dynamic(self) -> bool:
        """Whether some of the tools are known at run time only."""
        return bool(self._sources)

    @property
    def always(self) -> Mapping[str, AnyTool]:
        """The tools that are always there, by name."""
        return self._tools

    @property
    def sources(self) -> Collection[str]:
        """Names of the sources of tools that are known at run time."""
        return self._sources.keys()

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents that tools made of steps may call, as far as they are known now."""
        return tuple(dict.fromkeys(name for tool in self for name in getattr(tool, "agents", ())))

    def bind(self, callees: Mapping[str, Callee]) -> None:
        """Tell the tools that call agents what those take, by name.

        Raises:
            ConfigError: the schema of what an agent takes cannot be used.
        """
        for tool in self:
            if (bind := getattr(tool, "bind", None)) is not None:
                bind(callees)

    async def open(self) -> None:
        """Begin to connect the sources; tools keep their connections from now on."""
        for one in self._connected:
            await one.open()

    async def close(self) -> None:
        """Let go of the connections."""
        for one in self._connected:
            await one.close()

    @property
    def _connected(self) -> list[ToolSource | Connected]:
        tools = [tool for tool in self._tools.values() if isinstance(tool, Connected)]
        return [*tools, *self._sources.values()]

    async def load(self) -> Mapping[str, AnyTool]:
        """Return every tool by name, as the sources tell it now.

        Raises:
            ToolUnavailable: a source cannot be reached.
        """
        if not self._sources:
            return self._tools
        found = dict(self._tools)
        for source in self._sources.values():
            offered = await source.tools()
            allowed = self._allow.get(source.name)
            if allowed is not None:
                self._tell_missing(source.name, allowed, offered)
            for name, tool in offered.items():
                if allowed is None or name.removeprefix(f"{source.name}:") in allowed:
                    found.setdefault(name, tool)
        return found

    def _tell_missing(
        self, source: str, allowed: Collection[str], offered: Mapping[str, AnyTool]
    ) -> None:
        """Say once in the log what is allowed and not there: a typing error, most likely."""
        own = {name.removeprefix(f"{source}:") for name in offered}
        missing = {name for name in allowed if name not in own} - self._told
        for name in sorted(missing):
            self._told.add(name)
            log.warning(
                "tools.allowed_unknown",
                extra={
                    "agent": self._agent,
                    "source": source,
                    "tool": name,
                    "hint": f"{source!r} has no tool {name!r}{did_you_mean(name, own)}",
                },
            )

    def find(self, wanted: AnyTool | str) -> AnyTool:
        """Return the agent's tool of that name, or that tool if the agent has it.

        Raises:
            UnknownTool: the agent has no such tool; names the nearest one.
        """
        return self._chosen(wanted, self._tools)

    async def resolve(self, wanted: AnyTool | str) -> AnyTool:
        """Return a tool as `find` does, looked for among those of the sources too.

        Raises:
            UnknownTool: the agent has no such tool; names the nearest one.
            ToolUnavailable: the source that may have it cannot be reached.
        """
        name = wanted if isinstance(wanted, str) else wanted.spec.name
        if name in self._tools or not self._sources:
            return self.find(wanted)
        return self._chosen(wanted, await self.load())

    def _chosen(self, wanted: AnyTool | str, tools: Mapping[str, AnyTool]) -> AnyTool:
        name = wanted if isinstance(wanted, str) else wanted.spec.name
        found = tools.get(name)
        if found is None or (found is not wanted and not isinstance(wanted, str)):
            raise UnknownTool(name, self._agent, did_you_mean(name, tools))
        return found


NO_TOOLS = Toolbox()
"""Of an agent without tools."""

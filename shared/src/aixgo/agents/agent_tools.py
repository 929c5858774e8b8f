"""The tools of one agent: names, mappings and objects become its `Toolbox`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from aixgo.config.problems import Invalid, Loc, Problem, Wrong
from aixgo.config.tools import MAX_RESULT_BYTES, ServerUse
from aixgo.errors import ConfigError
from aixgo.tools.declared import Built, DeclaredTools, build_server, build_tool
from aixgo.tools.function import FunctionTool
from aixgo.tools.kinds import Workshop
from aixgo.tools.named import AlreadyTold, Named
from aixgo.tools.port import ToolSource
from aixgo.tools.toolbox import Toolbox

TOOLS, SERVERS = "tools", "mcp_servers"

TOOL_KEYS = frozenset({TOOLS, SERVERS})
"""Keys of every agent whose role takes tools."""

_USE = frozenset(ServerUse.model_fields)


class ToolsOfAgent:
    """Reads the two keys of one agent.

    Args:
        declared: what the agent may name.
        problems: gets what is wrong.
        for_models: whether a model reads the values, for which there is a longest one.
    """

    def __init__(
        self,
        agent: str,
        declared: DeclaredTools,
        problems: list[Problem],
        *,
        for_models: bool = False,
    ) -> None:
        self._agent, self._declared, self._problems = agent, declared, problems
        self._for_models = for_models
        self._above: Named[Built] = Named("tool", TOOLS, around=declared.tools)
        self._workshop = Workshop(directory=declared.workshop.directory, tools=self._above)
        self._tools: list[Built] = []
        self._allow: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, Loc] = {}

    def read(self, given: Mapping[str, Any]) -> Toolbox | None:
        """Return the tools in an agent's declaration; None when something is wrong."""
        before = len(self._problems)
        for index, one in enumerate(self._list(given, TOOLS)):
            self._add_tool((TOOLS, index), one)
        for index, one in enumerate(self._list(given, SERVERS)):
            self._add_server((SERVERS, index), one)
        if len(self._problems) > before:
            return None
        try:
            return Toolbox(self._agent, self._tools, allow=self._allow)
        except ConfigError as error:
            text = str(error).removeprefix(f"agent {self._agent!r}: ")
            self._problems.append(Wrong((TOOLS,), text, error))
            return None

    def _list(self, given: Mapping[str, Any], key: str) -> Iterable[Any]:
        value = given.get(key)
        if value is None:
            return ()
        if isinstance(value, list | tuple):
            return value
        self._problems.append(Wrong((key,), "needs a list, such as [a, b]"))
        return ()

    def _add_tool(self, loc: Loc, given: Any) -> None:
        built: Any = given
        if isinstance(given, str):
            built = self._found(loc, given, self._above)
        elif isinstance(given, Mapping):
            built = self._noted(loc, *build_tool(given, self._workshop))
            if built is None and isinstance(name := given.get("name"), str):
                self._above.broken.add(name)
        elif isinstance(given, FunctionTool):
            if self._for_models and not given.spec.max_result:
                built = given.changed(max_result=MAX_RESULT_BYTES)
        elif not hasattr(given, "spec") and not _is_source(given):
            self._wrong(loc, f"{given!r} is not a tool; put `@tool(effect=…)` on the function")
            return
        if built is None:
            return
        name = built.name if _is_source(built) else built.spec.name
        if name in self._names:
            self._wrong(
                loc,
                f"has two tools named {name!r}; take one of them out, or rename one of them "
                "(`name:`, or in Python `@tool(name=…)`)",
            )
            return
        self._names[name] = loc
        self._above[name] = built
        self._tools.append(built)

    def _add_server(self, loc: Loc, given: Any) -> None:
        allow: tuple[str, ...] | None = None
        built: ToolSource | None
        if isinstance(given, str):
            built = self._found(loc, given, self._declared.servers)
        elif isinstance(given, Mapping):
            built, allow = self._server(loc, given)
        elif _is_source(given):
            built = given
        else:
            self._wrong(loc, f"{given!r} is not an MCP server; give its name, or how to reach it")
            return
        if built is None:
            return
        if built.name in self._names:
            self._wrong(
                loc,
                f"names the server {built.name!r} twice; name it once, with everything in its "
                "`allow`",
            )
            return
        self._names[built.name] = loc
        if allow is not None:
            self._allow[built.name] = allow
        self._tools.append(built)

    def _server(
        self, loc: Loc, given: Mapping[str, Any]
    ) -> tuple[ToolSource | None, tuple[str, ...] | None]:
        """Return the server that a mapping names or declares, and the tools that are allowed."""
        use = {key: value for key, value in given.items() if key in _USE}
        known: str | ToolSource = use.get("name", "")
        if _is_source(known):  # in Python the server itself may stand for its name
            use["name"] = known.name  # type: ignore[union-attr]
        try:
            wanted = ServerUse.model_validate(use)
        except ValidationError as error:
            self._problems.append(Invalid(error, ServerUse, loc))
            return None, None
        if wanted.allow == ():
            self._wrong(
                (*loc, "allow"), "allows no tool; name some, or leave `allow` out for all of them"
            )
            return None, None
        if _is_source(known):
            return known, wanted.allow  # type: ignore[return-value]
        if given.keys() <= _USE:
            return self._found((*loc, "name"), wanted.name, self._declared.servers), wanted.allow
        own = {key: value for key, value in given.items() if key != "allow"}
        return self._noted(loc, *build_server(own)), wanted.allow

    def _found(self, loc: Loc, name: str, among: Named[Any]) -> Any:
        try:
            return among.find(name)
        except AlreadyTold:
            return None
        except ConfigError as error:
            self._wrong(loc, str(error))
        return None

    def _noted(self, loc: Loc, built: Any, problems: list[Problem]) -> Any:
        self._problems += [problem.below(loc) for problem in problems]
        return built

    def _wrong(self, loc: Loc, text: str) -> None:
        self._problems.append(Wrong(loc, text))


def _is_source(thing: Any) -> bool:
    return callable(getattr(thing, "tools", None)) and hasattr(thing, "name")

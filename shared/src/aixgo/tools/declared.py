"""Tools as documents write them: each is built once by its kind, for all agents that name it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from aixgo.config.problems import Invalid, Problem, Wrong
from aixgo.errors import ConfigError
from aixgo.tools.kinds import KINDS, SERVERS, ToolKind, Workshop, WrongKey, find_kind
from aixgo.tools.named import AlreadyTold, Named
from aixgo.tools.port import AnyTool, ToolSource

T = TypeVar("T")

Built = AnyTool | ToolSource


class DeclaredTools:
    """What a document declares in `tools:` and `mcp_servers:`, by name.

    Args:
        directory: of the document; where modules and files are looked for first.

    Attributes:
        tools: the section `tools:`.
        servers: the section `mcp_servers:`.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.tools: Named[Built] = Named("tool", "tools")
        self.servers: Named[ToolSource] = Named("MCP server", "mcp_servers")
        self.workshop = Workshop(directory=directory, tools=self.tools)

    def read(self, tools: Any, servers: Any) -> list[Problem]:
        """Build what the two sections declare; returns what is wrong with them."""
        problems: list[Problem] = []
        self._section("tools", tools, self.tools, self._tool, problems)
        self._section("mcp_servers", servers, self.servers, build_server, problems)
        return problems

    def _tool(self, given: Mapping[str, Any]) -> tuple[Built | None, list[Problem]]:
        return build_tool(given, self.workshop)

    def _section(
        self,
        section: str,
        written: Any,
        found: Named[T],
        build: Callable[[Mapping[str, Any]], tuple[T | None, list[Problem]]],
        problems: list[Problem],
    ) -> None:
        if written is None:
            return
        if not isinstance(written, Mapping):
            problems.append(
                Wrong((section,), "needs a mapping: a name for each, and what it is, `{name: {…}}`")
            )
            return
        for name, given in written.items():
            loc = (section, name)
            found.broken.add(name)
            if not isinstance(given, Mapping):
                problems.append(Wrong(loc, "needs a mapping: `{key: value}`"))
            elif given.get("name", name) != name:
                problems.append(
                    Wrong((*loc, "name"), f"the name is {name!r} already; leave `name` out here")
                )
            else:
                built, wrong = build({**given, "name": name})
                problems += [one.below(loc) for one in wrong]
                if built is not None:
                    found.broken.discard(name)
                    found[name] = built


def build_tool(given: Mapping[str, Any], workshop: Workshop) -> tuple[Built | None, list[Problem]]:
    """Return the tool, or the source of tools, that a mapping with `type` declares.

    It is None with all that is wrong with it; with nothing when that was told already.
    """
    kind = given.get("type")
    choice = f"`type:` with the kind of tool ({', '.join(known_kinds())})"
    if kind is None:
        return None, [Wrong((), f"needs {choice}")]
    if not isinstance(kind, str):
        return None, [Wrong(("type",), f"needs {choice}")]
    if kind == SERVERS:
        return None, [
            Wrong(("type",), "the tools of an MCP server are declared in `mcp_servers`, by server")
        ]
    return _built(kind, given, workshop)


def build_server(given: Mapping[str, Any]) -> tuple[ToolSource | None, list[Problem]]:
    """Return the MCP server that a mapping declares; None with what is wrong."""
    if "type" in given:
        return None, [Wrong(("type",), f"unknown key 'type'; every entry is of kind {SERVERS!r}")]
    built, problems = _built(SERVERS, given, Workshop())
    return built, problems  # type: ignore[return-value]


def known_kinds() -> list[str]:
    """Return the names of the kinds that `tools` may have."""
    return [name for name in KINDS if name != SERVERS]


def _built(
    name: str, given: Mapping[str, Any], workshop: Workshop
) -> tuple[Built | None, list[Problem]]:
    try:
        kind: type[ToolKind] = find_kind(name)
    except ConfigError as error:
        return None, [Wrong(("type",), str(error), error)]
    model = kind.options_model
    if "type" in model.model_fields:
        given = {**given, "type": name}
    try:
        options = model.model_validate(dict(given))
    except ValidationError as error:
        return None, [Invalid(error, model)]
    try:
        return kind.build(options, workshop), []
    except AlreadyTold:
        return None, []
    except ConfigError as error:
        loc = (error.key,) if isinstance(error, WrongKey) else ()
        return None, [Wrong(loc, str(error), error)]

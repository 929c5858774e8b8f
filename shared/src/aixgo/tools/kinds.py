"""Kinds of tools that documents can declare, and how installed packages add one.

A package adds a kind with an entry point in the group `aixgo.tools`, named as `type:` in documents
and pointing to a subclass of `ToolKind`. Nothing is imported before a document uses the kind.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aixgo.config.agents import Options
from aixgo.config.installed import Installed
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.tools.named import Named
from aixgo.tools.port import AnyTool, ToolSource

SERVERS = "mcp"
"""The kind that the section `mcp_servers:` is built by; it is not one of `tools:`."""


class WrongKey(ConfigError):
    """What one key of a declared tool says is wrong; a document shows the place of the key."""

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        super().__init__(text)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a kind may use besides the options of the tool that it builds.

    Attributes:
        directory: of the document; where modules and files are looked for first.
        tools: what is declared above this tool; `tools.find(name)` returns one of them, and its
            errors are for `build` to let pass.
    """

    directory: str | os.PathLike[str] | None = None
    tools: Named[AnyTool | ToolSource] = field(default_factory=lambda: Named("tool", "tools"))


class ToolKind(ABC):
    """A kind of tool: its keys, and what is built from them."""

    options_model: ClassVar[type[Options]]
    """The kind's keys; its docstring is the kind's description in the JSON schema.

    It is a `ToolOptions`, or for tools that are made of steps a `ToolBasics`.
    """

    @classmethod
    @abstractmethod
    def build(cls, options: Any, workshop: Workshop) -> AnyTool | ToolSource:
        """Return the tool, or the source of several, without connecting to anything.

        Raises:
            ConfigError: what is declared is wrong together; says what, and the fix.
        """


KINDS: Installed[type[ToolKind]] = Installed(
    "aixgo.tools",
    "tool kind",
    wanted="a subclass of aixgo.tools.ToolKind",
    fits=lambda found: isinstance(found, type) and issubclass(found, ToolKind),
)
"""The kinds that there are."""


def find_kind(name: str) -> type[ToolKind]:
    """Return an installed kind of tool.

    Raises:
        ConfigError: no installed package offers it, or its package is broken.
    """
    if name not in KINDS:
        raise ConfigError(
            f"no kind of tool is named {name!r}{did_you_mean(name, KINDS)}; installed: "
            f"{', '.join(KINDS) or 'none'}"
        )
    return KINDS[name]

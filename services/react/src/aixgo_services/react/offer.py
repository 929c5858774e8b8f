"""What a model is told of the tools, and which tool it means."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from aixgo import Context
from aixgo.config.tools import Effect
from aixgo.models import ToolDefinition
from aixgo.tools import AnyTool, Toolbox

_NAME_CHARS = 64
"""Longest name of a tool that every provider takes; they take letters, digits, '_' and '-'."""

_OTHER = re.compile(r"[^A-Za-z0-9_-]")


class Offered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool as one run knows it; recorded where that can change.

    Attributes:
        name: the tool's own.
        definition: what the model is told, with a name that every provider takes.
    """

    name: str
    effect: Effect
    definition: ToolDefinition


class Offer:
    """The tools of one run, in the order of the agent's tools."""

    def __init__(self, tools: Iterable[Offered] = ()) -> None:
        self._by_definition = {tool.definition.name: tool for tool in tools}
        self.by_name = {tool.name: tool for tool in self._by_definition.values()}
        self.definitions = tuple(tool.definition for tool in self._by_definition.values())

    def find(self, said: str) -> Offered | None:
        """Return the tool that a model means: by the name that it was told, or by the tool's."""
        return self._by_definition.get(said) or self.by_name.get(said)


def offer_of(tools: Iterable[AnyTool]) -> Offer:
    """Return the offer of these tools."""
    return Offer(_offered(tools))


async def recorded_offer(ctx: Context, tools: Toolbox) -> Offer:
    """Return the offer of tools that can change while a run goes on.

    It is recorded with the run, so a repeated execution asks the model the same.

    Raises:
        ToolUnavailable: a server that has some of them cannot be reached.
    """

    async def now() -> list[object]:
        found: list[object] = msgspec.to_builtins(_offered((await tools.load()).values()))
        return found

    return Offer(msgspec.convert(await ctx.record(now, key="tools"), list[Offered]))


def _offered(tools: Iterable[AnyTool]) -> list[Offered]:
    taken: set[str] = set()
    offered = []
    for tool in tools:
        spec = tool.spec
        name = _name_for_models(spec.name, taken)
        taken.add(name)
        definition = ToolDefinition(
            name=name,
            description=spec.description,
            parameters=spec.input_schema or {"type": "object", "properties": {}},
        )
        offered.append(Offered(name=spec.name, effect=spec.effect, definition=definition))
    return offered


def _name_for_models(name: str, taken: set[str]) -> str:
    plain = _OTHER.sub("_", name)
    if len(plain) <= _NAME_CHARS and plain not in taken:
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: _NAME_CHARS - len(mark) - 1]}_{mark}"

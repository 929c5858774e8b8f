"""One tool of an MCP server, as the server describes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aixgo.config.tools import Effect
from aixgo.errors import ToolNotDone
from aixgo.tools.asking import NeedsAnswers
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.mcp.options import McpOptions
from aixgo.tools.port import Arguments, Resolution, ToolContext, ToolSpec, Unknown

if TYPE_CHECKING:
    from mcp_types import CallToolResult
    from mcp_types import Tool as Described

_OTHER = re.compile(r"[^A-Za-z0-9_:-]")
_NAME_CHARS = 100
_DESCRIPTION_CHARS = 4_000


class Connection(Protocol):
    """The way to the server."""

    async def call(
        self, tool: str, arguments: dict[str, Any], ctx: ToolContext
    ) -> CallToolResult | NeedsAnswers:
        """Use a tool of the server, with the answers that it asked for before.

        Raises:
            ToolUnavailable: the server is away, so nothing happened.
            OutcomeUnknown: the connection was lost, or the server says that something broke.
        """
        ...


class McpTool:
    """A tool of a server (`aixgo.tools.Tool`).

    Raises:
        ConfigError: the server's schema of the arguments is not one.
    """

    def __init__(self, connection: Connection, options: McpOptions, described: Described) -> None:
        self._connection, self.theirs = connection, described.name
        name = name_of(options.name, described.name)
        self._arguments = JsonArguments(name, described.input_schema)
        self.spec = ToolSpec(
            name=name,
            description=(described.description or described.title or "")[:_DESCRIPTION_CHARS],
            effect=options.effects.get(described.name) or effect_of(described),
            timeout=options.timeout,
            retry=options.retry,
            input_schema=self._arguments.schema,
            concurrency=options.concurrency,
            max_result=options.max_result,
            asks=True,
        )

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        return self._arguments.decode(payload)

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """See `Tool.execute`."""
        result = await self._connection.call(self.theirs, dict(arguments), ctx)
        if isinstance(result, NeedsAnswers):
            return result
        value = value_of(result)
        if result.is_error:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            # by the protocol the tool's own answer: asking again gives it again
            raise ToolNotDone(f"{self.spec.name}: {text or 'it failed'}", retryable=False)
        return value

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """See `Tool.reconcile`; the protocol has no such question."""
        return Unknown(f"the MCP server of {self.spec.name!r} cannot tell")

    def read(self, body: bytes) -> Any:
        """See `Tool.read`."""
        return msgspec.json.decode(body)


def name_of(server: str, tool: str) -> str:
    """Return `<server>:<tool>` in the characters that names may have; different for each tool."""
    plain = _OTHER.sub("_", f"{server}:{tool}")
    if plain == f"{server}:{tool}" and len(plain) <= _NAME_CHARS:
        return plain
    mark = hashlib.sha256(tool.encode()).hexdigest()[:8]
    return f"{plain[: _NAME_CHARS - len(mark) - 1]}_{mark}"


def effect_of(described: Described) -> Effect:
    """Return what a second execution does, as far as the server says; else the worst."""
    said = described.annotations
    if said is not None and said.read_only_hint:
        return "read"
    return "idempotent" if said is not None and said.idempotent_hint else "once"


def value_of(result: CallToolResult) -> Any:
    """Return a tool's value: what is structured, else the text; what is neither is described."""
    structured = result.structured_content
    if structured is not None:
        alone = isinstance(structured, Mapping) and structured.keys() == {"result"}
        return structured["result"] if alone else structured
    return "\n".join(_text(block) for block in result.content)


def _text(block: Any) -> str:
    text = getattr(block, "text", None)
    if isinstance(text, str):
        return text
    resource = getattr(block, "resource", None)
    inner = getattr(resource, "text", None)
    if isinstance(inner, str):
        return inner
    uri = getattr(block, "uri", None) or getattr(resource, "uri", None)
    kind = getattr(block, "mime_type", None) or getattr(resource, "mime_type", None)
    size = len(getattr(block, "data", "") or getattr(resource, "blob", "") or "")
    facts = [
        str(fact) for fact in (kind, uri, f"{size:,} characters of base64" * bool(size)) if fact
    ]
    return f"[{getattr(block, 'type', 'content')}: {', '.join(facts) or 'no text'}]"

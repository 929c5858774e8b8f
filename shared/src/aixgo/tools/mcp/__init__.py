"""Tools of MCP servers: programs that are started here, or addresses (the extra `mcp`)."""

from __future__ import annotations

from aixgo.tools.mcp.kind import McpKind
from aixgo.tools.mcp.options import McpOptions
from aixgo.tools.mcp.server import McpServer

__all__ = ["McpKind", "McpOptions", "McpServer"]

"""The kind `mcp`: what the section `mcp_servers:` of a document is built by."""

from __future__ import annotations

from importlib.util import find_spec

from aixgo.errors import ConfigError
from aixgo.tools.kinds import ToolKind, Workshop
from aixgo.tools.mcp.options import McpOptions
from aixgo.tools.mcp.server import McpServer


class McpKind(ToolKind):
    """Builds sources of tools from MCP servers."""

    options_model = McpOptions

    @classmethod
    def build(cls, options: McpOptions, workshop: Workshop) -> McpServer:
        """See `ToolKind.build`; nothing is started or connected to."""
        if find_spec("mcp") is None:
            raise ConfigError(
                f"the MCP server {options.name!r} needs the extra `mcp`: pip install 'aixgo[mcp]'"
            )
        return McpServer(options)

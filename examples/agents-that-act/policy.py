"""An MCP server with the shop's policy on returns; the agent starts it."""

from __future__ import annotations

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

RULES = {
    "return": "Goods can be returned within 30 days of the order.",
    "refund": "The whole price is refunded, to the card that paid.",
    "damage": "Goods that came damaged can be returned within a year.",
}

server = MCPServer("policy", log_level="WARNING")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def search(text: str) -> list[str]:
    """Search the policy on returns and refunds."""
    words = text.lower().split()
    found = [rule for topic, rule in RULES.items() if any(word in rule.lower() for word in words)]
    return found or list(RULES.values())


if __name__ == "__main__":
    server.run()

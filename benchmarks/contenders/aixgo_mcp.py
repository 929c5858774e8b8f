"""An agent over NATS with tools of MCP: `aixgo_mcp.py nats://… TOOLS`; `server N` serves them."""

import asyncio
import sys

from aixgo import Agent, App
from aixgo.tools.mcp import McpOptions, McpServer


def serve(tools: int) -> None:
    """Serve that many tools on stdin and stdout."""
    from mcp.server import MCPServer

    server = MCPServer("many", log_level="WARNING")

    def act(city: str, days: int = 1) -> str:
        return city

    for number in range(tools):
        server.add_tool(act, name=f"tool{number}", description="Do something for some days. " * 8)
    server.run()


async def main(broker: str, tools: int) -> None:
    """Be an agent with its tools connected, until stdin is closed."""
    command = (sys.executable, __file__, "server", str(tools))
    servers = [McpServer(McpOptions(name="many", command=command))] if tools else []
    agent = Agent("desk", role="react", model="mine/m", prompt="Help.", mcp_servers=servers)
    async with App([agent]).running(broker):
        for server in servers:
            assert len(await server.tools()) == tools
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if sys.argv[1] == "server":
    serve(int(sys.argv[2]))
else:
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

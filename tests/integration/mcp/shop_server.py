"""An MCP server on stdio or HTTP that can be slow, fail, die, and count: `shop_server.py FOLDER`.

What it did is in FOLDER, so that it outlives the process: `pid`, and a line in `done` for each use.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel

FOLDER = Path(sys.argv[1])
server = MCPServer("shop", log_level="WARNING")


def note(line: str) -> None:
    """Write down that something was done."""
    with (FOLDER / "done").open("a") as file:
        file.write(f"{line}\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def price(item: str, count: int = 1) -> int:
    """Say what some items cost, in cents."""
    return 250 * count


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def stock(item: str) -> str:
    """Look how much there is; the first time takes for ever."""
    note(f"stock {item}")
    if not (FOLDER / "quick").exists():
        (FOLDER / "quick").touch()
        await asyncio.sleep(600)
    return f"12 of {item}"


@server.tool()
async def order(item: str) -> str:
    """Order an item; takes for ever."""
    note(f"order {item}")
    await asyncio.sleep(600)
    return "ordered"


@server.tool()
def refuse(why: str) -> str:
    """Fail with a reason."""
    raise ToolError(f"we do not do that: {why}")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def talk(characters: int) -> str:
    """Say a lot."""
    return "x" * characters


@server.tool()
async def learn(ctx: Context) -> str:
    """Learn to forecast, and tell who listens."""
    server.add_tool(lambda: "rain", name="forecast", description="Say what the weather will be.")
    await ctx.notify_tools_changed()
    return "learnt"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def environment() -> list[str]:
    """Say which variables there are."""
    return sorted(os.environ)


class Size(BaseModel):
    """What the user says of a parcel."""

    size: str
    count: int = 1


async def size_of(item: str) -> Elicit[Size]:
    """Ask how large it shall be."""
    note(f"asked for {item}")
    return Elicit(f"Which size of {item}?", Size)


@server.tool()
def wrap(item: str, size: Annotated[Size, Resolve(size_of)]) -> str:
    """Wrap an item, in a size that the user chooses."""
    note(f"wrap {item}")
    return f"{size.count} of {item} in {size.size}"


if __name__ == "__main__":
    (FOLDER / "pid").write_text(str(os.getpid()))
    sys.stderr.write("this server writes to stderr\n")
    if len(sys.argv) > 2:
        server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()

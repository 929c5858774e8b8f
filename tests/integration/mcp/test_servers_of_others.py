"""MCP servers that others wrote, of both eras of the protocol: used, and killed while they work."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.errors import OutcomeUnknown, RemoteError
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools import ToolContext
from aixgo.tools.mcp import McpOptions, McpServer

NPM = Path(__file__).parent / "node_modules" / ".bin"
QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1, "max_attempts": 5}

NO_NPM = "`npm install` in tests/integration/mcp"
needs_node = [pytest.mark.javascript, pytest.mark.skipif(not NPM.is_dir(), reason=NO_NPM)]
needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")


async def use(message: Message, ctx: Context) -> Any:
    """Use the tool that a message names."""
    return await ctx.tool(message.data["tool"], message.data["arguments"])


def asked(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def started(*words: str) -> list[int]:
    """Return the processes that this one started with all of these words in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == str(os.getpid()) and all(word in command for word in words):
            found.append(int(folder.name))
    return found


class Watched(McpServer):
    """A server whose uses are written down: how each ended that failed, and how many began."""

    def __init__(self, options: McpOptions) -> None:
        super().__init__(options)
        self.begun = 0
        self.failed: list[type[BaseException]] = []

    async def call(self, tool: str, arguments: dict[str, Any], ctx: ToolContext) -> Any:
        """See `McpServer.call`."""
        self.begun += 1
        try:
            return await super().call(tool, arguments, ctx)
        except Exception as error:
            self.failed.append(type(error))
            raise


@pytest.mark.parametrize(
    ("command", "effect", "tool", "arguments", "words", "era"),
    [
        pytest.param(
            [str(NPM / "mcp-server-everything")],
            {"echo": "read"},
            "echo",
            {"message": "hi"},
            "Echo: hi",
            "2025-11-25",
            marks=needs_node,
            id="everything",
        ),
        pytest.param(
            [str(NPM / "mcp-server-filesystem"), "FOLDER"],
            {},
            "read_text_file",
            {"path": "FOLDER/note.txt"},
            "remember the milk",
            "2025-11-25",
            marks=[*needs_node, pytest.mark.long],
            id="filesystem",
        ),
        pytest.param(
            [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"],
            {},
            "convert_time",
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            "21:00:00",
            "2026-07-28",
            marks=pytest.mark.long,
            id="time",
        ),
    ],
)
@needs_proc
async def test_a_server_that_is_killed_while_it_works_is_started_and_asked_again(
    command: list[str],
    effect: dict[str, Any],
    tool: str,
    arguments: dict[str, str],
    words: str,
    era: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "note.txt").write_text("remember the milk")
    folder = str(tmp_path)
    command = [word.replace("FOLDER", folder) for word in command]
    arguments = {name: given.replace("FOLDER", folder) for name, given in arguments.items()}
    caplog.set_level(logging.INFO, "aixgo.tools.mcp")
    server = Watched(McpOptions(name="other", command=command, effects=effect, retry=QUICK))
    agent = Agent("desk", use, mcp_servers=[server], timeout=4 * PATIENCE_SECONDS)
    async with run_local(agent) as system:
        first = await system.call("desk", asked(f"other:{tool}", **arguments))
        assert words in str(first.data)
        (pid,) = started(*command)
        os.kill(pid, signal.SIGSTOP)  # it gets the request and cannot answer
        run = await system.send("desk", asked(f"other:{tool}", **arguments))
        await eventually(lambda: server.begun == 2)
        for _ in range(100):
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        answer = await system.result("desk", run, timeout=PATIENCE_SECONDS)
        assert answer is not None
        assert words in str(answer.data)
        assert started(*command) != [pid]
    # on a busy machine more than one attempt finds the dead process
    assert set(server.failed) == {OutcomeUnknown}
    eras = [vars(one)["protocol"] for one in caplog.records if one.getMessage() == "mcp.connected"]
    assert eras == [era, era]
    assert started(*command) == []


@pytest.mark.javascript
@pytest.mark.skipif(not NPM.is_dir(), reason=NO_NPM)
async def test_what_a_server_of_files_says_of_its_tools_is_believed(tmp_path: Path) -> None:
    files = McpServer(
        McpOptions(name="files", command=[str(NPM / "mcp-server-filesystem"), str(tmp_path)])
    )
    async with run_local(Agent("desk", use, mcp_servers=[files])) as system:
        with pytest.raises(RemoteError, match="outside allowed directories"):
            await system.call("desk", asked("files:read_text_file", path="/etc/passwd"))
        effects = {name: tool.spec.effect for name, tool in (await files.tools()).items()}
        assert effects["files:read_text_file"] == "read"
        assert effects["files:write_file"] == "idempotent"
        assert effects["files:move_file"] == "once"

"""MCP servers that do not behave: what the agent sees, what the log says, and what is left over."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.clock import now
from aixgo.errors import ToolUnavailable
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools import NeedsAnswers, ToolContext
from aixgo.tools.mcp import McpOptions, McpServer

SERVER = Path(__file__).parent / "odd_server.py"


def odd(way: str, folder: Path, **options: Any) -> McpServer:
    command = (sys.executable, "-S", str(SERVER), way, str(folder))
    return McpServer(McpOptions(name="odd", command=command, **options))


@asynccontextmanager
async def opened(server: McpServer) -> AsyncGenerator[McpServer, None]:
    await server.open()
    try:
        yield server
    finally:
        await server.close()


async def use(message: Message, ctx: Context) -> Any:
    return await ctx.tool(message.text)


def alive(pid: str) -> bool:
    """Say whether a process runs; one that is dead and not yet asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_what_is_not_a_message_is_skipped_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_local(Agent("desk", use, mcp_servers=[odd("nonsense", tmp_path)])) as system:
        result = await system.call("desk", "odd:blocks")
    assert result.text == (
        "look\n[image: image/png, 4 characters of base64]\n[resource_link: file:///a.txt]\nthe text"
    )
    told = [record for record in caplog.records if record.getMessage() == "mcp.not_a_message"]
    assert [vars(record)["text"] for record in told] == ["Welcome to the server!"]


def in_time() -> ToolContext:
    """Return the context of a use that may take as long as a test waits."""
    return ToolContext(
        run_id="r", step="s", agent="desk", tool="t", idempotency_key="k", attempt=1,
        deadline=now() + PATIENCE_SECONDS, log=logging.LoggerAdapter(logging.getLogger("test")),
    )  # fmt: skip


async def test_a_list_that_changes_is_read_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(odd("changes", tmp_path, effects={"typo": "read"})) as server:
        assert list(await server.tools()) == ["odd:before", "odd:change"]
        await server.call("change", {}, in_time())

        async def changed() -> bool:
            return list(await server.tools()) == ["odd:after", "odd:change"]

        await eventually(changed)
    assert [one.getMessage() for one in caplog.records].count("mcp.effect_of_no_tool") == 1


async def test_names_that_cannot_be_used_are_changed_each_in_its_own_way(tmp_path: Path) -> None:
    async with opened(odd("names", tmp_path)) as server:
        tools = await server.tools()
    assert {tool.theirs for tool in tools.values()} == {"a.b", "a/b", "a_b", "ü", "n" * 300}
    assert "odd:a_b" in tools
    assert all(len(name) <= 100 and name.isascii() and "." not in name for name in tools)


async def test_of_1_200_tools_the_first_1_000_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(odd("many", tmp_path)) as server:
        assert len(await server.tools()) == 1_000
    assert "mcp.too_many_tools" in caplog.text


async def test_an_answer_that_is_too_long_is_left_out_and_said(tmp_path: Path) -> None:
    async with run_local(Agent("desk", use, mcp_servers=[odd("plain", tmp_path)])) as system:
        text = (await system.call("desk", "odd:huge", timeout=PATIENCE_SECONDS)).text
        assert text.startswith("[left out: the answer is 40,0")
        assert (await system.call("desk", "odd:blocks")).text.startswith("look")  # it goes on


async def test_a_use_that_takes_too_long_is_told_to_the_server(tmp_path: Path) -> None:
    server = odd("plain", tmp_path, timeout=0.3, effects={"wait": "idempotent"})
    agent = Agent("desk", use, mcp_servers=[server], retry={"max_attempts": 1})

    def received() -> list[str]:
        return (tmp_path / "received").read_text().splitlines()

    async with run_local(agent) as system:
        await server.tools()
        run = await system.send("desk", "odd:wait")
        await eventually(lambda: "notifications/cancelled " in received())
        await system.cancel("desk", run)


async def test_a_server_that_ends_at_once_is_unavailable_with_what_it_said_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aixgo.tools.mcp.server.CONNECT_SECONDS", 1.0)
    caplog.set_level(logging.DEBUG, "aixgo.tools.mcp")
    async with opened(odd("dies", tmp_path)) as server:
        with pytest.raises(ToolUnavailable, match=r"'odd' \(.*odd_server.py.*\) cannot be reached"):
            await server.tools()
    said = [vars(one)["text"] for one in caplog.records if one.getMessage() == "mcp.stderr"]
    assert "no licence" in said
    assert [one.getMessage() for one in caplog.records].count("mcp.away") == 1


async def test_a_server_that_ends_between_two_uses_is_started_again(tmp_path: Path) -> None:
    async with opened(odd("plain", tmp_path)) as server:
        await server.tools()
        first = (tmp_path / "pid").read_text()
        os.kill(int(first), signal.SIGKILL)
        # seen without a use
        await eventually(lambda: (tmp_path / "pid").read_text() not in {"", first})
        result = await server.call("blocks", {}, in_time())
    assert not isinstance(result, NeedsAnswers)
    assert result.content


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
async def test_what_a_server_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.tools.mcp.program.END_SECONDS", 0.1)
    async with opened(odd("stays", tmp_path)) as server:
        await server.tools()
        pids = [(tmp_path / name).read_text() for name in ("pid", "inner")]
        assert all(alive(pid) for pid in pids)
    await eventually(lambda: not any(alive(pid) for pid in pids))


AGENT_PROCESS = """
import asyncio, sys
from aixgo.tools.mcp import McpOptions, McpServer

async def main():
    server = McpServer(McpOptions(name="odd", command=sys.argv[1:]))
    await server.open()
    await server.tools()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
async def test_a_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(SERVER), "stays", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT_PROCESS, *command, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.kill()
    await process.communicate()
    pids = [(tmp_path / name).read_text() for name in ("pid", "inner")]
    await eventually(lambda: not any(alive(pid) for pid in pids))

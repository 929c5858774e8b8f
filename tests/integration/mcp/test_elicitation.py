"""What a server asks of its user is a question of the run, answered whenever a person has time."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.client import Question
from aixgo.errors import InvalidPayload
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools.mcp import McpOptions, McpServer

HERE = Path(__file__).parent
NPM = HERE / "node_modules" / ".bin"
LONG = 10 * PATIENCE_SECONDS


async def use(message: Message, ctx: Context) -> Any:
    """Use the tool that a message names, and say so when it failed."""
    return await ctx.tool(message.data["tool"], message.data["arguments"])


def desk(server: McpServer) -> Agent:
    return Agent("desk", use, mcp_servers=[server], timeout=LONG)


def shop(folder: Path) -> McpServer:
    command = (sys.executable, str(HERE / "shop_server.py"), str(folder))
    return McpServer(McpOptions(name="shop", command=command))


def done(folder: Path) -> list[str]:
    return (folder / "done").read_text().splitlines()


async def question_of(system: System, run: str) -> Question:
    (question,) = await eventually(lambda: system.questions(run), within=LONG)
    return question


async def result_of(system: System, run: str) -> Message:
    result = await system.result("desk", run, timeout=LONG)
    assert result is not None
    return result


async def test_a_person_answers_and_the_use_goes_on_though_the_server_died(tmp_path: Path) -> None:
    async with run_local(desk(shop(tmp_path))) as system:
        run = await system.send("desk", {"tool": "shop:wrap", "arguments": {"item": "tea"}})
        question = await question_of(system, run)
        assert question.question == "The tool 'shop:wrap' asks: Which size of tea?"
        assert question.options == ("accept", "decline")
        first = (tmp_path / "pid").read_text()
        os.kill(int(first), signal.SIGKILL)
        await eventually(lambda: (tmp_path / "pid").read_text() not in {"", first})
        with pytest.raises(InvalidPayload, match="size"):
            await system.answer(run, {"accept": {"count": 2}})
        await system.answer(run, {"accept": {"size": "a box", "count": 2}})
        result = await result_of(system, run)
        steps = str(await system.runs.tree(run, whole=True))
    assert result.text == "2 of tea in a box"
    assert done(tmp_path).count("wrap tea") == 1
    assert "tool/shop:wrap/1/ask/1" in steps
    assert "tool/shop:wrap/1/again/2" in steps


@pytest.mark.long
async def test_what_a_person_declines_ends_the_use(tmp_path: Path) -> None:
    async def careful(message: Message, ctx: Context) -> str:
        try:
            return str(await ctx.tool("shop:wrap", {"item": "tea"}))
        except Exception as error:
            if "ToolFailed" not in type(error).__name__:
                raise
            return f"no: {error}"

    agent = Agent("desk", careful, mcp_servers=[shop(tmp_path)], timeout=LONG)
    async with run_local(agent) as system:
        run = await system.send("desk")
        await question_of(system, run)
        await system.answer(run, "decline")
        result = await result_of(system, run)
    assert result.text.startswith("no: ")
    assert "wrap tea" not in done(tmp_path)


@pytest.mark.javascript
@pytest.mark.skipif(not NPM.is_dir(), reason="`npm install` in tests/integration/mcp")
async def test_a_server_with_a_handshake_is_used_again_with_the_answer() -> None:
    """Written by others, and asking in the middle of a use."""
    server = McpServer(McpOptions(name="all", command=(str(NPM / "mcp-server-everything"),)))
    tool = "all:trigger-elicitation-request"
    async with run_local(desk(server)) as system:
        run = await system.send("desk", {"tool": tool, "arguments": {}})
        question = await question_of(system, run)
        assert "Please provide inputs" in str(question.question)
        await system.answer(run, {"accept": {"name": "Ada", "check": True}})
        result = await result_of(system, run)
        run = await system.send("desk", {"tool": tool, "arguments": {}})
        await question_of(system, run)
        await system.answer(run, "decline")
        declined = await result_of(system, run)
    assert "Ada" in result.text
    assert "declined" in declined.text

"""MCP servers as tools: one connection, kept and found again; what is killed is told truly."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.errors import ConfigError, InvalidPayload, RemoteError
from aixgo.models import ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools.mcp import McpOptions, McpServer

HERE = Path(__file__).parent
SERVER = HERE / "shop_server.py"
QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1, "max_attempts": 5}


def shop(folder: Path, **options: Any) -> McpServer:
    command = (sys.executable, str(SERVER), str(folder))
    return McpServer(McpOptions(name="shop", command=command, retry=QUICK, **options))


async def use(message: Message, ctx: Context) -> Any:
    """Use the tool that a message names."""
    return await ctx.tool(message.data["tool"], message.data["arguments"])


def desk(server: McpServer, **options: Any) -> Agent:
    return Agent("desk", use, mcp_servers=[server], timeout=4 * PATIENCE_SECONDS, **options)


def asked(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def done(folder: Path) -> list[str]:
    file = folder / "done"
    return file.read_text().splitlines() if file.exists() else []


def kill(folder: Path) -> None:
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


async def test_the_tools_of_a_server_are_found_and_used_over_one_process(tmp_path: Path) -> None:
    server = shop(tmp_path)
    agents = [desk(server), Agent("other", use, mcp_servers=[server])]
    async with run_local(*agents) as system:
        assert (await system.call("desk", asked("shop:price", item="pen", count=3))).data == 750
        pid = (tmp_path / "pid").read_text()
        assert (await system.call("other", asked("shop:price", item="pen"))).data == 250
        tools = await server.tools()
        effects = {name: tool.spec.effect for name, tool in tools.items()}
        assert (effects["shop:price"], effects["shop:order"]) == ("read", "once")
        assert tools["shop:price"].spec.description == "Say what some items cost, in cents."
        assert (tmp_path / "pid").read_text() == pid
    await eventually(lambda: not Path(f"/proc/{pid}").exists())  # it ends with its last user


@pytest.mark.long
async def test_what_cannot_be_done_says_so(tmp_path: Path) -> None:
    server = shop(tmp_path, max_result=2_000)
    async with run_local(desk(server)) as system:
        with pytest.raises(RemoteError, match="count: ") as caught:
            await system.call("desk", asked("shop:price", item="pen", count="many"))
        assert caught.value.cause == InvalidPayload.code
        with pytest.raises(RemoteError, match="we do not do that: no money"):
            await system.call("desk", asked("shop:refuse", why="no money"))
        with pytest.raises(RemoteError, match=r"no tool 'shop:prise'.*did you mean 'shop:price'"):
            await system.call("desk", asked("shop:prise", item="pen"))
        text = (await system.call("desk", asked("shop:talk", characters=10_000))).text
        assert len(text) < 3_000
        assert "cut here" in text
        variables = (await system.call("desk", asked("shop:environment"))).data
        assert not {one for one in variables if "AIXGO" in one or "TOKEN" in one}


@pytest.mark.long
async def test_a_list_that_changes_is_read_again_also_without_a_handshake(tmp_path: Path) -> None:
    server = shop(tmp_path)
    async with run_local(desk(server)) as system:
        assert (await system.call("desk", asked("shop:learn"))).text == "learnt"

        async def learnt() -> bool:
            return "shop:forecast" in await server.tools()

        await eventually(learnt, within=20.0)  # sooner than the list is looked at anyhow
        assert (await system.call("desk", asked("shop:forecast"))).text == "rain"


DOCUMENT = """
version: 2
mcp_servers:
  shop: {command: ["${PYTHON}", "${SERVER}", "${FOLDER}"]}
agents:
  - {name: clerk, handler: "clerk:handle", mcp_servers: [{name: shop, allow: [price]}]}
  - {name: boss, handler: "clerk:handle", mcp_servers: [shop]}
"""
HANDLER = """
async def handle(message, ctx):
    return await ctx.tool(message.data["tool"], message.data["arguments"])
"""


@pytest.mark.long
async def test_a_document_names_servers_and_what_each_agent_may_take(tmp_path: Path) -> None:
    (tmp_path / "agents.yaml").write_text(DOCUMENT)
    (tmp_path / "clerk.py").write_text(HANDLER)
    variables = {"PYTHON": sys.executable, "SERVER": str(SERVER), "FOLDER": str(tmp_path)}
    async with run_local(tmp_path / "agents.yaml", environment=variables) as system:
        assert (await system.call("clerk", asked("shop:price", item="pen"))).data == 250
        with pytest.raises(RemoteError, match="'clerk' has no tool 'shop:talk'"):
            await system.call("clerk", asked("shop:talk", characters=1))
        assert (await system.call("boss", asked("shop:talk", characters=1))).text == "x"


async def test_a_server_that_is_killed_at_a_read_is_started_again_and_asked_again(
    tmp_path: Path,
) -> None:
    async with run_local(desk(shop(tmp_path))) as system:
        run = await system.send("desk", asked("shop:stock", item="pens"))
        await eventually(lambda: done(tmp_path) == ["stock pens"])
        kill(tmp_path)
        answer = await system.result("desk", run, timeout=PATIENCE_SECONDS)
    assert answer is not None
    assert answer.text == "12 of pens"
    assert done(tmp_path) == ["stock pens"] * 2


@pytest.mark.long
async def test_a_server_that_is_killed_at_a_payment_leaves_a_doubt_and_no_second_one(
    tmp_path: Path,
) -> None:
    server = shop(tmp_path, timeout=1.0)

    async with run_local(desk(server), answers=[{"done": "ordered by phone"}]) as system:
        run = await system.send("desk", asked("shop:order", item="pens"))
        await eventually(lambda: done(tmp_path) == ["order pens"])
        kill(tmp_path)
        answer = await system.result("desk", run, timeout=PATIENCE_SECONDS)
    assert answer is not None
    assert answer.text == "ordered by phone"
    assert done(tmp_path) == ["order pens"]


async def test_a_server_that_is_not_there_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.tools.mcp.server.CONNECT_SECONDS", 0.5)
    gone = McpServer(McpOptions(name="gone", command=["/no/such/program"], retry=QUICK))
    agent = Agent("desk", use, mcp_servers=[gone], retry={**QUICK, "max_attempts": 2})
    async with run_local(agent) as system:
        with pytest.raises(RemoteError, match=r"'gone' \(/no/such/program\) cannot be reached"):
            await system.call("desk", asked("gone:x"), timeout=PATIENCE_SECONDS)


async def test_react_uses_a_server(tmp_path: Path) -> None:
    def turn(request: Any) -> Any:
        names = [one.name for one in request.tools]
        assert "shop_price" in names
        return ToolCall(id="1", name="shop_price", arguments='{"item": "pen"}')

    model = ScriptedModel([turn, lambda request: f"It costs {request.messages[-1].text} cents."])
    agent = Agent("desk", role="react", model="test/m", mcp_servers=[shop(tmp_path)])
    async with run_local(agent, model=model) as system:
        assert (await system.call("desk", "What is a pen?")).text == "It costs 250 cents."


# -- over HTTP ---------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path, port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Serve over HTTP; whoever replaces the process in the list has it ended too."""
    processes = [http_server(tmp_path, port)]
    yield processes
    for process in processes:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def http_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SERVER), str(folder), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


@pytest.mark.long
async def test_a_server_over_http_comes_back_after_a_kill(
    tmp_path: Path, port: int, served: list[subprocess.Popen[bytes]]
) -> None:
    url = f"http://127.0.0.1:{port}/mcp"
    server = McpServer(McpOptions(name="shop", url=url, retry=QUICK))
    async with run_local(desk(server)) as system:
        assert (await system.call("desk", asked("shop:price", item="pen"))).data == 250
        run = await system.send("desk", asked("shop:stock", item="pens"))
        await eventually(lambda: done(tmp_path) == ["stock pens"])
        served[0].kill()
        served[0].wait(PATIENCE_SECONDS)
        served.append(await asyncio.to_thread(http_server, tmp_path, port))
        answer = await system.result("desk", run, timeout=PATIENCE_SECONDS)
    assert answer is not None
    assert answer.text == "12 of pens"


# -- declarations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeout": 3}, "either a `command` that starts it or a `url`, not neither"),
        ({"command": ["x"], "url": "http://x"}, "not both"),
        ({"url": "ftp://x"}, "http://"),
        ({"url": "http://x", "env": {"A": "b"}}, "`env` means nothing"),
        ({"command": ["x"], "headers": {"A": "b"}}, "`headers` means nothing"),
        ({"command": ["x"], "effects": {"a": "never"}}, "effects"),
    ],
    ids=["neither", "both", "scheme", "env", "headers", "effect"],
)
def test_a_wrong_declaration_is_one_clear_error(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Agent("desk", use, mcp_servers=[{"name": "x", **given}])


def test_secrets_are_in_no_text() -> None:
    options = McpOptions(name="x", url="http://x", headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(options)
    assert "s3cret" not in str(options.model_dump_json())
    server = McpServer(McpOptions(name="x", url="https://u:s3cret@h:1/mcp?key=s3cret"))
    assert server.where == "https://h:1/mcp"


def test_a_process_without_mcp_servers_loads_no_client() -> None:
    code = (
        "import sys\nfrom aixgo import Agent\nfrom aixgo.tools.mcp import McpOptions, McpServer\n"
        "McpServer(McpOptions(name='x', url='http://x'))\n"
        "sys.exit(bool({'mcp', 'mcp_types', 'anyio', 'httpx2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""A chain of a `read`, an `idempotent` and a `once` tool whose process is killed with SIGKILL."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from aixgo import connect
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import eventually

pytestmark = pytest.mark.nats
SCRIPT = Path(__file__).with_name("chain_worker.py")


def chain_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chain_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long(only=("look", "pay"))
@pytest.mark.parametrize(
    ("killed_in", "executed"),
    [
        ("look", {"look": 2, "mark": 1, "pay": 1}),
        ("mark", {"look": 1, "mark": 2, "pay": 1}),
        ("pay", {"look": 1, "mark": 1, "pay": 1}),
    ],
)
async def test_a_chain_goes_on_with_the_tool_that_had_not_finished(
    killed_in: str, executed: dict[str, int], nats_server: NatsServer, tmp_path: Path
) -> None:
    namespace, ledger = f"chain-{killed_in}", tmp_path / "ledger"

    async def start(hangs: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), nats_server.url, namespace, str(ledger), hangs
        )

    async with connect(nats_server.url, namespace=namespace) as client:
        await chain_worker().app(namespace, str(ledger)).provision(client.broker)
        first = await start(killed_in)
        run = await client.send("desk", "A1")
        await eventually(lambda: ledger.exists() and f"{killed_in} " in ledger.read_text())
        first.kill()
        await first.wait()
        second = await start("")
        try:
            answer = await client.result("desk", run, timeout=60)
        finally:
            second.kill()
            await second.wait()
    # what was in flight is repeated, but for the once tool, whose hook says that it was done
    paid = "found A1:1250" if killed_in == "pay" else "paid A1:1250"
    assert answer is not None
    assert answer.text == paid
    assert Counter(line.split()[0] for line in ledger.read_text().splitlines()) == executed

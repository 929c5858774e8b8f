"""One cancel reaches every descendant of a run, down to the sockets of its model calls.

A process for each of four levels, for an agent with a queue and for the model gateway; the model's
provider is a real HTTP server that sees its clients hang up. On memory the same in one process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from aixgo import connect
from aixgo.client import Client
from aixgo.envelope import decode, new_id
from aixgo.errors import Cancelled
from aixgo.subjects import CALLS, RESULTS
from aixgo.testing.fake_provider import FakeProvider, Say, fake_provider
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

SCRIPT = Path(__file__).with_name("cancel_worker.py")
AGENTS = ("a", "b", "c", "d", "one", "llm")


def cancel_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cancel_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Tree:
    """The running tree, seen from outside."""

    def __init__(self, client: Client, provider: FakeProvider, ledger: Path) -> None:
        self.client, self.provider, self._ledger = client, provider, ledger

    def noted(self) -> list[str]:
        """Return what the agents wrote into the ledger."""
        return self._ledger.read_text().splitlines()

    async def busy(self) -> str:
        """Start a run; returns its id when every level works and two calls are queued."""
        run = await self.client.send("a", "wait", timeout=300)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.provider.received(2)
        await eventually(lambda: any(line.startswith("began one") for line in self.noted()))
        await eventually(lambda: self._queued(run, 9))
        return run

    async def _queued(self, run: str, number: int) -> bool:
        names = self.client.names
        calls = await self.client.broker.read(names.stream(CALLS), names.calls_in(run))
        return len(calls) == number

    async def nothing_is_queued(self, run: str) -> bool:
        return await self._queued(run, 0)

    async def statuses(self, run: str) -> dict[str, str | None]:
        """Return the status of every result of a run, by agent and step."""
        names = self.client.names
        records = await self.client.broker.read(names.stream(RESULTS), names.results_of(run))
        results = [(record.subject, decode(record.data)) for record in records]
        return {f"{subject.split('.')[-3]} {one.step}": one.status for subject, one in results}


@asynccontextmanager
async def tree_of_processes(folder: Path, url: str) -> AsyncGenerator[Tree, None]:
    ledger, space = folder / "ledger", f"p{new_id()[-12:]}"
    ledger.touch()
    running: list[Process] = []
    async with (
        fake_provider(Say("late", hang=True)) as provider,
        connect(url, namespace=space) as client,
    ):
        arguments = [url, space, provider.base_url, str(ledger)]
        await cancel_worker().app(*arguments[1:]).provision(client.broker)
        try:
            for agent in AGENTS:
                command = [sys.executable, str(SCRIPT), *arguments, agent]
                running.append(await asyncio.create_subprocess_exec(*command, stdout=PIPE))
            for process in running:
                assert process.stdout is not None
                said = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
                assert said == b"ready\n"
            yield Tree(client, provider, ledger)
        finally:
            for process in running:
                process.kill()
                await process.wait()


@asynccontextmanager
async def tree_in_memory(folder: Path) -> AsyncGenerator[Tree, None]:
    ledger = folder / "ledger"
    ledger.touch()
    async with fake_provider(Say("late", hang=True)) as provider:
        app = cancel_worker().app("tree", provider.base_url, str(ledger))
        async with app.running("memory", grace=1.0) as system:
            yield Tree(system, provider, ledger)


async def one_cancel_reaches_everybody(tree: Tree) -> None:
    run = await tree.busy()
    assert await tree.client.cancel("a", run, "changed my mind")
    with pytest.raises(Cancelled, match="changed my mind"):
        await tree.client.result("a", run, timeout=PATIENCE_SECONDS)

    for request in tree.provider.requests:
        await asyncio.wait_for(request.hung_up.wait(), PATIENCE_SECONDS)
        assert not request.answered.is_set()
    await eventually(lambda: tree.nothing_is_queued(run))

    path = ["", "b/1", "b/1/c/1", "b/1/c/1/d/1"]
    levels = [f"{agent} {step}" for agent, step in zip("abcd", path, strict=True)]
    models = [f"llm {path[-1]}/gather/1/{branch}/model/1" for branch in (0, 1)]
    queue = [f"one {path[-1]}/one/{number}" for number in (1, 2, 3)]
    statuses = await tree.statuses(run)
    assert statuses == dict.fromkeys([*levels, *models, *queue], "cancelled"), statuses

    # a call that comes now is behind those that were queued: they are dealt with when it is done
    assert (await tree.client.call("one", "next", timeout=PATIENCE_SECONDS)).text == "next"
    began = [line for line in tree.noted() if line.startswith("began")]
    assert sum(line.startswith("began one b/") for line in began) == 1
    assert sorted(line.split()[1] for line in began) == ["a", "b", "c", "d", "one", "one"]
    stopped = {line.split()[1] for line in tree.noted() if line.startswith("stopped")}
    assert stopped == {"a", "b", "c"}
    assert len(tree.provider.requests) == 2


async def one_cancel_of_a_branch_leaves_the_rest(tree: Tree) -> None:
    """Two runs side by side: the other one's sockets stay open."""
    first = await tree.busy()
    other = await tree.client.send("a", "other", timeout=300)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await tree.provider.received(4)
    await tree.client.cancel("a", first)
    for request in tree.provider.requests[:2]:
        await asyncio.wait_for(request.hung_up.wait(), PATIENCE_SECONDS)
    await eventually(lambda: tree.nothing_is_queued(first))
    assert not any(request.hung_up.is_set() for request in tree.provider.requests[2:])
    assert "cancelled" not in (await tree.statuses(other)).values()
    await tree.client.cancel("a", other)
    for request in tree.provider.requests[2:]:
        await asyncio.wait_for(request.hung_up.wait(), PATIENCE_SECONDS)


async def test_a_cancel_in_memory_reaches_everybody(tmp_path: Path) -> None:
    async with tree_in_memory(tmp_path) as tree:
        await one_cancel_reaches_everybody(tree)


@pytest.mark.nats
@pytest.mark.long
async def test_a_cancel_reaches_four_levels_of_processes_and_the_models_sockets(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with tree_of_processes(tmp_path, nats_server.url) as tree:
        await one_cancel_reaches_everybody(tree)


async def test_a_cancel_in_memory_leaves_other_runs_alone(tmp_path: Path) -> None:
    async with tree_in_memory(tmp_path) as tree:
        await one_cancel_of_a_branch_leaves_the_rest(tree)


@pytest.mark.nats
@pytest.mark.long
async def test_a_cancel_leaves_the_runs_of_others_alone(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with tree_of_processes(tmp_path, nats_server.url) as tree:
        await one_cancel_of_a_branch_leaves_the_rest(tree)

"""Refunds while the processes that make them are killed: no double, no lost one, no silent doubt.

Cashiers in processes of their own, a real nats-server, and a payment provider that pays whatever
it is told, as often as it is told. They get SIGKILL when the provider has been asked, when it has
paid, when it has answered, and at any moment. What is in doubt is resolved by the tool's
`reconcile`, or by a person who looks into the provider's books. `make crash` runs the large one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from aiohttp import web

from aixgo import Client, connect
from aixgo.calls.history import decode_happened
from aixgo.envelope import decode
from aixgo.errors import AixgoError, NoQuestion
from aixgo.steps.tools.journal import Verdict
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats
SCRIPT = Path(__file__).with_name("refund_worker.py")
CALLERS = 24
SLOWEST = 0.1
"""Seconds that the provider takes at most."""


def refund_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refund_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Tally:
    """What one run of the test came to."""

    kills: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    finished: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    doubts: int = 0
    resolved: Counter[str] = field(default_factory=Counter)
    unreported: list[str] = field(default_factory=list)

    @property
    def double(self) -> list[str]:
        return [order for order, count in self.paid.items() if count > 1]

    @property
    def lost(self) -> list[str]:
        return [order for order in self.finished if not self.paid[order]]

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {len(self.finished)} refunds, {len(self.double)} double, "
            f"{len(self.lost)} lost, {self.doubts} in doubt, {len(self.unreported)} of them not "
            f"reported; resolved: {dict(sorted(self.resolved.items()))}"
        )


class Cashiers:
    """The processes; one that is killed is replaced at once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._parent = process
        self._running: set[int] = set()
        self._lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def started(
        cls, log: Path, processes: int, *arguments: str
    ) -> AsyncGenerator[Cashiers, None]:
        with log.open("ab") as errors:
            parent = await asyncio.create_subprocess_exec(
                sys.executable,
                str(SCRIPT),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        cashiers = cls(parent)
        try:
            for _ in range(processes):
                await cashiers.start()
            yield cashiers
        finally:
            for pid in cashiers._running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            parent.kill()
            await parent.wait()

    async def start(self) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        async with self._lock:
            self._parent.stdin.write(b"start\n")
            self._running.add(int(await self._parent.stdout.readline()))

    @property
    def running(self) -> set[int]:
        return set(self._running)

    def kill(self, pid: int) -> bool:
        """Kill a process, unless somebody has; `start` replaces it."""
        if pid not in self._running:
            return False
        self._running.remove(pid)
        os.kill(pid, signal.SIGKILL)
        return True


class Provider:
    """The payment provider, and who kills those that ask it."""

    def __init__(self, tally: Tally, kills: int, chance: random.Random) -> None:
        self.tally, self._kills, self._chance = tally, kills, chance
        self.cashiers: Cashiers | None = None
        self.books: dict[str, str] = {}
        self._pending: Counter[str] = Counter()
        self._settled = asyncio.Condition()
        self._seen: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[str, None]:
        server = web.Application()
        server.router.add_post("/refunds", self.refund)
        server.router.add_get("/refunds/{key}", self.look)
        runner = web.AppRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    @property
    def killing(self) -> bool:
        return self.tally.kills < self._kills

    def kill(self, pid: int) -> None:
        if self.killing and self.cashiers is not None and self.cashiers.kill(pid):
            self.tally.kills += 1
            task = asyncio.create_task(self.cashiers.start())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def refund(self, request: web.Request) -> web.Response:
        body = await request.json()
        key, order, pid = body["key"], body["order"], int(body["pid"])
        # the moment of the request at which its sender is killed, if it is below 3
        moment = self._chance.random() * 12
        self._seen.add(pid)
        self._pending[key] += 1
        if moment < 1:
            self.kill(pid)
        await asyncio.sleep(self._chance.uniform(0, SLOWEST / 2))
        self.tally.paid[order] += 1
        self.books[key] = f"refunded {order}"
        self._pending[key] -= 1
        async with self._settled:
            self._settled.notify_all()
        if 1 <= moment < 2:
            self.kill(pid)
        await asyncio.sleep(self._chance.uniform(0, SLOWEST / 2))
        if 2 <= moment < 3:
            later = self._chance.uniform(0, 0.01)
            asyncio.get_running_loop().call_later(later, self.kill, pid)
        return web.json_response({"receipt": self.books[key]})

    async def look(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        async with self._settled:  # an honest provider does not deny what it is about to do
            await self._settled.wait_for(lambda: not self._pending[key])
        if key not in self.books:
            raise web.HTTPNotFound
        return web.json_response({"receipt": self.books[key]})

    async def kill_at_random(self) -> None:
        """Kill at any moment too: between the reservation and the tool, or nowhere near it."""
        while self.killing:
            await asyncio.sleep(self._chance.uniform(0.1, 0.6))
            # one that has not refunded anything yet is only starting
            victims = self._seen & self.cashiers.running if self.cashiers is not None else ()
            if victims:
                self.kill(self._chance.choice(sorted(victims)))

    async def answer_questions(self, client: Client) -> None:
        """Be the person who looks into the books."""
        while True:
            for question in await client.questions():
                key = question.question["idempotency_key"]
                answer = {"done": self.books[key]} if key in self.books else "not done"
                with suppress(NoQuestion):  # woken by somebody else at this moment
                    await client.answer(question.run_id, answer, step=question.step)
            await asyncio.sleep(0.1)


async def one_refund(client: Client, tally: Tally, order: str) -> None:
    try:
        result = await client.call("cashier", order, timeout=120)
    except AixgoError as error:
        tally.wrong.append(f"{order}: {error!r}")
        return
    tally.finished[order] = result.run_id
    if result.text != f"refunded {order} True":
        tally.wrong.append(f"{order}: {result.text}")


@dataclass
class Notes:
    """What is recorded of the tools' executions, by run and number."""

    reserved: set[tuple[str, int]] = field(default_factory=set)
    doubts: set[tuple[str, int]] = field(default_factory=set)
    verdicts: dict[tuple[str, int], Verdict] = field(default_factory=dict)

    @classmethod
    async def read(cls, client: Client) -> Notes:
        notes, stream = cls(), client.names.stream("RESULTS")
        filter_ = f"{client.names.prefix}res.cashier.>"
        for result in [decode(one.data) for one in await client.broker.read(stream, filter_)]:
            match result.step.split("/"):
                case [*_, "reserved", number]:
                    notes.reserved.add((result.run, int(number)))
                case [*_, "doubt", number]:
                    notes.doubts.add((result.run, int(number)))
                case [*_, "verdict", number]:
                    verdict = msgspec.json.decode(result.body, type=Verdict)
                    notes.verdicts[result.run, int(number)] = verdict
        return notes


async def audit(client: Client, tally: Tally) -> None:
    """Look whether every execution has an end, and every doubt was reported and resolved."""
    notes, names = await Notes.read(client), client.names
    told: set[tuple[str, str, int]] = set()
    for record in await client.broker.read(names.stream("HISTORY"), f"{names.prefix}hist.>"):
        happened = decode_happened(record.data)
        told.add((happened.what, happened.run, happened.attempt))
    tally.doubts = len(notes.doubts)
    for (run, number), verdict in notes.verdicts.items():
        tally.resolved[f"{'done' if verdict.done else 'not done'}, by {verdict.by}"] += 1
        # what its owner ended by itself, only late, nobody need have doubted
        if (run, number) not in notes.doubts and verdict.by != "tool":
            tally.unreported.append(f"{run} {number}: {verdict.by} resolved what nobody noted")
    for run, number in notes.doubts:
        said = [what for what in ("in_doubt", "resolved") if (what, run, number) in told]
        if len(said) != 2 or (run, number) not in notes.verdicts:
            tally.unreported.append(f"{run} {number}: only {said}")
    for run, number in notes.reserved:  # a new execution only after the verdict on the last one
        if number > 1 and (run, number - 1) not in notes.verdicts:
            tally.unreported.append(f"{run} {number}: executed again without a verdict")


async def refunds(folder: Path, *, processes: int, kills: int, runs: int, seed: int) -> Tally:
    """Make at least so many refunds, and go on until so many were killed."""
    tally, chance = Tally(), random.Random(seed)
    provider = Provider(tally, kills, chance)
    with NatsServer() as server:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(provider.served())
            client = await stack.enter_async_context(connect(server.url, namespace="refunds"))
            await refund_worker().app("refunds", url).provision(client.broker)
            provider.cashiers = await stack.enter_async_context(
                Cashiers.started(folder / "cashiers.log", processes, server.url, "refunds", url)
            )
            number = 0

            async def caller() -> None:
                nonlocal number
                while number < runs or provider.killing:
                    number += 1
                    await one_refund(client, tally, f"{('sure', 'unsure')[number % 2]} {number}")

            async with asyncio.TaskGroup() as group:
                person = group.create_task(provider.answer_questions(client))
                callers = [group.create_task(caller()) for _ in range(CALLERS)]
                await provider.kill_at_random()
                await asyncio.wait(callers)
                person.cancel()
            await audit(client, tally)
    return tally


def assert_kept(tally: Tally, log: Path) -> None:
    assert tally.wrong == [], log.read_text()[-2000:]
    assert tally.double == []
    assert tally.lost == []
    assert set(tally.paid) == set(tally.finished)
    assert tally.unreported == []


@pytest.mark.long
async def test_whoever_is_killed_everybody_is_refunded_once(tmp_path: Path) -> None:
    tally = await refunds(tmp_path, processes=3, kills=8, runs=40, seed=3)
    assert_kept(tally, tmp_path / "cashiers.log")
    assert tally.kills == 8
    assert tally.doubts > 0


@pytest.mark.slow
async def test_two_hundred_kills(tmp_path: Path) -> None:
    tally = await refunds(tmp_path, processes=6, kills=200, runs=400, seed=5)
    os.write(2, f"\nrefunds: {tally}\n".encode())
    assert_kept(tally, tmp_path / "cashiers.log")
    assert tally.kills == 200
    # to die before the bank has heard of it takes luck; tests/system/test_tools_once.py needs none
    for who in ("reconcile", "person"):
        assert tally.resolved[f"done, by {who}"] > 0

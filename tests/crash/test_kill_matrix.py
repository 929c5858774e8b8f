"""The kill matrix: SIGKILL whoever works, at random moments, and count what ran twice.

Two orchestrator processes, two of agents, one model gateway, a real nats-server and a counting
model provider over HTTP. Required: every accepted run finishes with the right result, and no step
runs again whose result was recorded. What may repeat is the one execution in flight; it is counted.
`make crash` runs the large matrix and prints a table like that of `docs/durability.md`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from aixgo import connect
from aixgo.client import Client
from aixgo.errors import AixgoError
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats
SCRIPT = Path(__file__).with_name("matrix_worker.py")
PATTERNS = ("sequence", "route", "nested", "react")
PROCESSES: dict[str, list[tuple[str, ...]]] = {
    "orchestrator": [("sequence", "route", "nested", "react")] * 2,
    "agent": [("left", "right")] * 2,
    "gateway": [("llm",)],
}
CLOCK_SLACK_SECONDS = 0.02
"""Between the clocks of the ledger and of the server: the same machine, read at different ends."""


def matrix_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("matrix_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Matrix:
    """What one run of the matrix came to."""

    victims: tuple[str, ...]
    runs: int
    kills: int = 0
    finished: int = 0
    wrong: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    repeated: int = 0
    executions: int = 0
    paid: int = 0
    paid_again: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def row(self) -> str:
        times = sorted(self.seconds)
        p50, p95 = (times[int(len(times) * share)] for share in (0.5, 0.95))
        return (
            f"| {' + '.join(self.victims) or 'nothing'} | {self.kills} | {self.runs} "
            f"| {self.finished} | {len(self.wrong)} | {len(self.again) + len(self.paid_again)} "
            f"| {self.repeated} of {self.executions} | {p50:.2f} / {p95:.2f} s |"
        )


HEADER = (
    "| killed | kills | runs accepted | finished | wrong results | completed steps run again "
    "| executions in flight repeated | time of a run p50 / p95 |\n|---|---|---|---|---|---|---|---|"
)


@asynccontextmanager
async def counting_provider() -> AsyncGenerator[tuple[str, list[tuple[float, str]]], None]:
    """Serve chat completions on loopback; yields the base URL and what was asked, with the time."""
    asked: list[tuple[float, str]] = []

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        asked.append((time.time(), text))
        await asyncio.sleep(0.02)
        answer = {"role": "assistant", "content": f"answer to {text}"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        choice = {"index": 0, "finish_reason": "stop", "message": answer}
        return web.json_response({"id": "1", "model": "m", "choices": [choice], "usage": usage})

    server = web.Application()
    server.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/v1", asked
    finally:
        await runner.cleanup()


class Fleet:
    """The service processes; one that is killed is started again at once."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._arguments, self._log = arguments, log
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}

    def start(self) -> None:
        self._running = {
            kind: [self._spawn(agents) for agents in groups] for kind, groups in PROCESSES.items()
        }

    def _spawn(self, agents: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(SCRIPT), *self._arguments, *agents], stderr=log
            )

    def kill(self, kind: str, index: int) -> None:
        process = self._running[kind][index]
        process.kill()
        process.wait()
        self._running[kind][index] = self._spawn(PROCESSES[kind][index])

    def stop(self) -> None:
        everyone = [process for group in self._running.values() for process in group]
        for process in everyone:
            process.kill()
        for process in everyone:
            process.wait()


async def killing(
    fleet: Fleet, server: NatsServer, matrix: Matrix, chance: random.Random, kills: int
) -> None:
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.1, 0.7))
        victim = chance.choice(matrix.victims)
        if victim == "server":
            server.kill()
            await asyncio.sleep(chance.uniform(0, 0.1))
            server.spawn()
            await server.ready()
        else:
            fleet.kill(victim, chance.randrange(len(PROCESSES[victim])))
        matrix.kills += 1


async def one_run(client: Client, matrix: Matrix, number: int, expected: Any) -> None:
    agent = PATTERNS[number % len(PATTERNS)]
    text = f"{'.'.join(matrix.victims)}{number}"
    began = time.monotonic()
    try:
        result = await client.call(agent, text, timeout=120)
    except AixgoError as error:
        matrix.wrong.append(f"{agent} {text}: {error!r}")
        return
    matrix.seconds.append(time.monotonic() - began)
    matrix.finished += 1
    if result.text != expected(agent, text):
        matrix.wrong.append(f"{agent} {text}: {result.text}")


async def audit(client: Client, matrix: Matrix, ledger: str, asked: list[Any]) -> None:
    """Compare every execution and every payment with the time at which its result was stored."""
    records = await client.broker.read(
        client.names.stream("RESULTS"), f"{client.names.prefix}res.>"
    )
    stored = {record.subject: record.time for record in records}
    seen: Counter[str] = Counter()
    for line in ledger.splitlines():
        moment, agent, run, step = line.split()
        subject = client.names.result(agent, run, "" if step == "-" else step)
        seen[subject] += 1
        if float(moment) > stored.get(subject, float("inf")) + CLOCK_SLACK_SECONDS:
            matrix.again.append(line)
    matrix.executions = sum(seen.values())
    matrix.repeated = sum(count - 1 for count in seen.values())
    first: dict[str, float] = {}
    for record in records:
        if ".res.llm." in record.subject:
            text = record.data.decode()
            for _, question in asked:
                if f"answer to {question}\\" in text or f'answer to {question}"' in text:
                    first.setdefault(question, record.time)
    matrix.paid = len(asked)
    matrix.paid_again = [
        question
        for moment, question in asked
        if moment > first.get(question, float("inf")) + CLOCK_SLACK_SECONDS
    ]


async def run_matrix(
    folder: Path, victims: tuple[str, ...], *, runs: int, kills: int, seed: int = 1
) -> Matrix:
    """Run the patterns while the victims are killed."""
    worker = matrix_worker()
    matrix, chance = Matrix(victims, runs), random.Random(seed)
    ledger, log = folder / "ledger.txt", folder / "services.log"
    ledger.touch()
    with NatsServer() as server:
        async with counting_provider() as (provider, asked):
            system = worker.app("matrix", provider, worker.Ledger(str(ledger)))
            async with connect(server.url, namespace="matrix") as client:
                await system.provision(client.broker)
                fleet = Fleet([server.url, "matrix", provider, str(ledger)], log)
                fleet.start()
                try:
                    numbers = iter(range(runs))

                    async def caller() -> None:
                        for number in numbers:
                            await one_run(client, matrix, number, worker.expected)

                    async with asyncio.TaskGroup() as group:
                        for _ in range(16):
                            group.create_task(caller())
                        if kills:
                            group.create_task(killing(fleet, server, matrix, chance, kills))
                    lines = await asyncio.to_thread(ledger.read_text)
                    await audit(client, matrix, lines, asked)
                finally:
                    fleet.stop()
    return matrix


def assert_kept(matrix: Matrix) -> None:
    assert matrix.wrong == []
    assert matrix.finished == matrix.runs
    assert matrix.again == []
    assert matrix.paid_again == []


async def test_whoever_is_killed_every_run_finishes_and_nothing_finished_runs_again(
    tmp_path: Path,
) -> None:
    victims = ("orchestrator", "agent", "gateway", "server")
    matrix = await run_matrix(tmp_path, victims, runs=60, kills=8)
    assert_kept(matrix)
    assert matrix.kills == 8


LARGE = [
    (),
    ("orchestrator",),
    ("agent",),
    ("gateway",),
    ("server",),
    ("orchestrator", "agent"),
    ("orchestrator", "server"),
    ("agent", "gateway"),
    ("orchestrator", "agent", "gateway", "server"),
]


@pytest.mark.slow
async def test_the_large_matrix(tmp_path: Path) -> None:
    """At least 1 000 runs and 300 kills; the rows show as they come (`-s`)."""
    rows, matrices = [HEADER], []
    for number, victims in enumerate(LARGE):
        folder = tmp_path / str(number)
        folder.mkdir()
        matrix = await run_matrix(
            folder, victims, runs=120, kills=40 if victims else 0, seed=number
        )
        matrices.append(matrix)
        rows.append(matrix.row())
        os.write(2, f"{matrix.row()}\n".encode())
    os.write(2, ("\n".join(["", *rows]) + "\n").encode())
    for matrix in matrices:
        assert_kept(matrix)
    assert sum(matrix.runs for matrix in matrices) >= 1_000
    assert sum(matrix.kills for matrix in matrices) >= 300

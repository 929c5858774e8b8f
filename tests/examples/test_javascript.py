"""A client and a worker in another language: what subjects.md says is enough for both.

The worker keeps the promises that Python's keeps: one result, retries, heartbeats, cancels, dead
letters, large bodies, and every accepted call finishes although workers are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, App, Client, Context, Message, connect
from aixgo.envelope import new_id
from aixgo.errors import Cancelled, DeadlineExceeded, RemoteError
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

HERE = Path(__file__).parents[2] / "examples" / "javascript"
ACK_WAIT = 2.0
CALLS = 60
KILLS = 5

pytestmark = [
    pytest.mark.javascript,
    pytest.mark.nats,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules").is_dir(), reason="`npm install` in examples/javascript"
    ),
]


@functools.cache
def node() -> str:
    """Return the program itself: what PATH has can be a script that would outlive a SIGKILL."""
    say = ["node", "-p", "process.execPath"]
    done = subprocess.run(say, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    return done.stdout.strip()


async def desk(message: Message, ctx: Context) -> str:
    """Ask the worker, then a person."""
    loud = await ctx.call("shout", message.text)
    verdict = await ctx.ask_human(f"Send {loud.text}?", options=["yes", "no"])
    return f"{loud.text}: {verdict}"


async def fail(message: Message) -> str:
    """Fail for good."""
    raise ValueError("not like this")


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as started:
        yield started


@pytest.fixture
async def client(server: NatsServer) -> AsyncGenerator[Client, None]:
    """Serve what is written in Python; everything is provisioned."""
    app = App(
        [Agent("shout", role="external", concurrency=8), Agent("desk", desk), Agent("fail", fail)],
        ack_wait=ACK_WAIT,
    )
    async with app.running(server.url), connect(server.url) as connected:
        yield connected


@asynccontextmanager
async def worker(server: NatsServer) -> AsyncGenerator[Process, None]:
    """Run the worker of the example until the block is left."""
    process = await asyncio.create_subprocess_exec(
        node(), HERE / "shout.mjs", server.url, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await process.stdout.readline()).strip() == b"ready"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


DRIVER = """
import { createInterface } from "node:readline";
import { connect } from "@nats-io/transport-node";
import { Client } from "./client.mjs";
const connection = await connect({ servers: process.argv[1] });
const client = new Client(connection);
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...args] = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await client[method](...args)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ code: error.code ?? error.name, message: error.message }));
  }
}
await connection.close();
"""


class JavaScript:
    """The client of the example, method by method."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def __call__(self, method: str, *args: Any) -> Any:
        """Return what a method returns, or its error as a mapping with a `code`."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([method, *args]).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = json.loads(await process.stdout.readline())
        return answer.get("value", answer)


@pytest.fixture
async def javascript(server: NatsServer, client: Client) -> AsyncGenerator[JavaScript, None]:
    process = await asyncio.create_subprocess_exec(
        node(), "--input-type=module", "-e", DRIVER, server.url,
        stdin=PIPE, stdout=PIPE, cwd=HERE, limit=1 << 24,
    )  # fmt: skip
    yield JavaScript(process)
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.wait()


async def test_a_worker_answers_retries_and_gives_up(client: Client, server: NatsServer) -> None:
    async with worker(server):
        assert (await client.call("shout", "hello", timeout=PATIENCE_SECONDS)).text == "HELLO"
        again = await client.call("shout", "what?", timeout=PATIENCE_SECONDS)
        assert (again.text, again.envelope.attempt) == ("WHAT?", 2)
        with pytest.raises(RemoteError, match="send a text") as caught:
            await client.call("shout", {"not": "a text"}, timeout=PATIENCE_SECONDS)
        assert (caught.value.agent, caught.value.cause) == ("shout", "TypeError")
        (letter,) = await client.dead_letters.list()
        assert letter.letter.failure.message == "send a text, or a number of seconds"


async def test_large_bodies_go_through_the_object_store_both_ways(
    client: Client, server: NatsServer
) -> None:
    text = "long " * 40_000
    async with worker(server):
        assert (await client.call("shout", text, timeout=PATIENCE_SECONDS)).text == text.upper()


@pytest.mark.long
async def test_heartbeats_keep_a_call_that_takes_longer_than_the_acknowledgement_wait(
    client: Client, server: NatsServer
) -> None:
    async with worker(server) as one, worker(server) as other:
        answer = await client.call("shout", 3 * ACK_WAIT, timeout=PATIENCE_SECONDS)
    assert answer.text == f"{3 * ACK_WAIT:g} s later"
    executions = b"".join([await _rest(one), await _rest(other)]).decode().splitlines()
    assert executions == [f"run {answer.run_id}, attempt 1"]


async def test_a_cancel_stops_the_handler_and_the_slot_is_free(
    client: Client, server: NatsServer
) -> None:
    async with worker(server):
        run = await client.send("shout", 10 * PATIENCE_SECONDS, timeout=100 * PATIENCE_SECONDS)
        await eventually(lambda: _at_work(client))
        assert await client.cancel("shout", run, "changed my mind")
        with pytest.raises(Cancelled, match="changed my mind"):
            await client.result("shout", run, timeout=PATIENCE_SECONDS)
        await eventually(lambda: _nothing_queued(client))


async def _rest(process: Process) -> bytes:
    """Return what a process that has ended still had to say."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await process.stdout.read()


async def _at_work(client: Client) -> bool:
    info = await client.broker.consumer_info(client.names.stream("CALLS"), "shout")
    return info is not None and info.ack_pending == 1


async def _nothing_queued(client: Client) -> bool:
    info = await client.broker.stream_info(client.names.stream("CALLS"))
    return info is not None and info.messages == 0


async def test_what_cannot_be_read_is_a_dead_letter_and_an_error(
    client: Client, server: NatsServer
) -> None:
    run = new_id()
    await client.broker.append(client.names.call("shout", run, ""), b"{]")
    async with worker(server):
        with pytest.raises(RemoteError):
            await client.result("shout", run, timeout=PATIENCE_SECONDS)
        (letter,) = await client.dead_letters.list()
        assert letter.letter.failure.code == "invalid_payload"
        assert (await client.call("shout", "next", timeout=PATIENCE_SECONDS)).text == "NEXT"


async def test_every_call_finishes_once_although_workers_are_killed(
    client: Client, server: NatsServer
) -> None:
    chance = random.Random(7)
    texts = [f"text {number}" for number in range(CALLS)]
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker(server)) for _ in range(2)]

        async def calls() -> list[str]:
            answers = []
            for at in range(0, CALLS, 6):
                some = [
                    client.call("shout", text, timeout=PATIENCE_SECONDS)
                    for text in texts[at : at + 6]
                ]
                long = client.call("shout", 0.2, timeout=PATIENCE_SECONDS)
                answers += [answer.text for answer in await asyncio.gather(*some, long)][:-1]
            return answers

        calling = asyncio.create_task(calls())
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            victim = chance.randrange(2)
            workers[victim].kill()
            workers[victim] = await stack.enter_async_context(worker(server))
        assert await calling == [text.upper() for text in texts]
    results = await client.broker.read(client.names.stream("RESULTS"), "aixgo.default.res.shout.>")
    assert len(results) == CALLS + CALLS // 6
    assert not await client.dead_letters.list()


async def test_a_client_calls_cancels_and_asks(javascript: JavaScript) -> None:
    assert (await javascript("call", "fail", "x"))["code"] == "ValueError"
    assert await javascript("call", "nobody", "x", {"timeout": 0.3}) == {
        "code": "deadline_exceeded",
        "message": "agent 'nobody' gave no result within 0.3 s",
    }
    assert (await javascript("call", "a.b", "x"))["code"] == "RangeError"
    assert (await javascript("rpc", "fail", "x"))["code"] == "ValueError"


async def test_a_client_answers_the_question_of_a_run_and_the_run_goes_on(
    client: Client, server: NatsServer, javascript: JavaScript
) -> None:
    async with worker(server):
        run = await client.send("desk", "hello", timeout=PATIENCE_SECONDS)
        (question,) = await eventually(lambda: javascript("questions", run))
        assert (question["question"], question["options"]) == ("Send HELLO?", ["yes", "no"])
        refused = await javascript("answer", run, question, "perhaps")
        assert refused["message"] == "choose one of: yes, no"
        await javascript("answer", run, question, "yes")
        answer = await client.result("desk", run, timeout=PATIENCE_SECONDS)
        assert answer is not None
        assert answer.text == "HELLO: yes"
        assert await javascript("call", "desk", "hello", {"run": run}) == "HELLO: yes"
        assert await javascript("cancel", "desk", run) is False


async def test_a_client_cancels_a_run(client: Client, javascript: JavaScript) -> None:
    run = await client.send("shout", "nobody serves me", timeout=PATIENCE_SECONDS)
    assert await javascript("cancel", "shout", run, "not needed")
    with pytest.raises((Cancelled, DeadlineExceeded), match="not needed"):
        await client.result("shout", run, timeout=PATIENCE_SECONDS)


async def test_the_example_as_its_readme_says(server: NatsServer) -> None:
    app = App.from_file(HERE / "agents.yaml")
    async with app.running(server.url), worker(server):
        process = await asyncio.create_subprocess_exec(
            node(), HERE / "ask.mjs", "desk", "hello", server.url, stdout=PIPE,
            env=dict(os.environ),
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"HELLO\n")

"""A service as a process: health, readiness, discovery, presence, draining, take-over."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, App, ConfigError, Message, connect, serve
from aixgo.calls.presence import present
from aixgo.envelope import new_id
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats
Start = Callable[..., Any]


def namespace() -> str:
    return f"p{new_id()[-12:]}"


async def test_a_service_tells_that_it_is_well_and_who_it_is(
    service: Start, nats_server: NatsServer
) -> None:
    space = namespace()
    leaf = service(space, "leaf")
    await asyncio.to_thread(leaf.until_ready)
    assert await asyncio.to_thread(leaf.get, "/health") == (200, {"agents": {"leaf": True}})
    status, body = await asyncio.to_thread(leaf.get, "/ready")
    assert (status, body) == (200, {"connected": True, "agents": {"leaf": True}})
    assert (await asyncio.to_thread(leaf.get, "/nothing"))[0] == 404

    async with connect(nats_server.url, namespace=space) as client:
        assert (await client.call("leaf", "hello")).text == "HELLO"
        assert await client.agents() == ["leaf"]
        ping = await client.broker.request("$SRV.PING.leaf", b"", timeout=PATIENCE_SECONDS)
        info = await client.broker.request("$SRV.INFO.leaf", b"", timeout=PATIENCE_SECONDS)
        stats = await client.broker.request("$SRV.STATS.leaf", b"", timeout=PATIENCE_SECONDS)
    answers = [json.loads(answer.data) for answer in (ping, info, stats)]
    assert [answer["type"] for answer in answers] == [
        f"io.nats.micro.v1.{verb}_response" for verb in ("ping", "info", "stats")
    ]
    assert len({answer["id"] for answer in answers}) == 1
    (endpoint,) = answers[1]["endpoints"]
    assert endpoint["name"] == "leaf"
    assert endpoint["metadata"]["transport"] == "jetstream"
    assert answers[2]["endpoints"][0]["num_requests"] == 1


@pytest.mark.parametrize("ahead", [300.0, -300.0])
@pytest.mark.long
async def test_wrong_clocks_move_no_deadline_and_no_timer(
    service: Start, nats_server: NatsServer, ahead: float
) -> None:
    """An agent's clock is wrong one way, its caller's the other way, the client's is right."""
    space = namespace()
    leaf = service(space, "leaf", TEST_CLOCK_AHEAD=str(ahead))
    late = service(space, "late", TEST_CLOCK_AHEAD=str(-ahead))
    for one in (leaf, late):
        await asyncio.to_thread(one.until_ready)
    loop = asyncio.get_running_loop()
    async with connect(nats_server.url, namespace=space) as client:
        assert (await client.call("leaf", "hello", timeout=PATIENCE_SECONDS)).text == "HELLO"
        began = loop.time()
        # over what parks it, so a timer of the server wakes it
        assert (await client.call("late", 5.5, timeout=40.0)).text == "SLEPT"
        assert loop.time() - began >= 5.0
    for one in (leaf, late):
        assert one.output().count("clock.wrong") == 1


async def test_a_broker_that_is_away_is_one_line_and_its_return_another(
    service: Start,
) -> None:
    space = namespace()
    with NatsServer() as server:
        leaf = service(space, "leaf", TEST_BROKER=server.url)
        await asyncio.to_thread(leaf.until_ready)
        await asyncio.to_thread(server.kill)
        await eventually(lambda: "broker.disconnected" in leaf.output())
        await asyncio.to_thread(server.start)
        await eventually(lambda: "broker.reconnected" in leaf.output())
        await asyncio.to_thread(leaf.until_ready)
        lines = leaf.output()
    assert lines.count("broker.disconnected") == lines.count("broker.reconnected") == 1


async def test_sigterm_finishes_what_runs_and_leaves(
    service: Start, nats_server: NatsServer
) -> None:
    space = namespace()
    slow = service(space, "slow")
    await asyncio.to_thread(slow.until_ready)
    async with connect(nats_server.url, namespace=space) as client:
        waiting = asyncio.create_task(client.call("slow", 1.0))
        await working(client, "slow")
        slow.send(signal.SIGTERM)
        assert (await waiting).data == 1
        assert await asyncio.to_thread(slow.wait) == 0
        assert await present(client.broker, client.names) == {}
    assert "service.stopped" in slow.output()


@pytest.mark.long
async def test_a_second_signal_hands_the_work_over_at_once(
    service: Start, nats_server: NatsServer
) -> None:
    space = namespace()
    slow = service(space, "slow")
    await asyncio.to_thread(slow.until_ready)
    async with connect(nats_server.url, namespace=space) as client:
        waiting = asyncio.create_task(client.call("slow", 30))
        await working(client, "slow")
        slow.send(signal.SIGTERM)
        slow.send(signal.SIGINT)  # a second SIGTERM may melt into the first
        assert await asyncio.to_thread(slow.wait) == 0
        other = service(space, "slow")
        await asyncio.to_thread(other.until_ready)
        assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).data == 2


@pytest.mark.long
async def test_another_instance_takes_over_after_a_kill(
    service: Start, nats_server: NatsServer
) -> None:
    space = namespace()
    first = service(space, "slow")
    await asyncio.to_thread(first.until_ready)
    async with connect(nats_server.url, namespace=space) as client:
        waiting = asyncio.create_task(client.call("slow", 30))
        await working(client, "slow")
        first.send(signal.SIGKILL)
        second = service(space, "slow")
        await asyncio.to_thread(second.until_ready)
        assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).data == 2


@pytest.mark.long
async def test_a_port_in_use_is_one_clear_error(service: Start, nats_server: NatsServer) -> None:
    space = namespace()
    leaf = service(space, "leaf")
    await asyncio.to_thread(leaf.until_ready)
    code, text = await run_worker(nats_server.url, space, "leaf", leaf.port)
    assert code != 0
    assert f"cannot listen on 127.0.0.1:{leaf.port}" in text


async def test_an_unreachable_broker_is_one_clear_error() -> None:
    code, text = await run_worker("nats://127.0.0.1:9", namespace(), "leaf", 0, "0.5")
    assert code != 0
    assert "broker.awaited" in text
    assert "127.0.0.1:9" in text.splitlines()[-1]
    assert "waited for 0.5 s" in text.splitlines()[-1]


async def test_a_service_that_is_started_before_its_server_waits_for_it(
    service: Start, nats_server: NatsServer
) -> None:
    nats_server.kill()
    try:
        leaf = service(namespace(), "leaf")
        await said(leaf, "broker.awaited")
    finally:
        nats_server.start()
    await asyncio.to_thread(leaf.until_ready)
    assert leaf.process.poll() is None


async def test_sigterm_ends_a_service_that_waits_for_its_server(
    service: Start, nats_server: NatsServer
) -> None:
    nats_server.kill()
    try:
        leaf = service(namespace(), "leaf")
        await said(leaf, "broker.awaited")
        leaf.send(signal.SIGTERM)
        assert await asyncio.to_thread(leaf.wait) == 0
    finally:
        nats_server.start()
    assert "service.stopped" in leaf.output()


@pytest.mark.long
async def test_two_services_in_one_loop_both_drain(service: Start, nats_server: NatsServer) -> None:
    space = namespace()
    both = service(space, "leaf+slow")
    await said(both, "service.ready", times=2)
    async with connect(nats_server.url, namespace=space) as client:
        waiting = asyncio.create_task(client.call("slow", 1.0))
        await working(client, "slow")
        both.send(signal.SIGTERM)
        assert (await waiting).data == 1
        assert await asyncio.to_thread(both.wait) == 0
        assert await present(client.broker, client.names) == {}
    assert both.output().count("service.stopped") == 2


@pytest.mark.long
async def test_a_process_ends_although_a_handler_swallows_its_cancellation(
    service: Start, nats_server: NatsServer
) -> None:
    space = namespace()
    stubborn = service(space, "stubborn")
    await asyncio.to_thread(stubborn.until_ready)
    async with connect(nats_server.url, namespace=space) as client:
        await client.send("stubborn", "x")
        await working(client, "stubborn")
        stubborn.send(signal.SIGTERM)
        stubborn.send(signal.SIGINT)
        assert await asyncio.to_thread(stubborn.wait) == 1
    assert "service.stuck" in stubborn.output()
    assert "process.stuck" in stubborn.output()


async def test_signals_are_for_the_main_thread_only() -> None:
    app = App([Agent("echo", echo)])

    def elsewhere() -> None:
        asyncio.run(serve(app, "memory", health_port=0))

    with pytest.raises(ConfigError, match=r"only the main thread.*app\.running"):
        await asyncio.to_thread(elsewhere)


async def echo(message: Message) -> str:
    return message.text


async def said(service: Any, text: str, times: int = 1) -> None:
    """Wait until a service has logged a text."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while service.output().count(text) < times:  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.02)


async def working(client: Any, agent: str) -> None:
    """Wait until an instance works on a call."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            info = await client.broker.consumer_info(client.names.stream("CALLS"), agent)
            if info is not None and info.ack_pending:
                return
            await asyncio.sleep(0.02)


async def run_worker(url: str, space: str, agent: str, port: int, *more: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("worker.py")),
        url,
        space,
        agent,
        str(port),
        *more,
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode or 0, text.decode()

"""`aixgo doctor --broker`: streams without room, and subscribers that are behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from aixgo import Agent, App, Message
from aixgo.envelope import new_id
from aixgo.subjects import CALLS, EVENTS
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats


async def quiet(message: Message) -> None:
    return None


async def test_what_has_no_room_and_who_is_behind_is_named(
    aixgo: Any, nats_server: NatsServer
) -> None:
    namespace, go = f"t{new_id()[-12:]}", asyncio.Event()

    async def slow(message: Message) -> None:
        await go.wait()

    agents = [Agent("source", quiet), Agent("slow", slow, inputs=["source"], concurrency=1)]
    app = App(agents, namespace=namespace)

    async def checks() -> dict[str, tuple[str, str]]:
        place = ["--broker", nats_server.url, "--namespace", namespace]
        done = await asyncio.to_thread(aixgo, *["doctor", *place, "--json"])
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return {one["check"]: (one["state"], one["detail"]) for one in found}

    async with app.running(nats_server.url, upkeep=False, grace=0.1) as system:
        broker, names = system.broker, system.names
        for _ in range(3):
            await system.publish("source", "x" * 9_000)
        well = await checks()
        assert well["room"][0] == well["events"][0] == "ok"

        for short in (CALLS, EVENTS):
            info = await broker.stream_info(names.stream(short))
            assert info is not None
            await broker.ensure_stream(replace(info.config, max_bytes=30_000))
        await broker.append(f"{names.prefix}call.nobody.r.root", bytes(24_000))
        tight = await checks()
        assert "room" not in tight
        state, detail = tight["room in CALLS"]
        assert state == "failed"
        assert "of 30,000 bytes are taken: new runs are refused; start more" in detail
        state, detail = tight["events for slow"]
        assert state == "failed"
        assert detail.startswith("3 not handled, the oldest for ")
        assert f"nats consumer rm {names.stream(EVENTS)} slow" in detail
        go.set()
        for stream in await broker.stream_names():
            if f"aixgo-{namespace}" in stream:
                await broker.delete_stream(stream)

"""Full streams: what was accepted ends, new work is refused, and what ends a run has room."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.config.retention import Retention
from aixgo.envelope import new_id
from aixgo.errors import AixgoError, InvalidPayload, RemoteError, StreamFull
from aixgo.subjects import CALLS, DLQ, RESULTS
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually

SMALL = 60_000


async def shrink(system: System, stream: str, size: int = SMALL) -> None:
    """Leave a stream of the system so many bytes."""
    info = await system.broker.stream_info(system.names.stream(stream))
    assert info is not None
    await system.broker.ensure_stream(replace(info.config, max_bytes=size))


async def fill(system: System, subject: str) -> None:
    """Add to a stream until nothing more fits."""
    for size in (2000, 100, 1):
        with suppress(StreamFull):
            while True:
                await system.broker.append(f"{subject}.{new_id()}.root", bytes(size))


async def bytes_in(system: System, stream: str) -> int:
    info = await system.broker.stream_info(system.names.stream(stream))
    assert info is not None
    return info.bytes


class Family:
    """A parent that calls four children; each counts how often it was executed."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()

    async def child(self, message: Message) -> str:
        self.executed[message.text] += 1
        return message.text

    async def parent(self, message: Message, ctx: Context) -> int:
        await asyncio.sleep(0.01)
        calls = (ctx.call("child", f"{message.text}.{n}") for n in range(4))
        return len(await ctx.gather(*calls))

    def agents(self) -> list[Agent]:
        return [
            Agent("child", self.child, retry={"max_attempts": 1}),
            Agent("parent", self.parent, retry={"max_attempts": 1}),
        ]


# -- CALLS -------------------------------------------------------------------------------------


async def test_accepted_runs_end_when_the_queue_is_full_and_new_ones_are_refused(
    running: Running,
) -> None:
    family = Family()
    async with running(*family.agents()) as system:
        await shrink(system, CALLS)
        sent: list[str] = []
        refused = 0

        async def send(n: int) -> None:
            nonlocal refused
            try:
                sent.append(await system.send("parent", str(n), timeout=150))
            except StreamFull:
                refused += 1

        await asyncio.gather(*(send(n) for n in range(300)))
        assert refused, "60 kB took 300 runs; the test fills nothing"
        assert len(sent) > 30
        async with asyncio.timeout(150):
            for run in sent:
                result = await system.result("parent", run, timeout=150)
                assert result is not None
                assert result.data == 4
        assert await system.dead_letters.list() == []
        assert set(family.executed.values()) == {1}
        assert len(family.executed) == 4 * len(sent)
        # and there is room for others again
        assert (await system.call("parent", "again", timeout=150)).data == 4


@pytest.mark.long(only=("nats",))
async def test_what_others_queue_costs_a_step_no_attempt(running: Running) -> None:
    """Another program heeds no share: it fills the queue to the brim, and a step waits."""
    family = Family()
    begun = asyncio.Event()
    go = asyncio.Event()

    async def parent(message: Message, ctx: Context) -> str:
        begun.set()
        await go.wait()
        return (await ctx.call("child", "x")).text

    agents = [family.agents()[0], Agent("parent", parent, retry={"max_attempts": 1})]
    async with running(*agents) as system:
        await shrink(system, CALLS)
        run = await system.send("parent", timeout=60)
        await begun.wait()
        await fill(system, f"{system.names.prefix}call.nobody")
        go.set()
        await eventually(lambda: system.space.room.refused, within=20)
        await system.broker.purge(system.names.stream(CALLS), f"{system.names.prefix}call.nobody.>")
        result = await system.result("parent", run, timeout=60)
        assert result is not None
        assert result.text == "x"
        assert await system.dead_letters.list() == []


# -- DLQ ---------------------------------------------------------------------------------------


async def test_a_call_that_fails_while_the_dlq_is_full_ends_and_says_so(running: Running) -> None:
    async def breaks(message: Message) -> str:
        if message.text == "bad":
            raise InvalidPayload("this one is bad")
        return message.text

    async with running(Agent("breaks", breaks, concurrency=2)) as system:
        await shrink(system, DLQ)
        await fill(system, f"{system.names.prefix}dlq.CALLS.call.nobody")
        for _ in range(4):  # more than it has slots
            with pytest.raises(RemoteError, match=r"this one is bad.*dead letter.*aixgo dlq purge"):
                await system.call("breaks", "bad", timeout=20)
        assert (await system.call("breaks", "good", timeout=20)).text == "good"
        await system.broker.append(f"{system.names.prefix}call.breaks.{'0' * 32}.root", b"no JSON")
        with pytest.raises(RemoteError, match="dead letter could not be kept"):
            await system.result("breaks", "0" * 32, timeout=20)
        assert system.dead_letters.lost == 5
        assert (await system.call("breaks", "good", timeout=20)).text == "good"


# -- RESULTS -----------------------------------------------------------------------------------


async def asks(message: Message, ctx: Context) -> str:
    await ctx.record("x" * 1000)
    return str(await ctx.ask_human("go on?"))


@pytest.mark.long(only=("nats",))
async def test_answers_cancels_and_expiries_have_room_when_runs_that_wait_fill_it(
    running: Running,
) -> None:
    room = Retention(max_bytes=65_536, keep_at_least=1000)
    async with running(Agent("asks", asks, retry={"max_attempts": 1}), retention=room) as system:
        sent: list[str] = []
        refusal = ""
        while not refusal:
            try:
                sent.append(await system.send("asks", timeout=100_000))
            except StreamFull as full:
                refusal = str(full)
            else:
                await eventually(lambda: system.questions(sent[-1]), within=20)
        assert "retention.max_bytes" in refusal
        assert len(sent) > 20
        answered, cancelled = sent[:6], sent[6:9]
        for run in answered:
            await system.answer(run, "yes")
            result = await system.result("asks", run, timeout=20)
            assert result is not None
            assert result.text == "yes"
        for run in cancelled:
            assert await system.cancel("asks", run)
        for run in cancelled:
            with pytest.raises(AixgoError, match="cancelled"):
                await system.result("asks", run)
        assert await system.dead_letters.list() == []


async def test_the_value_of_a_step_leaves_room_for_what_ends_runs(running: Running) -> None:
    """Steps of accepted runs wait before the room for answers is used up."""
    go = asyncio.Event()

    async def hoards(message: Message, ctx: Context) -> str:
        await go.wait()
        for _ in range(60):
            await ctx.record("x" * 1000)
        return "done"

    room = Retention(max_bytes=65_536, keep_at_least=1000)
    agents = [Agent("asks", asks), Agent("hoards", hoards, retry={"max_attempts": 1})]
    async with running(*agents, retention=room) as system:
        waiting = await system.send("asks", timeout=100_000)
        hoarding = await system.send("hoards", timeout=100_000)
        await eventually(lambda: system.questions(waiting), within=20)
        go.set()
        await eventually(lambda: system.space.room.refused > 2, within=20)
        assert await bytes_in(system, RESULTS) <= 65_536 * 0.96
        await system.answer(waiting, "yes")
        result = await system.result("asks", waiting, timeout=20)
        assert result is not None
        assert result.text == "yes"
        assert await system.cancel("hoards", hoarding)
        assert await system.dead_letters.list() == []

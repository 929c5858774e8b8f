"""Exclusive calls: one worker at a time, whatever is delivered to whom."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.broker.keyvalue import Bucket
from aixgo.calls.exclusive import Hold
from aixgo.calls.results import result_of
from aixgo.calls.worker import Worker
from aixgo.envelope import Envelope, new_id
from aixgo.errors import Disconnected, ModelTimeout
from aixgo.payloads import to_payload
from aixgo.subjects import LEASES
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


class Slow:
    """A handler that says when it begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.stopped: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, message: Message, ctx: Context) -> int:
        self.attempts.append(ctx.attempt)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.append(ctx.attempt)
            raise
        return ctx.attempt


def agent(handler: Any, *, exclusive: bool = True, **options: Any) -> Agent:
    """One slot: an instance that is at work asks for nothing more, so the other one gets it."""
    return Agent("slow", handler, exclusive=exclusive, concurrency=1, **options)


def another(system: System) -> AbstractAsyncContextManager[System]:
    """A second instance of everything on the same broker."""
    return system.app.running(broker=system.broker, provision=False, grace=0.0)


def worker(system: System) -> Worker:
    return system.services["slow"]._worker


def leases(system: System) -> Bucket:
    return Bucket(system.broker, system.names.bucket(LEASES))


async def refusals(system: System) -> int:
    bucket = leases(system)
    entries = [await bucket.get(key) for key in await bucket.keys("*.*.*.*")]
    return sum(json.loads(e.value).get("refused", 0) for e in entries if e is not None)


async def come_back(system: System) -> None:
    """Deliver the call that is at work once more, as a lost heartbeat does."""
    (work,) = worker(system)._work.values()
    await work.delivery.nak()


async def free(system: System) -> bool:
    return await leases(system).keys("*.*.*") == []


@pytest.mark.parametrize("exclusive", [True, False])
async def test_a_call_that_comes_back_while_it_is_at_work_runs_once_if_it_is_exclusive(
    running: Running, exclusive: bool
) -> None:
    slow = Slow()
    async with running(agent(slow, exclusive=exclusive), ack_wait=2.0) as system:
        waiting = asyncio.create_task(system.call("slow", timeout=PATIENCE_SECONDS))
        await eventually(lambda: slow.attempts)
        async with another(system):
            await come_back(system)
            if exclusive:
                await eventually(lambda: refusals(system))
            else:
                await eventually(lambda: len(slow.attempts) == 2)
            slow.go.set()
            await waiting
        assert slow.attempts == ([1] if exclusive else [1, 2])
        await eventually(lambda: free(system))


async def test_a_lost_hold_stops_the_handler_and_refusals_are_no_attempts(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.calls.settle.REFUSED_SECONDS", 0.01)
    first = Slow()
    async with running(agent(first), ack_wait=2.0) as system:
        waiting = asyncio.create_task(system.call("slow", timeout=60))
        await eventually(lambda: first.attempts)
        async with another(system):
            await come_back(system)

            async def many() -> bool:
                return await refusals(system) > 20

            await eventually(many)
            (key,) = await leases(system).keys("*.*.*")
            await leases(system).purge(key)  # as if its owner were frozen until it has ended
            await eventually(lambda: len(first.attempts) > 1)  # a busy machine loses another one
            await eventually(lambda: first.stopped)
            await eventually(lambda: worker(system).counts.skipped)
            first.go.set()
            result = await waiting
        assert first.attempts[:2] == [1, 2]
        assert len(first.attempts) < 10  # not 22, and no dead letter
        assert first.stopped[0] == 1
        assert result.data == first.attempts[-1]
        assert await system.dead_letters.list() == []


@pytest.mark.long(only=("nats",))
async def test_what_finishes_after_its_claim_was_lost_writes_nothing(running: Running) -> None:
    slow = Slow()
    async with running(agent(slow), ack_wait=2.0) as system:
        heart = worker(system)._heart
        assert heart is not None
        heart.cancel()  # a frozen process
        run = await system.send("slow", timeout=60)
        await eventually(lambda: slow.attempts)
        (key,) = await leases(system).keys("*.*.*")

        async def expired() -> bool:
            return await leases(system).get(key) is None

        await eventually(expired)
        revision = await leases(system).create(key, b"somebody else", ttl=60)
        slow.go.set()
        await eventually(lambda: worker(system).counts.skipped)
        assert await system.result("slow", run) is None
        entry = await leases(system).get(key)
        assert entry is not None
        assert entry.revision == revision


async def test_a_claim_that_ran_out_while_nobody_could_take_it_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, away, renew = Slow(), True, Hold.renew

    async def sometimes(claim: Hold) -> bool:
        if away:
            raise Disconnected("the broker is away")
        return await renew(claim)

    monkeypatch.setattr(Hold, "renew", sometimes)
    async with running(agent(slow), ack_wait=1.0) as system:
        waiting = asyncio.create_task(system.call("slow", timeout=60))
        await eventually(lambda: slow.attempts)

        async def claimed() -> bool:
            return not await free(system)

        assert await claimed()
        await eventually(lambda: free(system))
        away = False
        await eventually(claimed)
        slow.go.set()
        assert (await waiting).data == 1
        assert (slow.attempts, slow.stopped) == ([1], [])


async def test_a_claim_that_ran_out_is_lost_when_the_call_has_its_result(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, away, renew = Slow(), True, Hold.renew

    async def sometimes(claim: Hold) -> bool:
        if away:
            raise Disconnected("the broker is away")
        return await renew(claim)

    monkeypatch.setattr(Hold, "renew", sometimes)
    async with running(agent(slow), ack_wait=1.0) as system:
        run = await system.send("slow", timeout=60)
        await eventually(lambda: slow.attempts)
        await eventually(lambda: free(system))
        frame = Envelope(id=new_id(), kind="call", source="app", run=run)
        theirs = result_of(frame, "slow", "done", payload=to_payload("theirs"))
        await system.space.results.settle("slow", theirs)
        away = False
        await eventually(lambda: slow.stopped)
        result = await system.result("slow", run)
        assert result is not None
        assert result.text == "theirs"


async def test_a_retry_and_a_hand_over_do_not_wait_for_the_claim(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, failures, release = Slow(), 1, Hold.release

    async def slowly(claim: Hold) -> None:
        await asyncio.sleep(0.2)
        await release(claim)

    monkeypatch.setattr(Hold, "release", slowly)

    async def flaky(message: Message, ctx: Context) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise ModelTimeout("again")
        return await slow(message, ctx)

    async with running(agent(flaky, retry=QUICK), ack_wait=2.0) as system:
        waiting = asyncio.create_task(system.call("slow", timeout=60))
        await eventually(lambda: slow.attempts)
        async with another(system):
            await system.services["slow"].stop(0.0)
            await eventually(lambda: len(slow.attempts) == 2)
            slow.go.set()
            assert (await waiting).data == 3
        assert (slow.attempts, slow.stopped) == ([2, 3], [2])
        assert await refusals(system) == 0


async def test_a_parked_call_is_not_held(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("well?")

    async with running(agent(ask)) as system:
        run = await system.send("slow", timeout=1000)
        await eventually(lambda: system.questions(run))
        await eventually(lambda: free(system))
        await system.answer(run, "well")
        result = await system.result("slow", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "well"
        await eventually(lambda: free(system))


async def test_what_a_worker_could_not_release_does_not_stop_it(running: Running) -> None:
    async def quick(message: Message) -> str:
        return "done"

    async with running(agent(quick)) as system:
        run, exclusive = new_id(), worker(system)._exclusive
        assert exclusive is not None
        await leases(system).put(system.names.step_id("slow", run, ""), exclusive.owner)
        assert (await system.call("slow", run_id=run, timeout=PATIENCE_SECONDS)).text == "done"
        assert await refusals(system) == 0


async def test_a_cancel_ends_an_exclusive_call(running: Running) -> None:
    slow = Slow()
    async with running(agent(slow)) as system:
        run = await system.send("slow", timeout=60)
        await eventually(lambda: slow.attempts)
        assert await system.cancel("slow", run)
        await eventually(lambda: slow.stopped)
        await eventually(lambda: free(system))


async def test_holds_leave_nothing_behind(running: Running, kind: str) -> None:
    async def quick(message: Message) -> str:
        return "done"

    async with running(agent(quick)) as system:
        for _ in range(3):
            await system.call("slow")
        await eventually(lambda: free(system))
        stream = f"KV_{system.names.bucket(LEASES)}"
        held = f"$KV.{system.names.bucket(LEASES)}.slow.>"  # the upkeep has a lease of its own
        left = await system.broker.read(stream, held)
        assert [(one.data, "Nats-TTL" in one.headers) for one in left] == [(b"", True)] * 3
        if kind == "memory":  # with its virtual clock; it would take two minutes

            async def empty() -> bool:
                return not await system.broker.read(stream, held)

            await eventually(empty, within=200)

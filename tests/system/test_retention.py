"""Results of runs that are over go, those of runs that are not stay, and nothing ever jams."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.broker import Expect, StreamInfo
from aixgo.calls.upkeep.retention import Sweeper
from aixgo.calls.upkeep.unfinished import Unfinished
from aixgo.config.retention import Retention
from aixgo.envelope import new_id
from aixgo.errors import InvalidPayload, RemoteError, StreamFull
from aixgo.subjects import RESULTS
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

SHORT = Retention(keep=0.5, keep_at_least=0.1)
"""Short enough for a real server's real time."""


async def results(system: System) -> StreamInfo:
    info = await system.broker.stream_info(system.names.stream(RESULTS))
    assert info is not None
    return info


async def kept(system: System, run: str) -> int:
    """How many results of a run there are."""
    found = await system.broker.read(system.names.stream(RESULTS), system.names.results_of(run))
    return len(found)


async def swept_up(system: System, settings: Retention = SHORT) -> None:
    """Let results become old, and sweep; the system's own settings are too long for it."""
    age = settings.seconds(in_process=True) if settings is SHORT else settings.keep_at_least
    await asyncio.sleep(age * 1.2)
    subscribers = [name for name in system.app.agents if system.app.sources(name)]
    await Sweeper(system.space, settings, subscribers).look()


async def fill(system: System, size: int) -> None:
    """Store results of runs that are over until no more of that size fits."""
    with suppress(StreamFull):
        while True:
            over = system.names.result("leaf", new_id(), "")
            await system.broker.append(over, bytes(size))


async def echo(message: Message) -> str:
    return message.text


class Counting:
    """Agents whose steps count how often they were executed."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.broken = True

    def count(self, what: str) -> str:
        self.executed[what] += 1
        return what

    async def leaf(self, message: Message) -> str:
        return self.count(f"leaf {message.text}")

    async def asks(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", message.text)
        await ctx.record(lambda: self.count(f"value {message.text}"))
        return str(await ctx.ask_human("go on?"))

    async def nested(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", f"above {message.text}")
        return (await ctx.call("asks", message.text)).text

    async def sleeps(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", message.text)
        await ctx.sleep(7.0)
        return "awake"

    async def fails(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", message.text)
        if self.broken:
            raise InvalidPayload("out of order")
        return "mended"

    def agents(self) -> list[Agent]:
        return [
            Agent("leaf", self.leaf),
            Agent("asks", self.asks),
            Agent("nested", self.nested),
            Agent("sleeps", self.sleeps),
            Agent("fails", self.fails),
        ]


# -- what goes ---------------------------------------------------------------------------------


async def test_results_of_a_finished_run_go_when_they_are_old(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        counting.broken = False
        run = (await system.call("fails", "x")).run_id
        assert await kept(system, run) == 2
        await system.call("leaf", "y")
        assert await kept(system, run) == 2  # not old yet
        await swept_up(system)
        assert await kept(system, run) == 0
        assert (await results(system)).messages == 0


@pytest.mark.long(only=("nats",))
async def test_a_system_sweeps_by_itself(running: Running) -> None:
    async with running(Agent("echo", echo), retention=SHORT) as system:
        run = (await system.call("echo")).run_id

        async def gone() -> bool:
            return await kept(system, run) == 0

        await eventually(gone)


@pytest.mark.long(only=("nats",))
async def test_more_calls_than_fit_go_through_and_the_room_is_enough(
    running: Running, kind: str
) -> None:
    async def works(message: Message) -> str:
        await asyncio.sleep(0.01)
        return "x" * 200

    # at most 65,536 bytes: about 120 results
    small = Retention(keep=1000, keep_at_least=0.1, max_bytes=65_536)
    calls, peak = 600 if kind == "memory" else 300, 0
    async with running(Agent("works", works, concurrency=4), retention=small) as system:
        async with asyncio.timeout(100):
            for _ in range(calls // 20):
                answers = await system.call_parallel({"works": "x"})
                assert isinstance(answers["works"], Message)
                await asyncio.gather(*(system.call("works", "x") for _ in range(19)))
                peak = max(peak, (await results(system)).bytes)
        info = await results(system)
        assert info.last_sequence >= calls
        assert 0 < peak <= 65_536


async def test_the_oldest_go_first_and_only_as_many_as_there_must(running: Running) -> None:
    async def long(message: Message) -> str:
        return "x" * 2000

    room = Retention(max_bytes=131_072, keep_at_least=1000)
    async with running(Agent("long", long), retention=room) as system:
        runs = []
        while (await results(system)).bytes < 131_072 * 0.8:
            runs.append((await system.call("long")).run_id)
        await swept_up(system, Retention(keep=1000, keep_at_least=0.1))
        left = [run for run in runs if await kept(system, run)]
        assert left == runs[-len(left) :]
        assert len(runs) * 0.4 < len(left) < len(runs) * 0.8


async def test_a_result_stays_its_least_time_also_when_room_is_short(running: Running) -> None:
    room = Retention(keep=1000, keep_at_least=100, max_bytes=65_536)

    async def long(message: Message) -> str:
        return "x" * 2000

    async with running(Agent("long", long), retention=room) as system:
        runs = []
        while (await results(system)).bytes < 65_536 * 0.8:
            runs.append((await system.call("long")).run_id)
        await asyncio.sleep(0.2)
        await Sweeper(system.space, room).look()
        assert all([await kept(system, run) for run in runs])


# -- what stays --------------------------------------------------------------------------------


@pytest.mark.long(only=("nats",))
async def test_a_parked_run_keeps_its_steps_however_old_they_are(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        run = await system.send("nested", "x", timeout=100_000)
        await eventually(lambda: system.questions(run))
        over = (await system.call("leaf", "y")).run_id
        for _ in range(3):  # written anew each time
            await swept_up(system)
        assert await kept(system, over) == 0
        assert await kept(system, run) == 3
        await system.answer(run, "yes")
        result = await system.result("nested", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "yes"
        del counting.executed["leaf y"]
        assert counting.executed == {"leaf above x": 1, "leaf x": 1, "value x": 1}

        async def over_for_good() -> bool:  # acknowledgements arrive a moment later
            await swept_up(system)
            return await kept(system, run) == 0

        await eventually(over_for_good)  # the timer of its deadline does not matter


async def test_what_is_needed_stays_also_when_there_is_no_room_at_all(running: Running) -> None:
    counting = Counting()
    room = Retention(max_bytes=65_536, keep_at_least=1000)
    async with running(*counting.agents(), retention=room) as system:
        run = await system.send("asks", "x", timeout=100_000)
        await eventually(lambda: system.questions(run))
        for size in (2000, 100, 1):
            await fill(system, size)
        await swept_up(system, Retention(keep=1000, keep_at_least=0.1))
        assert (await results(system)).bytes < 65_536 * 0.75
        assert await kept(system, run) == 2
        await system.answer(run, "yes")
        assert await system.result("asks", run, timeout=PATIENCE_SECONDS)
        assert counting.executed == {"leaf x": 1, "value x": 1}


@pytest.mark.long(only=("nats",))
async def test_a_run_that_a_timer_will_wake_keeps_its_steps(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        run = await system.send("sleeps", "x", timeout=100)

        async def parked() -> bool:
            return bool(await system.space.parking.get(run, ""))

        await eventually(parked)
        await swept_up(system)
        assert await kept(system, run) >= 2
        assert await system.result("sleeps", run, timeout=PATIENCE_SECONDS)
        assert counting.executed == {"leaf x": 1}
        await swept_up(system)
        assert await kept(system, run) == 0  # its timer is still in the stream, but was answered


@pytest.mark.long(only=("nats",))
async def test_a_dead_lettered_run_keeps_its_steps_until_it_was_replayed(
    running: Running,
) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        run = await system.send("fails", "x")
        with pytest.raises(RemoteError):
            await system.result("fails", run, timeout=PATIENCE_SECONDS)
        await swept_up(system)
        await swept_up(system)
        (letter,) = await system.dead_letters.list(run=run)
        counting.broken = False
        await system.replay(letter.number)
        result = await system.result("fails", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "mended"
        assert counting.executed == {"leaf x": 1}
        await swept_up(system)
        assert await kept(system, run) == 0


async def test_a_run_at_work_keeps_its_steps(running: Running) -> None:
    gate, counting = asyncio.Event(), Counting()

    async def slow(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "x")
        await gate.wait()
        return "done"

    async with running(Agent("slow", slow), *counting.agents()) as system:
        run = await system.send("slow")
        await eventually(lambda: counting.executed["leaf x"])
        await eventually(lambda: kept(system, run))
        await swept_up(system)
        assert await kept(system, run) == 1
        gate.set()
        assert await system.result("slow", run, timeout=PATIENCE_SECONDS)


async def test_the_run_of_an_event_that_somebody_has_not_handled_keeps_its_results(
    running: Running,
) -> None:
    gate = asyncio.Event()
    heard: list[str] = []

    async def quick(message: Message) -> str:
        heard.append(message.text)
        return "quick"

    async def slow(message: Message) -> str:
        await gate.wait()
        return "slow"

    agents = [
        Agent("source", echo),
        Agent("quick", quick, inputs=["source"]),
        Agent("slow", slow, inputs=["source"]),
    ]
    async with running(*agents) as system:
        run = await system.publish("source", "news")
        await eventually(lambda: kept(system, run))
        await swept_up(system)
        assert await kept(system, run) == 1
        gate.set()

        async def both() -> bool:
            return await kept(system, run) == 2

        await eventually(both)

        async def answered() -> bool:
            info = await system.broker.consumer_info(system.names.stream("EVENTS"), "slow")
            return info is not None and not info.ack_pending

        await eventually(answered)
        await swept_up(system)
        assert await kept(system, run) == 0
        assert heard == ["news"]


async def test_results_that_were_written_anew_keep_their_order(running: Running) -> None:
    async def asks(message: Message, ctx: Context) -> str:
        for number in range(5):
            await ctx.record(number)
        return str(await ctx.ask_human("go on?"))

    async with running(Agent("asks", asks), Agent("echo", echo)) as system:
        run = await system.send("asks", timeout=100_000)
        await eventually(lambda: system.questions(run))
        await swept_up(system)
        found = await system.broker.read(system.names.stream(RESULTS), system.names.results_of(run))
        assert [record.subject.rsplit("_", 1)[1] for record in found] == list("12345")


# -- who sweeps --------------------------------------------------------------------------------


async def test_two_sweepers_at_once_lose_nothing(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        runs = [await system.send("asks", str(n), timeout=100_000) for n in range(5)]

        async def all_ask() -> bool:
            return len(await system.questions()) == 5

        await eventually(all_ask)
        await asyncio.sleep(0.7)
        sweepers = [Sweeper(system.space, SHORT) for _ in range(3)]
        # without the lease, as if one had been frozen until it ended
        border = (await results(system)).last_sequence + 1
        info = await results(system)
        await asyncio.gather(*(one._sweep(info, border) for one in sweepers))
        assert [await kept(system, run) for run in runs] == [2] * 5


async def test_a_sweeper_that_dies_in_the_middle_leaves_everything_that_is_needed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        run = await system.send("asks", "x", timeout=100_000)
        await eventually(lambda: system.questions(run))
        await asyncio.sleep(0.7)
        real, appended = system.broker.append, 0

        async def append(subject: str, *args: object, **options: object) -> object:
            nonlocal appended
            if isinstance(options.get("expect"), Expect) and ".res." in subject:
                appended += 1
                if appended == 2:
                    raise asyncio.CancelledError
            return await real(subject, *args, **options)  # type: ignore[arg-type]  # as given

        with monkeypatch.context() as patched:
            patched.setattr(system.broker, "append", append)
            with pytest.raises(asyncio.CancelledError):
                await Sweeper(system.space, SHORT).look()
        assert await kept(system, run) == 2
        await swept_up(system)
        await system.answer(run, "yes")
        assert await system.result("asks", run, timeout=PATIENCE_SECONDS)
        assert counting.executed == {"leaf x": 1, "value x": 1}


async def test_runs_that_are_over_are_not_taken_for_unfinished(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents()) as system:
        open_run = await system.send("asks", "x", timeout=100_000)
        await eventually(lambda: system.questions(open_run))
        await system.call("leaf", "y")
        unfinished = Unfinished(system.space, ())

        async def only_the_open_one() -> bool:  # acknowledgements arrive a moment later
            return await unfinished.runs(since=float("inf")) == {open_run}

        await eventually(only_the_open_one)


async def test_the_state_of_a_run_goes_with_it_and_not_before(running: Running) -> None:
    async def counts(message: Message, ctx: Context) -> int:
        for _ in range(3):
            await ctx.state.update("n", lambda n: (n or 0) + 1)
        if await ctx.ask_human("go on?") == "yes":
            await ctx.state.update("n", lambda n: n + 1)
        return int(await ctx.state.get("n"))

    async with running(Agent("counts", counts), Agent("echo", echo)) as system:
        run = await system.send("counts")
        await eventually(lambda: system.questions(run))
        await system.call("echo", "something else")
        await swept_up(system)  # what is not over is written anew, its oldest version first
        assert [one.number for one in await system.space.state.of_run(run)] == [1, 2, 3]
        await system.answer(run, "yes")
        result = await system.result("counts", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == 4
        await swept_up(system)
        await system.call("echo", "so that there is something newer")
        await swept_up(system)
        assert await system.space.state.of_run(run) == []

"""A queue that is written behind loses calls with its server; no run is lost with them.

The loss is simulated: CALLS is emptied while an agent's consumer is paused.
`tests/crash/test_power_safe_sigkill.py` has a real server lose what it likes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

import aixgo.steps.context
from aixgo import Agent, App, Context, Message, System
from aixgo.broker import ConsumerInfo, StreamInfo
from aixgo.broker.memory import MemoryBroker
from aixgo.calls import settle
from aixgo.calls.call_notes import CallNotes
from aixgo.calls.space import Space
from aixgo.calls.upkeep import recovery
from aixgo.calls.upkeep.recovery import Recovery
from aixgo.calls.upkeep.retention import Sweeper
from aixgo.calls.upkeep.unsettled import Unsettled
from aixgo.client import Client
from aixgo.clock import now
from aixgo.config.agents import Retry
from aixgo.config.retention import Retention
from aixgo.envelope import Envelope, new_id
from aixgo.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidPayload,
    PermissionDenied,
    RemoteError,
    StreamFull,
    StreamRefused,
)
from aixgo.subjects import CALLS, RESULTS, Names
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

Check = Callable[[], Awaitable[bool]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a while takes a moment; nobody's answers are lost here."""
    monkeypatch.setattr(recovery, "MOMENT_SECONDS", 0.05)
    monkeypatch.setattr(settle, "LONG_DELAY_SECONDS", 0.1)
    monkeypatch.setattr(aixgo.steps.context, "PARK_SECONDS", 0.1)


class Counting:
    """Agents whose steps count how often they were executed."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.broken = True

    async def leaf(self, message: Message) -> str:
        self.executed[f"leaf {message.text}"] += 1
        return message.text

    async def asks(self, message: Message, ctx: Context) -> str:
        before = (await ctx.call("leaf", f"before {message.text}")).text
        return f"{before}: {await ctx.ask_human('go on?')}"

    async def nested(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "above")
        return (await ctx.call("asks", message.text)).text

    async def sleeps(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "awake")
        await ctx.sleep(0.5)
        return "slept"

    async def fails(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "tried")
        if self.broken:
            raise InvalidPayload("out of order")
        return "mended"

    async def stumbles(self, message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "first")
        if self.broken:
            self.broken = False
            raise ConnectionError("not yet")
        return "second time"

    def agents(self) -> list[Agent]:
        slow = Retry(max_attempts=3, initial_backoff=0.3, max_backoff=0.4)
        return [
            Agent("leaf", self.leaf),
            Agent("asks", self.asks),
            Agent("nested", self.nested),
            Agent("sleeps", self.sleeps),
            Agent("fails", self.fails),
            Agent("stumbles", self.stumbles, retry=slow),
        ]


async def info(system: System, stream: str) -> StreamInfo:
    found = await system.broker.stream_info(system.names.stream(stream))
    assert found is not None
    return found


def queued(system: System, calls: int = 1) -> Check:
    async def check() -> bool:
        return (await info(system, CALLS)).messages == calls

    return check


def asked(system: System, run: str) -> Check:
    async def check() -> bool:
        return bool(await system.questions(run)) and await queued(system, 0)()

    return check


async def notes(system: System) -> int:
    stream = system.names.stream(RESULTS)
    return len(await system.broker.read(stream, system.names.all_accepted))


@asynccontextmanager
async def losing(system: System, agent: str) -> AsyncGenerator[None, None]:
    """Lose the one call of an agent that is queued in the block."""
    stream = system.names.stream(CALLS)
    await system.broker.pause_consumer(stream, agent, now() + 3600.0)
    yield
    await eventually(queued(system))
    assert await system.broker.purge(stream) == 1
    await system.broker.pause_consumer(stream, agent, now() - 1.0)


async def recover(system: System) -> None:
    """Look once; the system's own look, at its start, may have to end first."""
    await eventually(Recovery(system.space).look)


async def text_of(system: System, agent: str, run: str) -> str:
    result = await system.result(agent, run, timeout=PATIENCE_SECONDS)
    assert result is not None, "the run is lost"
    return result.text


# -- every way to be lost ----------------------------------------------------------------------


async def test_a_run_that_was_lost_before_it_began_is_published_again(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        await recover(system)
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x")
        assert await system.result("leaf", run, timeout=0.3) is None
        await recover(system)
        assert await text_of(system, "leaf", run) == "x"
        assert counting.executed == {"leaf x": 1}


async def test_without_its_note_it_would_be_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(CallNotes, "note", forgetful)
    async with running(*Counting().agents(), power_safe=True) as system:
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x")
        await recover(system)
        assert await system.result("leaf", run, timeout=1.0) is None


async def test_a_call_that_waits_finishes_too(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        async with losing(system, "leaf"):
            call = asyncio.create_task(system.call("leaf", "x"))
        await recover(system)
        assert (await call).text == "x"
        assert counting.executed == {"leaf x": 1}


async def test_an_answered_run_that_was_lost_goes_on_where_it_was(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("asks", "x")
        await eventually(asked(system, run))
        async with losing(system, "asks"):
            await system.answer(run, "yes")
        await recover(system)
        assert await text_of(system, "asks", run) == "before x: yes"
        assert counting.executed == {"leaf before x": 1}


@pytest.mark.parametrize("lost", ["asks", "nested"])
@pytest.mark.long(only=("nats-nested",))
async def test_a_parked_caller_and_its_parked_child_both_go_on(running: Running, lost: str) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("nested", "x")

        async def both_parked() -> bool:
            parked = await system.space.parking.all(run)
            return len(parked) == 2 and await queued(system, 0)()

        await eventually(both_parked)
        async with losing(system, lost):  # the child's wake-up, or the caller's when it has ended
            await system.answer(run, "yes")
        await recover(system)
        assert await text_of(system, "nested", run) == "before x: yes"
        assert counting.executed == {"leaf above": 1, "leaf before x": 1}


async def test_a_sleeping_run_that_was_lost_when_it_woke_goes_on(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("sleeps")
        await eventually(lambda: _parked(system, run))
        async with losing(system, "sleeps"):
            pass
        await recover(system)
        assert await text_of(system, "sleeps", run) == "slept"
        assert counting.executed == {"leaf awake": 1}


async def _parked(system: System, run: str) -> bool:
    return bool(await system.space.parking.all(run)) and await queued(system, 0)()


async def test_a_retry_that_was_lost_when_its_timer_fired_is_made(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("stumbles")
        await eventually(lambda: _put_off(system, run))
        await recover(system)  # a call whose timer is to come is not lost
        assert await queued(system, 0)()
        async with losing(system, "stumbles"):
            pass
        await recover(system)
        assert await text_of(system, "stumbles", run) == "second time"
        assert counting.executed == {"leaf first": 1}


async def _put_off(system: System, run: str) -> bool:
    timers = await system.broker.read(system.names.stream("TIMERS"), system.names.timers_in(run))
    return bool(timers) and await queued(system, 0)()


async def test_a_replayed_run_that_was_lost_goes_on(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("fails")
        with pytest.raises(RemoteError):
            await system.result("fails", run, timeout=PATIENCE_SECONDS)
        (letter,) = await system.dead_letters.list(run=run)
        await eventually(queued(system, 0))
        counting.broken = False
        async with losing(system, "fails"):
            await system.replay(letter.number)
        await recover(system)
        assert await text_of(system, "fails", run) == "mended"
        assert counting.executed == {"leaf tried": 1}


async def test_a_fork_that_was_lost_is_begun(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        counting.broken = False
        run = (await system.call("fails")).run_id
        await eventually(queued(system, 0))
        async with losing(system, "fails"):
            agent, fork = await system.runs.fork(run)
        await recover(system)
        assert await text_of(system, agent, fork) == "mended"


async def test_a_run_is_recovered_as_often_as_it_is_lost(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x")
        for _ in range(3):
            async with losing(system, "leaf"):
                await recover(system)
        await recover(system)
        assert await text_of(system, "leaf", run) == "x"


async def test_a_lost_run_that_nobody_waits_for_any_more_expires(running: Running) -> None:
    async with running(*Counting().agents(), power_safe=True) as system:
        await recover(system)
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x", timeout=0.3)
        await asyncio.sleep(0.4)
        await recover(system)
        with pytest.raises(DeadlineExceeded):
            await system.result("leaf", run)


async def test_the_system_recovers_by_itself(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "EVERY_SECONDS", 0.2)
    async with running(*Counting().agents(), power_safe=True) as system:
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x")
        assert await text_of(system, "leaf", run) == "x"


# -- what the server keeps and never delivers --------------------------------------------------


class Ahead:
    """A broker whose consumers believe that they have answered everything up to a sequence."""

    def __init__(self, broker: Any, floor: int) -> None:
        self._broker, self._floor = broker, floor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo | None:
        found = await self._broker.consumer_info(stream, consumer)
        return None if found is None else replace(found, ack_floor=self._floor)


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
async def test_a_call_that_is_stuck_in_the_queue_goes_on(running: Running, noted: bool) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        await recover(system)
        stream = system.names.stream(CALLS)
        await system.broker.pause_consumer(stream, "leaf", now() + 3600.0)
        run = await system.send("leaf", "x")
        if not noted:  # as a step of a handler is not
            await system.broker.purge(system.names.stream(RESULTS))
        stuck = (await info(system, CALLS)).last_sequence
        ahead: Any = Ahead(system.broker, stuck)
        await eventually(Recovery(Space(ahead, system.names)).look)
        state = await info(system, CALLS)
        assert (state.messages, state.first_sequence) == (1, stuck + 1)
        await system.broker.pause_consumer(stream, "leaf", now() - 1.0)
        assert await text_of(system, "leaf", run) == "x"
        assert counting.executed == {"leaf x": 1}


async def test_what_is_stuck_and_over_is_removed(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        await recover(system)
        stream = system.names.stream(CALLS)
        run = (await system.call("leaf", "x")).run_id
        await eventually(queued(system, 0))
        await system.broker.pause_consumer(stream, "leaf", now() + 3600.0)
        await system.broker.append(system.names.call("leaf", run, ""), b"removed before the kill")
        ahead: Any = Ahead(system.broker, (await info(system, CALLS)).last_sequence)
        await eventually(Recovery(Space(ahead, system.names)).look)
        assert await queued(system, 0)()
        assert counting.executed == {"leaf x": 1}


# -- what is not lost --------------------------------------------------------------------------


async def test_what_is_queued_at_work_parked_or_put_off_is_not_published_again(
    running: Running,
) -> None:
    counting, begun, go_on = Counting(), asyncio.Event(), asyncio.Event()

    async def works(message: Message) -> str:
        counting.executed["works"] += 1
        begun.set()
        await go_on.wait()
        return "done"

    async with running(*counting.agents(), Agent("works", works), power_safe=True) as system:
        stream = system.names.stream(CALLS)
        parked = await system.send("asks", "x")
        await eventually(asked(system, parked))
        await system.broker.pause_consumer(stream, "leaf", now() + 3600.0)
        await system.send("leaf", "queued")
        run = await system.send("works")
        await begun.wait()
        before = await info(system, CALLS)
        for _ in range(2):
            await recover(system)
        assert (await info(system, CALLS)).last_sequence == before.last_sequence
        go_on.set()
        assert await text_of(system, "works", run) == "done"
        assert counting.executed["works"] == 1


async def test_a_call_between_its_note_and_its_publication_is_left_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MOMENT_SECONDS", 0.5)
    async with running(*Counting().agents(), power_safe=True) as system:
        await recover(system)
        send = system._caller._send
        noted, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(request: Envelope) -> None:
            noted.set()
            await go_on.wait()
            await send(request)

        monkeypatch.setattr(system._caller, "_send", slowly)
        sending = asyncio.create_task(system.send("leaf", "x"))
        await noted.wait()
        looking = asyncio.create_task(recover(system))
        await asyncio.sleep(0.1)
        go_on.set()
        run = await sending
        assert await text_of(system, "leaf", run) == "x"
        await looking
        assert (await info(system, CALLS)).last_sequence == 1


async def test_two_processes_that_recover_at_once_publish_one_call(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def everybody(*_: object) -> AsyncGenerator[bool, None]:
        yield True

    async with running(*Counting().agents(), power_safe=True) as system:
        async with losing(system, "leaf"):
            run = await system.send("leaf", "x")
        monkeypatch.setattr(recovery, "lease", everybody)
        await asyncio.gather(*(recover(system) for _ in range(4)))
        assert await text_of(system, "leaf", run) == "x"
        assert (await info(system, CALLS)).last_sequence == 2


async def test_one_process_looks_and_the_others_need_not(running: Running) -> None:
    async with running(*Counting().agents(), power_safe=True) as system:
        await recover(system)
        async with losing(system, "leaf"):
            await system.send("leaf", "x")
        looks = [Recovery(system.space).look() for _ in range(3)]
        assert sorted(await asyncio.gather(*looks)) == [False, False, True]


async def test_a_call_that_the_queue_refused_is_not_executed_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: object) -> None:
        raise StreamFull("the queue is full")

    async with running(*Counting().agents(), power_safe=True) as system:
        monkeypatch.setattr(system._caller, "_send", full)
        with pytest.raises(StreamFull):
            await system.send("leaf", "x")
        with pytest.raises(StreamFull):
            await system.call("leaf", "x")
        assert await notes(system) == 0


# -- what it costs -----------------------------------------------------------------------------


async def test_inner_calls_are_not_noted_and_the_mode_is_off_by_default(running: Running) -> None:
    counting = Counting()
    counting.broken = False
    async with running(*counting.agents(), power_safe=True) as system:
        await system.call("fails")
        assert (await notes(system), (await info(system, RESULTS)).messages) == (1, 3)
    async with running(*counting.agents()) as system:
        await system.call("fails")
        assert (await notes(system), (await info(system, RESULTS)).messages) == (0, 2)


async def test_a_process_that_starts_later_begins_where_the_last_one_was(running: Running) -> None:
    async with running(*Counting().agents(), power_safe=True) as system:
        for number in range(3):
            await system.call("leaf", number)
        parked = await system.send("asks", "x")
        await eventually(asked(system, parked))
        await recover(system)
        fresh = Unsettled(system.space)
        assert set(await fresh.read()) <= {system.names.accepted("asks", parked, "")}
        assert fresh._next > 3


# -- how long it is kept -----------------------------------------------------------------------


async def swept_up(system: System) -> None:
    await asyncio.sleep(0.6)
    await Sweeper(system.space, Retention(keep=0.5, keep_at_least=0.1)).look()


async def test_notes_of_finished_runs_go_and_those_of_others_stay(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        await system.call("leaf", "over")
        run = await system.send("asks", "x")
        await eventually(asked(system, run))
        await swept_up(system)
        stream, kept = system.names.stream(RESULTS), system.names.kept_of(run)
        assert await notes(system) == 1
        assert len(await system.broker.read(stream, kept)) == 2
        async with losing(system, "asks"):
            await system.answer(run, "yes")
        await recover(system)
        assert await text_of(system, "asks", run) == "before x: yes"
        assert counting.executed["leaf before x"] == 1


async def test_a_lost_run_keeps_its_results_until_it_is_recovered(running: Running) -> None:
    counting = Counting()
    async with running(*counting.agents(), power_safe=True) as system:
        run = await system.send("asks", "x")
        await eventually(asked(system, run))
        async with losing(system, "asks"):
            await system.answer(run, "yes")
        await swept_up(system)
        await recover(system)
        assert await text_of(system, "asks", run) == "before x: yes"
        assert counting.executed == {"leaf before x": 1}


# -- choosing it -------------------------------------------------------------------------------


async def test_it_is_chosen_when_the_streams_are_created(running: Running) -> None:
    async with running(*Counting().agents(), power_safe=True) as system:
        other = App(Counting().agents(), namespace=system.names.namespace)
        with pytest.raises(StreamRefused, match=r"persist 'async' → 'default'.*delete it"):
            await other.provision(system.broker)


@pytest.mark.virtual_time
async def test_it_is_for_one_copy() -> None:
    async with MemoryBroker() as broker:
        app = App(Counting().agents(), power_safe=True)
        with pytest.raises(ConfigError, match="power_safe with 3 replicas"):
            await app.provision(broker, replicas=3)


@pytest.mark.virtual_time
async def test_nobody_asks_twice_whether_calls_are_noted() -> None:
    async with MemoryBroker() as broker:
        names = Names(f"t{new_id()[-12:]}")
        accepted = CallNotes(broker, names)
        assert not await accepted.is_wanted()
        assert accepted.wanted is None  # nothing is provisioned yet
        await App(Counting().agents(), namespace=names.namespace, power_safe=True).provision(broker)
        assert await accepted.is_wanted()
        assert accepted.wanted


class Closed:
    """A broker that does not tell this user about streams, nor take notes if `notes` is False."""

    def __init__(self, broker: Any, *, notes: bool) -> None:
        self._broker, self._notes = broker, notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def stream_info(self, stream: str) -> StreamInfo | None:
        raise PermissionDenied(f"no word about {stream}")

    async def append(self, subject: str, *args: Any, **options: Any) -> Any:
        if ".run." in subject and not self._notes:
            raise PermissionDenied(f"no append to {subject}")
        return await self._broker.append(subject, *args, **options)


@pytest.mark.parametrize("notes_allowed", [True, False])
async def test_who_may_not_ask_whether_calls_are_noted_notes_them_if_it_may(
    running: Running, notes_allowed: bool
) -> None:
    async with running(*Counting().agents(), power_safe=notes_allowed) as system:
        closed: Any = Closed(system.broker, notes=notes_allowed)
        client = Client(closed, system.names)
        for _ in range(2):
            run = await client.send("leaf", "x")
            assert await text_of(system, "leaf", run) == "x"
        assert await notes(system) == (2 if notes_allowed else 0)


async def test_who_may_not_note_a_call_that_must_be_noted_may_not_send_it(running: Running) -> None:
    async with running(*Counting().agents(), power_safe=True) as system:
        closed: Any = Closed(system.broker, notes=False)
        client = Client(closed, system.names)
        client.space.notes.wanted = True  # as it is for who may ask
        with pytest.raises(PermissionDenied):
            await client.send("leaf", "x")
        assert await queued(system, 0)()

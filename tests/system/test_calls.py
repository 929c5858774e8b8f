"""The durable call: at-least-once executed, exactly one result, on every broker."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from aixgo import Agent, Context, Message, Reply, System
from aixgo.calls.dead_letters import decode_dead_letter
from aixgo.calls.results import result_of
from aixgo.envelope import Envelope, decode, encode, new_id
from aixgo.errors import (
    AixgoError,
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    DepthExceeded,
    InvalidPayload,
    ModelTimeout,
    NoResponders,
    RemoteError,
    RequestTimeout,
    StreamFull,
    UnknownAgent,
)
from aixgo.subjects import CALLS, DLQ, RESULTS, TIMERS
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}

CALLS_IN_A_ROW = 100


async def shout(message: Message) -> str:
    return message.text.upper()


class Ticket(BaseModel):
    subject: str
    priority: int = 3


class Count(TypedDict):
    words: int


class Label(msgspec.Struct):
    name: str
    score: float


async def triage(ticket: Ticket) -> Label:
    return Label(ticket.subject.lower(), ticket.priority / 10)


async def dead_letters(system: System) -> list[Any]:
    stream = system.names.stream(DLQ)
    records = await system.broker.read(stream, f"{system.names.prefix}dlq.>")
    return [decode_dead_letter(record.data) for record in records]


async def nothing_queued(system: System) -> bool:
    """The acknowledgement of a recorded result is not waited for."""
    info = await system.broker.stream_info(system.names.stream(CALLS))
    assert info is not None
    return info.messages == 0


# -- values ------------------------------------------------------------------------------------


async def test_a_call_returns_the_handlers_value_with_its_run(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        result = await system.call("shout", "hello")
        assert result.text == "HELLO"
        assert result.data == "HELLO"
        assert result.source == "shout"
        assert len(result.run_id) == 32
        assert len(result.trace_id) == 32
        assert result.usage.total_tokens == 0
        assert result.usage.cost == 0.0
        await eventually(lambda: nothing_queued(system))


async def test_a_handler_may_return_a_typed_dict_and_nothing_else_then(running: Running) -> None:
    async def count(message: Message) -> Count:
        return {"words": 2} if message.text == "two words" else {}  # type: ignore[typeddict-item]

    async with running(Agent("count", count)) as system:
        assert (await system.call("count", "two words")).data == {"words": 2}
        with pytest.raises(RemoteError, match="annotated `-> Count`"):
            await system.call("count", "")


async def test_typed_messages_are_validated_on_the_way_in(running: Running) -> None:
    async with running(Agent("triage", triage)) as system:
        result = await system.call("triage", Ticket(subject="INVOICE", priority=5))
        assert result.decode(Label) == Label("invoice", 0.5)
        with pytest.raises(RemoteError, match="subject: Field required") as caught:
            await system.call("triage", {"priority": 1})
        assert caught.value.cause == "invalid_payload"
        assert caught.value.attempts == 1


async def test_a_value_that_is_no_json_is_refused_before_it_is_sent(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        with pytest.raises(InvalidPayload, match="object cannot be sent as JSON"):
            await system.call("shout", object())


@pytest.mark.parametrize("size", [0, 64 * 1024 - 3, 64 * 1024 - 2, 64 * 1024 - 1, 5_000_000])
async def test_a_payload_of_any_size_arrives_both_ways(running: Running, size: int) -> None:
    seen: list[int] = []

    async def mirror(text: str) -> str:
        seen.append(len(text))
        return text

    async with running(Agent("mirror", mirror)) as system:
        text = "x" * size
        assert (await system.call("mirror", text)).text == text
        assert seen == [size]


async def test_metadata_arrives_as_the_handler_set_it(running: Running) -> None:
    meta = {"category": "billing", "confidence": 0.75, "parallel_results": {"a": [1, None]}}

    async def label(message: Message) -> Reply:
        return Reply({"seen": dict(message.meta)}, meta=meta)

    async with running(Agent("label", label)) as system:
        result = await system.call("label", "x", meta={"tenant": "acme"})
        assert result.meta == meta
        assert result.data == {"seen": {"tenant": "acme"}}


# -- failures ----------------------------------------------------------------------------------


async def test_a_transient_failure_is_retried_with_backoff(running: Running) -> None:
    attempts: list[int] = []

    async def flaky(message: Message, ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ModelTimeout("the provider is slow")
        return "done"

    async with running(Agent("flaky", flaky, retry={"max_attempts": 3, **QUICK})) as system:
        assert (await system.call("flaky")).text == "done"
        assert attempts == [1, 2, 3]
        assert await dead_letters(system) == []


async def test_an_exhausted_call_is_a_dead_letter_and_an_error_result(running: Running) -> None:
    async def broken(message: Message) -> str:
        raise ModelTimeout("the provider is slow")

    async with running(Agent("broken", broken, retry={"max_attempts": 2, **QUICK})) as system:
        with pytest.raises(RemoteError, match="the provider is slow") as caught:
            await system.call("broken", "precious")
        assert (caught.value.agent, caught.value.cause) == ("broken", "model_timeout")
        assert caught.value.attempts == 2
        (letter,) = await dead_letters(system)
        assert letter.agent == "broken"
        assert letter.failure.code == "model_timeout"
        assert letter.failure.attempts == 2
        assert letter.stream == CALLS
        assert Message(letter.envelope).text == "precious"


async def test_a_bug_is_final_at_once(running: Running) -> None:
    calls: list[str] = []

    async def buggy(message: Message) -> str:
        calls.append("x")
        raise KeyError("missing")

    async with running(Agent("buggy", buggy)) as system:
        with pytest.raises(RemoteError, match="missing") as caught:
            await system.call("buggy")
        assert caught.value.cause == "KeyError"
        assert len(calls) == 1


async def test_a_long_backoff_goes_through_a_durable_timer(
    running: Running, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay = 80.0
    if kind == "nats":  # real time: let "long" begin earlier
        delay = 1.2
        monkeypatch.setattr("aixgo.calls.settle.LONG_DELAY_SECONDS", 0.1)
    attempts: list[int] = []

    async def slow(message: Message, ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ModelTimeout("later")
        return "done"

    retry = {"initial_backoff": delay, "max_backoff": delay}
    async with running(Agent("slow", slow, retry=retry)) as system:
        waiting = asyncio.create_task(system.call("slow"))
        await eventually(lambda: attempts == [1])
        stream = system.names.stream(TIMERS)
        await eventually(lambda: system.services["slow"].busy == 0)
        timer = await system.broker.read(stream, f"{system.names.prefix}timer.>")
        assert len(timer) == 1
        assert (await waiting).text == "done"
        assert attempts == [1, 2]


async def test_bytes_that_are_no_envelope_become_a_dead_letter_with_a_result(
    running: Running,
) -> None:
    async with running(Agent("shout", shout)) as system:
        run = new_id()
        await system.broker.append(system.names.call("shout", run, ""), b"\xff not json")
        with pytest.raises(RemoteError, match="not an envelope"):
            await system.result("shout", run, timeout=PATIENCE_SECONDS)
        (letter,) = await dead_letters(system)
        assert letter.failure.code == "invalid_payload"
        assert letter.raw
        await eventually(lambda: nothing_queued(system))


async def test_a_handler_over_its_deadline_is_stopped_and_expired(running: Running) -> None:
    stopped = asyncio.Event()

    async def sleepy(message: Message) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return "late"

    async with running(Agent("sleepy", sleepy)) as system:
        with pytest.raises(DeadlineExceeded, match="longer `timeout`"):
            await system.call("sleepy", timeout=1.0)
        await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)


async def test_a_call_that_nobody_serves_expires_by_its_caller(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        await system.services["shout"].stop()
        with pytest.raises(DeadlineExceeded):
            await system.call("shout", "x", timeout=0.3)


async def test_an_unknown_agent_is_refused_with_the_known_ones(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        with pytest.raises(UnknownAgent, match=r"'whisper'.*shout"):
            await system.call("whisper")


async def test_a_timeout_of_nothing_is_refused(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        with pytest.raises(ConfigError, match="timeout 0 s"):
            await system.call("shout", "x", timeout=0)


# -- one result --------------------------------------------------------------------------------


async def test_the_first_result_wins_for_ever(running: Running) -> None:
    release = asyncio.Event()

    async def slow(message: Message) -> str:
        await release.wait()
        return "mine"

    async with running(Agent("slow", slow)) as system:
        run = await system.send("slow", "x")
        worker = system.services["slow"]
        await eventually(lambda: worker.busy == 1)
        request = Envelope(id=new_id(), kind="call", source="zombie", target="slow", run=run)
        earlier = msgspec.structs.replace(
            result_of(request, "slow", "done"), payload=msgspec.Raw(b'"theirs"')
        )
        space = system.services["slow"].space
        await space.results.settle("slow", earlier)
        release.set()
        await eventually(lambda: worker.busy == 0)
        result = await system.result("slow", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "theirs"
        record = await system.broker.last(
            system.names.stream(RESULTS), system.names.result("slow", run, "")
        )
        assert record is not None
        assert decode(record.data).body == b'"theirs"'


async def test_the_same_run_id_runs_nothing_twice(running: Running) -> None:
    calls: list[str] = []

    async def count(message: Message) -> int:
        calls.append(message.text)
        return len(calls)

    async with running(Agent("count", count)) as system:
        run = new_id()
        first = await system.call("count", "a", run_id=run)
        again = await system.call("count", "a", run_id=run)
        assert (first.data, again.data) == (1, 1)
        both = await asyncio.gather(*(system.call("count", "b", run_id="r2") for _ in range(8)))
        assert {result.data for result in both} == {2}
        assert calls == ["a", "b"]


async def test_a_result_can_be_fetched_later(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        run = await system.send("shout", "later")
        result = await system.result("shout", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "LATER"
        assert await system.result("shout", new_id()) is None


# -- durable steps -----------------------------------------------------------------------------


async def test_a_repeated_handler_does_not_repeat_its_finished_steps(running: Running) -> None:
    done: list[str] = []
    failures = [ModelTimeout("after the steps")]

    async def step(message: Message) -> str:
        done.append(message.text)
        return message.text * 2

    async def flow(message: Message, ctx: Context) -> list[Any]:
        one = await ctx.call("step", "a")
        chosen = await ctx.record(lambda: len(done))
        two, three = await asyncio.gather(ctx.call("step", "b"), ctx.call("step", "c", key="sea"))
        if failures:
            raise failures.pop()
        return [one.text, chosen, two.text, three.text]

    async with running(Agent("step", step), Agent("flow", flow, retry=QUICK)) as system:
        result = await system.call("flow")
        assert result.data == ["aa", 1, "bb", "cc"]
        assert sorted(done) == ["a", "b", "c"]


async def test_changed_code_is_a_replay_mismatch_that_names_the_step(running: Running) -> None:
    versions = ["old", "new"]

    async def step(message: Message) -> str:
        return message.text

    async def flow(message: Message, ctx: Context) -> str:
        await ctx.call("step", versions.pop(0))
        raise ModelTimeout("again")

    async with running(Agent("step", step), Agent("flow", flow, retry=QUICK)) as system:
        with pytest.raises(RemoteError, match="step/1") as caught:
            await system.call("flow")
        assert caught.value.cause == "replay_mismatch"


async def test_a_step_key_used_twice_is_refused(running: Running) -> None:
    async def flow(message: Message, ctx: Context) -> int:
        await ctx.record(1, key="same")
        return await ctx.record(2, key="same")

    async with running(Agent("flow", flow)) as system:
        with pytest.raises(RemoteError, match="'record/same' is used twice"):
            await system.call("flow")


async def test_a_childs_failure_arrives_with_its_origin(running: Running) -> None:
    async def leaf(message: Message) -> str:
        raise InvalidPayload("the leaf cannot read this")

    async def middle(message: Message, ctx: Context) -> str:
        return (await ctx.call("leaf")).text

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("middle")).text

    agents = Agent("leaf", leaf), Agent("middle", middle), Agent("top", top)
    async with running(*agents) as system:
        with pytest.raises(RemoteError, match="the leaf cannot read this") as caught:
            await system.call("top")
        assert (caught.value.agent, caught.value.cause) == ("leaf", "invalid_payload")


async def test_calls_in_a_circle_end_at_the_depth_limit(running: Running) -> None:
    async def ouroboros(message: Message, ctx: Context) -> str:
        return (await ctx.call("ouroboros")).text

    async with running(Agent("ouroboros", ouroboros, limits={"max_depth": 3})) as system:
        with pytest.raises(RemoteError, match=r"`limits\.max_depth` is 3 calls") as caught:
            await system.call("ouroboros")
        assert caught.value.cause == DepthExceeded.code


async def test_a_childs_deadline_is_never_later_than_its_parents(running: Running) -> None:
    async def child(message: Message, ctx: Context) -> float:
        return ctx.remaining

    async def parent(message: Message, ctx: Context) -> list[float]:
        short = await ctx.call("child", timeout=50)
        long = await ctx.call("child", timeout=500)
        return [short.data, long.data]

    async with running(Agent("child", child), Agent("parent", parent)) as system:
        short, long = (await system.call("parent", timeout=200)).data
        assert 50 - SOON_SECONDS < short <= 50
        assert 200 - SOON_SECONDS < long <= 200


async def test_one_trace_and_one_run_reach_the_leaves(running: Running) -> None:
    async def leaf(message: Message, ctx: Context) -> list[Any]:
        return [ctx.run_id, ctx.trace_id, ctx.depth]

    async def top(message: Message, ctx: Context) -> Any:
        return (await ctx.call("leaf")).data

    async with running(Agent("leaf", leaf), Agent("top", top)) as system:
        result = await system.call("top")
        assert result.data == [result.run_id, result.trace_id, 1]


# -- concurrency, cancel -----------------------------------------------------------------------


async def test_the_concurrency_limit_of_an_agent_holds(running: Running) -> None:
    now, most = 0, 0

    async def busy(message: Message) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    async with running(Agent("busy", busy, concurrency=3)) as system:
        await asyncio.gather(*(system.call("busy", n) for n in range(12)))
        assert most == 3


async def test_cancelling_a_run_stops_its_handler_and_its_children(running: Running) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def leaf(message: Message) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def top(message: Message, ctx: Context) -> None:
        await ctx.call("leaf")

    async with running(Agent("leaf", leaf), Agent("top", top)) as system:
        run = await system.send("top")
        await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
        assert await system.cancel("top", run)
        await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)
        with pytest.raises(Cancelled, match="by a client"):
            await system.result("top", run, timeout=PATIENCE_SECONDS)


@pytest.mark.long(only=("nats",))
async def test_a_call_leaves_nothing_to_the_garbage_collector(running: Running) -> None:
    async def echo(message: Message) -> str:
        return message.text

    async with running(Agent("echo", echo)) as system:
        await system.call("echo", "warm")
        gc.collect()
        gc.disable()
        try:
            for _ in range(CALLS_IN_A_ROW):
                await system.call("echo", "x")
            # what a call leaves in a circle of references is some objects for each one
            assert gc.collect() < CALLS_IN_A_ROW
        finally:
            gc.enable()


async def test_leaving_a_call_cancels_its_run(running: Running) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def slow(message: Message) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with running(Agent("slow", slow)) as system:
        waiting = asyncio.create_task(system.call("slow"))
        await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)


async def test_a_finished_run_cannot_be_cancelled(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        result = await system.call("shout", "x")
        assert not await system.cancel("shout", result.run_id)


# -- several at once ---------------------------------------------------------------------------


async def test_call_parallel_keeps_errors_beside_results(running: Running) -> None:
    async def broken(message: Message) -> str:
        raise InvalidPayload("no")

    async with running(Agent("shout", shout), Agent("broken", broken)) as system:
        results = await system.call_parallel(["shout", "broken", "nobody"], "x")
        assert list(results) == ["shout", "broken", "nobody"]
        assert isinstance(results["shout"], Message)
        assert isinstance(results["broken"], RemoteError)
        assert isinstance(results["nobody"], UnknownAgent)


async def test_a_broadcast_goes_on_past_failing_targets(running: Running) -> None:
    seen: list[str] = []

    async def hear(message: Message) -> None:
        seen.append(message.text)

    async with running(Agent("one", hear), Agent("two", hear)) as system:
        sent = await system.broadcast("news", agents=["one", "nobody", "two"])
        assert isinstance(sent["nobody"], UnknownAgent)
        await eventually(lambda: len(seen) == 2)


async def test_health_and_metrics_tell_what_happened(running: Running) -> None:
    async def broken(message: Message) -> str:
        raise InvalidPayload("no")

    async with running(Agent("shout", shout), Agent("broken", broken)) as system:
        await system.call("shout", "x")
        with pytest.raises(AixgoError):
            await system.call("broken", "x")
        assert system.health() == {"shout": True, "broken": True}
        metrics = system.metrics()
        assert metrics.active_agents == 2
        assert metrics.messages_sent == 2
        assert metrics.messages_received == 2
        assert (metrics.calls_succeeded, metrics.calls_failed) == (1, 1)
        assert metrics.average_call_latency > 0 or metrics.average_call_latency == 0.0
        assert await system.agents() == ["broken", "shout"]


# -- rpc ---------------------------------------------------------------------------------------


async def test_an_rpc_answers_without_a_record(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        result = await system.rpc("shout", "hello")
        assert result.text == "HELLO"
        info = await system.broker.stream_info(system.names.stream(RESULTS))
        assert info is not None
        assert info.messages == 0


async def test_the_answer_to_an_rpc_is_a_reply(running: Running) -> None:
    request = Envelope(id=new_id(), kind="rpc", payload=msgspec.Raw(b'"hello"'))
    async with running(Agent("shout", shout)) as system:
        subject = system.names.rpc("shout", "execute")
        answer = await system.broker.request(subject, encode(request), timeout=10.0)
    reply = decode(answer.data)
    assert (reply.kind, reply.status, reply.payload) == ("reply", "done", msgspec.Raw(b'"HELLO"'))


async def test_an_rpc_to_nobody_fails_at_once(running: Running) -> None:
    async with running(Agent("shout", shout)) as system:
        with pytest.raises(NoResponders, match="no instance of agent 'nobody'"):
            await system.rpc("nobody", "x")


async def test_a_failing_rpc_says_why(running: Running) -> None:
    async with running(Agent("triage", triage)) as system:
        with pytest.raises(RemoteError, match="Field required"):
            await system.rpc("triage", {})


async def test_rpcs_over_the_concurrency_limit_are_refused_not_queued(running: Running) -> None:
    release = asyncio.Event()

    async def hold(message: Message) -> str:
        await release.wait()
        return "ok"

    async with running(Agent("hold", hold, concurrency=2)) as system:
        calls = [asyncio.create_task(system.rpc("hold")) for _ in range(3)]
        service = system.services["hold"]
        await eventually(lambda: service.busy >= 2)
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert isinstance(refused.exception(), RemoteError)
        assert "works on 2 rpcs already" in str(refused.exception())
        release.set()
        await asyncio.wait(calls)


# -- what must not go wrong quietly ------------------------------------------------------------


async def test_an_agents_own_timeout_is_a_failure_that_may_be_retried(running: Running) -> None:
    attempts: list[int] = []

    async def child(message: Message) -> None:
        await asyncio.sleep(60)

    async def slow(message: Message, ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        if ctx.attempt == 2:
            await ctx.call("child")
        return "third time lucky"

    agents = Agent("child", child), Agent("slow", slow, timeout="1s", retry=QUICK)
    async with running(*agents) as system:
        assert (await system.call("slow", timeout=PATIENCE_SECONDS)).text == "third time lucky"
        assert attempts == [1, 2, 3]


async def test_a_handler_that_cancels_itself_is_an_error_not_a_loop(running: Running) -> None:
    async def odd(message: Message) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async with running(Agent("odd", odd)) as system:
        with pytest.raises(RemoteError) as caught:
            await system.call("odd", timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "CancelledError"


async def test_a_cancelled_child_has_a_result_record_too(running: Running) -> None:
    started = asyncio.Event()

    async def leaf(message: Message) -> None:
        started.set()
        await asyncio.sleep(60)

    async def top(message: Message, ctx: Context) -> None:
        await ctx.call("leaf")

    async with running(Agent("leaf", leaf), Agent("top", top)) as system:
        run = await system.send("top")
        await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
        await system.cancel("top", run)
        stream = system.names.stream(RESULTS)
        subject = system.names.result("leaf", run, "leaf/1")
        record = await eventually(lambda: system.broker.last(stream, subject))
        assert decode(record.data).status == "cancelled"
        await eventually(lambda: system.services["leaf"].busy == 0)
        await eventually(lambda: nothing_queued(system))


async def test_deliveries_that_no_worker_saw_are_one_death(running: Running) -> None:
    """A server that is cut off from its workers counts deliveries into nowhere."""

    async def work(message: Message) -> str:
        return "done"

    async with running(Agent("far", work, retry={"max_deaths": 2})) as system:
        await system.services["far"].stop()
        run = await system.send("far", "x")
        handed_back = asyncio.Semaphore(0)

        async def hand_back(delivery: Any) -> None:
            await delivery.nak()
            handed_back.release()

        stream = system.names.stream(CALLS)
        pull = await system.broker.consume(stream, "far", hand_back, slots=1)
        for _ in range(5):
            await asyncio.wait_for(handed_back.acquire(), PATIENCE_SECONDS)
        await pull.stop()
        async with system.app.running(broker=system.broker, provision=False, grace=1.0):
            result = await system.result("far", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "done"
        assert await dead_letters(system) == []


async def test_a_result_that_cannot_be_stored_yet_is_kept_not_executed_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[int] = []
    refusals = [StreamFull("the stream is full"), StreamFull("the stream is full")]

    async def work(message: Message) -> str:
        executed.append(1)
        return "dear"

    async with running(Agent("work", work)) as system:
        append = system.broker.append

        async def full(subject: str, *arguments: Any, **options: Any) -> Any:
            if ".res." in subject and refusals:
                raise refusals.pop()
            return await append(subject, *arguments, **options)

        monkeypatch.setattr(system.broker, "append", full)
        assert (await system.call("work", timeout=PATIENCE_SECONDS)).text == "dear"
        assert executed == [1]
        assert refusals == []


async def test_a_first_look_that_is_not_answered_does_not_fail_the_call(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is cut off answers nobody for a while; the call has its deadline."""
    async with running(Agent("shout", shout)) as system:
        results = system.space.results
        get, failed = results.get, list[Any]()

        async def away(*args: Any, **options: Any) -> Any:
            if not failed:
                failed.append(args)
                raise RequestTimeout("no answer from the server")
            return await get(*args, **options)

        monkeypatch.setattr(results, "get", away)
        answer = await system.call("shout", "hello", run_id=new_id(), timeout=PATIENCE_SECONDS)
    assert (answer.data, len(failed)) == ("HELLO", 1)

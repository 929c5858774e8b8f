"""What other programs publish, and what a handler raises: one dead letter, and work goes on."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from aixgo import Agent, Context, Message, System
from aixgo.calls.results import result_of
from aixgo.clock import now
from aixgo.envelope import Envelope, encode, new_id
from aixgo.errors import BadSubject, HandlerExited, RemoteError
from aixgo.payloads import to_payload
from aixgo.subjects import CALLS, DLQ, PARKED, RESULTS, TIMERS
from aixgo.testing.local import run_local
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import eventually

Running = Callable[..., AbstractAsyncContextManager[System]]

SLOTS = 2


async def shout(message: Message) -> str:
    return message.text.upper()


def loud(**options: Any) -> Agent:
    return Agent("loud", shout, concurrency=SLOTS, **options)


async def put(system: System, subject: str, data: bytes) -> None:
    """Publish as another program does: no message id, no headers."""
    await system.broker.append(f"{system.names.prefix}{subject}", data)


async def letters(system: System, count: int) -> list[Any]:
    async def there() -> bool:
        return len(await system.dead_letters.list()) >= count

    await eventually(there, within=20)
    found = await system.dead_letters.list()
    assert len(found) == count
    return [one.letter for one in found]


async def nothing_queued(system: System) -> bool:
    info = await system.broker.consumer_info(system.names.stream(CALLS), "loud")
    return info is not None and info.pending == 0 and info.ack_pending == 0


async def test_the_documented_minimum_is_a_call(running: Running) -> None:
    async with running(loud()) as system:
        for n in range(3 * SLOTS):
            await put(system, f"call.loud.r{n}.root", b'{"id":"m","kind":"call","payload":"x"}')
        for n in range(3 * SLOTS):
            result = await system.result("loud", f"r{n}", timeout=20)
            assert result is not None
            assert (result.text, result.run_id) == ("X", f"r{n}")
        assert await system.dead_letters.list() == []


@pytest.mark.parametrize(
    ("tail", "body"),
    [
        ("loud.r1.root", b'{"id":"m","kind":"call","run":"*"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","run":"a.b"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","run":"%s"}' % (b"r" * 40)),
        ("loud.r1.root", b'{"id":"m","kind":"call","run":"other"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","target":"els e"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","target":"another"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","step":"a/1"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","step":"a b"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","parent":"\\u0000"}'),
        ("loud.r1.root", b'{"id":"m\\r\\nX: 1","kind":"call"}'),
        ("loud.r1.root", b'{"id":"","kind":"call"}'),
        ("loud.r1.root", b'{"id":"m","kind":"call","source":"a\\nb"}'),
        ("loud.r1._0123456789abcdef", b'{"id":"m","kind":"call"}'),
        ("loud." + "r" * 40 + ".root", b'{"id":"m","kind":"call"}'),
        ("loud.r1", b'{"id":"m","kind":"call"}'),
        ("loud.r1.root.more", b'{"id":"m","kind":"call"}'),
        ("loud.r1.root", b"\xff\xfe"),
        ("loud.r1.root", b"[" * 100_000),
    ],
    ids=lambda part: part.decode(errors="replace")[:60] if isinstance(part, bytes) else part[:24],
)
async def test_what_cannot_be_a_call_is_one_dead_letter_and_the_slots_are_free(
    running: Running, tail: str, body: bytes
) -> None:
    async with running(loud(), ack_wait=2.0) as system:
        for _ in range(SLOTS):
            await put(system, f"call.{tail}", body)
        for letter in await letters(system, SLOTS):
            assert letter.failure.code == "invalid_payload"
            assert letter.envelope is None
        assert (await system.call("loud", "still there", timeout=20)).text == "STILL THERE"
        await eventually(lambda: nothing_queued(system))
        assert len(await system.dead_letters.list()) == SLOTS


async def test_events_of_other_programs_are_handled_or_refused(running: Running) -> None:
    heard: list[str] = []

    async def listen(message: Message) -> None:
        heard.append(message.text)

    async def speak(message: Message, ctx: Context) -> None:
        await ctx.emit(message.text)

    talker = Agent("talker", speak)
    listener = Agent("listener", listen, concurrency=SLOTS, inputs=[{"source": "talker"}])
    async with running(talker, listener, ack_wait=2.0) as system:
        for _ in range(2 * SLOTS):
            await put(system, "evt.talker", b'{"id":"m","kind":"event","run":"*","payload":"bad"}')
        await put(system, "evt.talker", b'{"id":"m","kind":"event","payload":"minimal"}')
        await put(system, "evt.talker", b'{"id":"m","kind":"event","payload":"minimal"}')
        await put(system, "evt.talker", b'{"id":"a/b \\"","kind":"event","payload":"bad id"}')
        await letters(system, 2 * SLOTS + 1)
        await system.call("talker", "ours", timeout=20)
        await eventually(lambda: "ours" in heard)
        assert heard.count("minimal") == 1  # the same id twice is one event
        assert "bad" not in heard


@pytest.mark.parametrize("run", ["*", ">", "a.b", "a b", "", "r" * 33])
async def test_no_question_of_a_client_can_name_a_wildcard(running: Running, run: str) -> None:
    async with running(loud()) as system:
        mine = (await system.call("loud", "mine", timeout=20)).run_id
        stream = system.names.stream(RESULTS)
        before = await system.broker.stream_info(stream)
        if run:
            for question in (
                system.result("loud", run),
                system.result("*", mine),
                system.questions(run),
                system.answer(run, "yes"),
                system.cancel("loud", run),
                system.runs.tree(run),
                system.runs.history(run),
                system.call("loud", "x", run_id=run),
            ):
                with pytest.raises(BadSubject):
                    await question
        else:
            with pytest.raises(BadSubject):
                await system.cancel("loud", run)
        after = await system.broker.stream_info(stream)
        assert before is not None
        assert after is not None
        assert after.last_sequence == before.last_sequence


# -- what a handler raises -----------------------------------------------------------------------


class Deaf(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Odd(BaseException):
    pass


@pytest.fixture
def unlogged() -> Generator[None, None, None]:
    """Half a surrogate pair in a captured log cannot be sent by pytest-xdist."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("\udcff"), "ValueError", "\\udcff"),
        (Mute(), "Mute", "whose text raises RuntimeError"),
        (Deaf(), "Deaf", "whose text raises SystemExit"),
        (BaseExceptionGroup("many", [Odd("a"), ValueError("b")]), "BaseExceptionGroup", "b"),
        (ExceptionGroup("one", [ExceptionGroup("in", [KeyError("k")])]), "KeyError", "k"),
        (Odd("odd"), "Odd", "odd"),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit"),
        (SystemExit(3), "handler_exited", "SystemExit(3)"),
        (BaseExceptionGroup("exit", [SystemExit(4)]), "handler_exited", "SystemExit(4)"),
        (KeyboardInterrupt(), "handler_exited", "KeyboardInterrupt()"),
        (asyncio.CancelledError(), "CancelledError", "CancelledError"),
        (StopAsyncIteration("end"), "StopAsyncIteration", "end"),
        (RecursionError("deep"), "RecursionError", "deep"),
        (MemoryError(), "MemoryError", "MemoryError"),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, BaseException) else "",
)
async def test_whatever_a_handler_raises_is_one_dead_letter_with_its_cause(
    running: Running, error: BaseException, code: str, text: str
) -> None:
    executed = 0

    async def bad(message: Message) -> None:
        nonlocal executed
        executed += 1
        raise error

    async with running(Agent("bad", bad, concurrency=SLOTS), loud()) as system:
        for _ in range(SLOTS + 1):
            with pytest.raises(RemoteError) as caught:
                await system.call("bad", timeout=20)
            assert caught.value.cause == code
            assert text in str(caught.value)
        assert executed == SLOTS + 1
        for letter in await letters(system, SLOTS + 1):
            assert letter.failure.code == code
            assert text in letter.failure.message
        assert (await system.call("loud", "fine", timeout=20)).text == "FINE"


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=repr)
async def test_a_branch_that_exits_fails_its_call_and_not_the_process(
    running: Running, error: BaseException
) -> None:
    async def leave() -> None:
        raise error

    async def bad(message: Message, ctx: Context) -> None:
        await ctx.gather(leave(), ctx.call("loud", "x"))

    async with running(Agent("bad", bad), loud()) as system:
        with pytest.raises(RemoteError, match=re.escape(repr(error))) as caught:
            await system.call("bad", timeout=20)
        assert caught.value.cause == "handler_exited"


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=repr)
async def test_a_task_of_a_handler_that_exits_fails_its_call_and_not_the_process(
    running: Running, error: BaseException
) -> None:
    forgotten: list[asyncio.Task[None]] = []

    async def leave() -> None:
        raise error

    async def bad(message: Message, ctx: Context) -> str:
        if message.text == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(leave())
        if message.text == "wait":
            await asyncio.wait_for(asyncio.shield(leave()), 5)
        forgotten.append(asyncio.create_task(leave()))
        await asyncio.wait(forgotten)
        return "went on"

    former = asyncio.get_running_loop().get_task_factory()
    async with running(Agent("bad", bad), loud()) as system:
        for kind in ("group", "wait"):
            with pytest.raises(RemoteError, match=re.escape(repr(error))) as caught:
                await system.call("bad", kind, timeout=20)
            assert caught.value.cause == "handler_exited"
        assert (await system.call("bad", "forget", timeout=20)).text == "went on"
        assert isinstance(forgotten[0].exception(), HandlerExited)
        assert (await system.call("loud", "fine", timeout=20)).text == "FINE"
    assert asyncio.get_running_loop().get_task_factory() is former


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=repr)
async def test_an_rpc_that_exits_is_answered(running: Running, error: BaseException) -> None:
    async def bad(message: Message) -> None:
        raise error

    async with running(Agent("bad", bad), loud()) as system:
        with pytest.raises(RemoteError, match=re.escape(repr(error))):
            await system.rpc("bad", timeout=20)
        assert (await system.rpc("loud", "fine", timeout=20)).text == "FINE"


@pytest.mark.parametrize(
    ("token", "step", "says"),
    [
        ("root", "root", "the run's own call has an empty step; leave `step` out"),
        ("a", "a", "whose token in a subject is '_"),
    ],
)
async def test_a_step_that_is_not_its_token_is_refused_with_the_way_out(
    running: Running, token: str, step: str, says: str
) -> None:
    async with running(loud()) as system:
        data = msgspec.json.encode({"id": "m", "kind": "call", "step": step})
        await put(system, f"call.loud.r1.{token}", data)
        (letter,) = await letters(system, 1)
        assert says in letter.failure.message


@pytest.mark.parametrize("run", ["r" * 300, "r" * 980, "é" * 400])
async def test_a_call_under_a_foreign_subject_is_one_dead_letter(
    running: Running, run: str
) -> None:
    async with running(loud()) as system:
        await put(system, f"call.loud.{run}.root", b'{"id":"m","kind":"call"}')
        (letter,) = await letters(system, 1)
        assert letter.subject.endswith(f"call.loud.{run}.root")
        await eventually(lambda: nothing_queued(system), within=20)
        assert (await system.call("loud", "fine", timeout=20)).text == "FINE"


@pytest.mark.nats
async def test_a_call_that_no_client_of_ours_would_send_is_one_dead_letter(
    nats_server: NatsServer,
) -> None:
    async with run_local(loud(), broker=nats_server.url) as system:
        reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
        subject = f"{system.names.prefix}call.loud.{'r' * 3_000}.root"
        body = b'{"id":"m","kind":"call"}'
        writer.write(b"CONNECT {}\r\n")
        writer.write(f"PUB {subject} {len(body)}\r\n".encode() + body + b"\r\nPING\r\n")
        while b"PONG" not in await reader.readline():
            pass
        (letter,) = await letters(system, 1)
        assert letter.subject.startswith(subject[:1_000])
        assert len(letter.subject) < 1_100
        await eventually(lambda: nothing_queued(system), within=20)
        assert len(await system.dead_letters.list()) == 1
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("broken", ["cancelled", "killed"])
async def test_an_answer_that_was_stored_wakes_its_run(running: Running, broken: str) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("well?")

    async with running(Agent("ask", ask)) as system:
        run = await system.send("ask", timeout=1000)
        await eventually(lambda: system.questions(run))
        (question,) = await system.questions(run)
        if broken == "cancelled":
            settle, stored = system.space.results.settle, asyncio.Event()
            answering: list[asyncio.Task[None]] = []

            async def settle_and_cancel(*args: Any, **options: Any) -> Envelope:
                standing = await settle(*args, **options)
                answering[0].cancel()
                stored.set()
                await asyncio.sleep(0)  # what is cancelled with its caller ends here
                return standing

            system.space.results.settle = settle_and_cancel  # type: ignore[method-assign]
            answering.append(asyncio.create_task(system.answer(run, "well")))
            with pytest.raises(asyncio.CancelledError):
                await answering[0]
            assert stored.is_set()
        else:  # what a process leaves that ends between the two
            frame = Envelope(id=new_id(), kind="call", run=run, step=question.step)
            answer = result_of(frame, "ask", "done", payload=to_payload("well"))
            await system.space.results.settle("ask", answer, ends=True)
            assert await system.space.parking.tidy(system.space.results) == (0, 1)
        result = await system.result("ask", run, timeout=20)
        assert result is not None
        assert result.text == "well"


async def test_a_foreign_call_with_all_the_time_in_the_world_can_ask(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("well?")

    async with running(Agent("ask", ask)) as system:
        run = "r-patient"
        frame = Envelope(id="m", kind="call", target="ask", run=run, deadline=now() + 1e12)
        await put(system, f"call.ask.{run}.root", encode(frame))
        await eventually(lambda: system.questions(run))
        await system.answer(run, "well")
        result = await system.result("ask", run, timeout=20)
        assert result is not None
        assert result.text == "well"
        assert await system.dead_letters.list() == []


# -- parking -------------------------------------------------------------------------------------


async def test_a_task_group_around_a_question_parks(running: Running) -> None:
    executions = 0

    async def ask(message: Message, ctx: Context) -> str:
        nonlocal executions
        executions += 1
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(ctx.ask_human("well?", key="a"))
            group.create_task(ctx.sleep(30, key="b"))
        return str(answer.result())

    async with running(Agent("ask", ask)) as system:
        run = await system.send("ask", timeout=1000)
        await eventually(lambda: system.questions(run))
        assert executions == 1
        tree = await system.runs.tree(run)
        assert tree.status == "parked"
        await system.cancel("ask", run)


async def _everything(ctx: Context) -> str:
    try:
        return str(await ctx.ask_human("well?"))
    except BaseException:  # noqa: BLE001 - what must be noticed
        return "nobody"


async def _with_exceptions(ctx: Context) -> str:
    answer, loud = await asyncio.gather(
        ctx.ask_human("well?"), ctx.call("loud", "x"), return_exceptions=True
    )
    return f"{type(answer).__name__} {type(loud).__name__}"


async def _another(ctx: Context) -> str:
    try:
        await ctx.sleep(3600)
    except BaseException:  # noqa: BLE001 - what must be noticed
        raise KeyError("another") from None
    return ""


@pytest.mark.parametrize("swallow", [_everything, _with_exceptions, _another])
async def test_a_swallowed_park_is_an_error_that_says_so(running: Running, swallow: Any) -> None:
    async def ask(message: Message, ctx: Context) -> str:
        return str(await swallow(ctx))

    async with running(Agent("ask", ask), loud()) as system:
        with pytest.raises(RemoteError, match="caught `Parked`") as caught:
            await system.call("ask", timeout=1000)
        assert caught.value.cause == "park_swallowed"
        assert len(await letters(system, 1)) == 1


async def test_a_gather_may_do_without_a_branch_that_is_parked(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> str:
        won = await ctx.gather(ctx.ask_human("well?"), ctx.call("loud", "x"), need=1)
        return str(won[1].text)

    async with running(Agent("ask", ask), loud()) as system:
        assert (await system.call("ask", timeout=1000)).text == "X"


# -- records of other programs -------------------------------------------------------------------

GARBAGE = [b"{}", b"\xff\xfe", b"[" * 100_000, b'"text"', b'{"at": 1e300}']


async def test_people_and_upkeep_skip_count_and_name_what_they_cannot_read(
    running: Running,
) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("well?")

    async with running(Agent("ask", ask), loud()) as system:
        done = (await system.call("loud", "x", timeout=20)).run_id
        asked = await system.send("ask", timeout=1000)
        await eventually(lambda: system.questions(asked))
        names = system.names
        bucket = names.bucket(PARKED)
        for n, data in enumerate(GARBAGE):
            await put(system, "timer.echo", data)
            await put(system, f"timer.loud.t{n}.root", data)
            await put(system, f"dlq.CALLS.call.loud.g{n}.root", data)
            await put(system, f"res.loud.g{n}.root", data)
            await system.broker.append(f"$KV.{bucket}.p{n}.root", data)
        # a step too many: no worker of ours takes it
        await put(system, "call.nobody.x1.root", b'{"id":"m","kind":"call","sent_at":1e300}')
        found = {run.run_id: run for run in await system.runs.list()}
        assert {done, asked} <= set(found)
        assert all(1e9 < run.started < 1e10 for run in found.values())
        assert [one.run_id for one in await system.questions()] == [asked]
        assert await system.dead_letters.list() == []
        assert await system.space.results.of_run("g0") == {}
        named = list(system.space.foreign)
        assert len(named) == len(system.space.foreign) >= 3 * len(GARBAGE)
        for part in ("dlq.CALLS.call.loud.g0.root", "res.loud.g0.root", f"{bucket}.p0.root"):
            assert any(part in one for one in named), part


async def test_a_sweep_goes_on_over_what_it_cannot_read(running: Running) -> None:
    from aixgo.calls.upkeep.unfinished import Unfinished

    async with running(loud()) as system:
        await put(system, "timer.echo", b"{}")
        await put(system, "wake.echo", b"{}")
        await put(system, "call.echo", b"{}")
        await put(system, "evt.loud", b'{"id":"m","kind":"event","run":"*"}')
        for n, data in enumerate(GARBAGE):
            await put(system, f"dlq.CALLS.call.loud.g{n}.root", data)
        star = b'{"stream":"CALLS","subject":"s","agent":"a","failure":{"code":"c","message":"m"},'
        star += b'"at":1,"envelope":{"id":"m","kind":"call","run":"*"}}'
        await put(system, "dlq.CALLS.call.loud.star.root", star)
        runs = await Unfinished(system.space, ["loud"]).runs(since=0.0)
        assert "*" not in runs
        assert len(system.space.foreign) >= 2 + len(GARBAGE)


async def test_a_forged_live_result_is_not_believed(running: Running) -> None:
    go = asyncio.Event()

    async def slow(message: Message) -> str:
        await go.wait()
        return "true"

    async with running(Agent("slow", slow)) as system:
        run = new_id()
        waiting = asyncio.create_task(system.call("slow", "x", run_id=run, timeout=30))

        async def started() -> bool:
            return system.services["slow"].busy == 1

        await eventually(started)
        request = Envelope(id=new_id(), kind="call", source="client", target="slow", run=run)
        forged = result_of(request, "slow", "done", payload=msgspec.Raw(b'"forged"'))
        subject = system.names.live_result("slow", run, "")
        for data in (encode(forged), b"\xff", b"{}", encode(request)):
            await system.broker.publish(subject, data)
        await system.broker.flush()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        go.set()
        assert (await waiting).text == "true"


async def test_the_stream_of_a_dead_letter_is_that_of_its_message(running: Running) -> None:
    async with running(loud()) as system:
        await put(system, "wake.loud.r1.root", b"{}")
        (letter,) = await letters(system, 1)
        assert (letter.stream, letter.subject) == (
            TIMERS,
            f"{system.names.prefix}wake.loud.r1.root",
        )
        info = await system.broker.stream_info(system.names.stream(DLQ))
        assert info is not None
        assert info.messages == 1

"""A system works with the permissions that are generated for it, and no service has more.

What is allowed comes from `aixgo provision --permissions`; the server is a real one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nkeys  # type: ignore[import-untyped]  # it has no types
import pytest

from aixgo import Agent, App, Context, Message
from aixgo.broker import BrokerEvent
from aixgo.broker.nats import NatsBroker
from aixgo.client import Client
from aixgo.envelope import new_id
from aixgo.errors import Cancelled, PermissionDenied, RemoteError
from aixgo.hosting.permissions import ADMIN, CLIENT, UPKEEP, User, configuration, users
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import eventually

pytestmark = [pytest.mark.nats, pytest.mark.timeout(180)]
heard: list[str] = []


async def desk(message: Message, ctx: Context) -> str:
    """Use every kind of step: a model, an agent, a value, a timer, a person, an event."""
    answer = await ctx.model.chat(message.text, model="scripted/x", stream=True)
    both = await ctx.gather(ctx.call("chain", answer.text), ctx.call("big", 1))
    number = await ctx.record(lambda: 3)
    await ctx.sleep(0.2)
    said = await ctx.ask_human("publish?", options=["yes", "no"])
    await ctx.emit({"said": said})
    return f"{both[0].text} {len(both[1].text)} {number} {said}"


async def big(message: Message) -> str:
    """Return more than fits into a message."""
    return "x" * 200_000


async def listener(message: Message) -> None:
    heard.append(message.text)


async def sleeper(seconds: float, ctx: Context) -> None:
    await ctx.sleep(seconds)


async def broken(message: Message) -> None:
    raise ValueError("broken for good")


def system() -> App:
    agents = [
        Agent("desk", desk),
        Agent("big", big),
        Agent("broken", broken),
        Agent("sleeper", sleeper),
        Agent("listener", listener, inputs=["desk"]),
        Agent("journal", role="logger"),
        Agent("chain", role="orchestrator", pattern="sequential", agents=["journal"]),
    ]
    model = ScriptedModel(["hello"], repeat=True)
    return App(agents, namespace="guarded", model=model)


def with_passwords(text: str, found: list[User]) -> str:
    for user in found:
        text = text.replace(f"$AIXGO_PASSWORD_{user.name.upper()}", "p")
    return text


@pytest.fixture
def server() -> Iterator[NatsServer]:
    found = users(system())
    with NatsServer(with_passwords(configuration(found), found)) as started:
        yield started


@asynccontextmanager
async def connected(
    server: NatsServer, user: User
) -> AsyncGenerator[tuple[NatsBroker, list[BrokerEvent]], None]:
    denied: list[BrokerEvent] = []
    broker = await NatsBroker.connect(server.url_of(user.name, "p"), inbox_prefix=user.inbox)
    async with broker:
        broker.on_event(
            lambda event: denied.append(event) if event.kind == "permission_denied" else None
        )
        yield broker, denied


async def test_a_system_does_all_its_work_with_the_generated_permissions(
    server: NatsServer,
) -> None:
    app = system()
    found = {user.name: user for user in users(app)}
    refusals: dict[str, list[BrokerEvent]] = {}
    async with AsyncExitStack() as stack:
        async with connected(server, found[ADMIN]) as (admin, _):
            await app.provision(admin)
        for name, user in found.items():
            if name in (ADMIN, CLIENT):
                continue
            broker, refusals[name] = await stack.enter_async_context(connected(server, user))
            running = app.running(
                broker, agents=user.agents, provision=False, upkeep=name == UPKEEP, grace=2.0
            )
            await stack.enter_async_context(running)
        broker, refusals[CLIENT] = await stack.enter_async_context(connected(server, found[CLIENT]))
        client = Client(broker, app.names)
        async with asyncio.timeout(120):
            await works(client)
        await broker.flush()
    assert {name: events for name, events in refusals.items() if events} == {}


async def works(client: Client) -> None:
    with pytest.raises(RemoteError, match="broken for good"):
        await client.call("broken", "x", timeout=60)
    assert len((await client.rpc("big", 1, timeout=30)).text) == 200_000
    slow = await client.send("sleeper", 3_600, timeout=7_200)
    async with asyncio.timeout(30):
        while "parked" not in {one.status for one in await client.runs.list()}:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.05)
    await client.cancel("sleeper", slow)
    with pytest.raises(Cancelled):
        await client.result("sleeper", slow, timeout=30)
    run = new_id()
    async with client.watch(run) as events:
        await client.send("desk", "hi", timeout=100, run_id=run)
        while not await client.questions(run):  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.05)
        await client.answer(run, "yes")
        result = await client.result("desk", run, timeout=60)
        assert result is not None
        assert result.text == "hello 200000 3 yes"
        async for _ in events:
            break
    assert {run, slow} <= {one.run_id for one in await client.runs.list()}
    assert await client.runs.tree(run)
    assert await client.runs.history(run)
    await eventually(lambda: bool(heard))


async def test_every_subject_that_is_not_a_services_own_is_refused(server: NatsServer) -> None:
    app = system()
    found = {user.name: user for user in users(app)}
    names = app.names
    p = names.prefix
    for name, others in {
        "logger": ["desk", "chain", "llm"],
        "orchestrator": ["desk", "llm"],
    }.items():
        user = found[name]
        forbidden = [
            f"$JS.API.STREAM.{verb}.{names.stream(short)}"
            for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE")
            for short in ("CALLS", "RESULTS")
        ]
        for other in others:
            forbidden += [
                f"{p}call.{other}.r.root",
                f"{p}res.{other}.r.root",
                f"{p}run.{other}.r.root",
                f"{p}tok.{other}.r.root",
                f"{p}evt.{other}",
                f"{p}timer.{other}.r.root",
                f"{p}wake.{other}.r.root",
                f"{p}rpc.{other}.execute",
                f"{p}dlq.CALLS.call.{other}.r.root",
                f"$JS.ACK.{names.stream('CALLS')}.{other}.1.1.1.1.1",
                f"$JS.API.CONSUMER.MSG.NEXT.{names.stream('CALLS')}.{other}",
                f"$JS.API.CONSUMER.DELETE.{names.stream('CALLS')}.{other}",
            ]
        forbidden += ["$SYS.REQ.SERVER.PING", "aixgo.other.call.desk.r.root", f"{p}live.res.a.r.s"]
        async with connected(server, user) as (broker, denied):
            for subject in forbidden:
                await broker.publish(subject, b"{}")
            await broker.flush()
            told = " ".join(event.detail for event in denied).lower()
            assert [one for one in forbidden if f"'{one.lower()}'" not in told] == [], name
            for subject in (
                f"_INBOX_{CLIENT}.>",
                f"{p}call.>",
                f"{p}rpc.desk.>",
                f"{p}hist.>",
                ">",
            ):
                await broker.subscribe(subject)
                with pytest.raises(PermissionDenied):
                    await broker.flush()


@pytest.mark.parametrize("kind", ["users", "nkeys"])
def test_the_command_writes_what_a_server_takes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "agents.yaml"
    document.write_text(
        "version: 2\nagents: [{name: a, role: logger}, {name: b-2, handler: 'asyncio:sleep'}]\n"
    )
    aixgo = [sys.executable, "-m", "aixgo.cli", "provision", str(document), "--permissions", kind]
    written = subprocess.run(aixgo, capture_output=True, text=True, timeout=60, check=True).stdout
    (tmp_path / "permissions.conf").write_text(written)
    (tmp_path / "nats.conf").write_text("include permissions.conf\n")
    for name in ("ADMIN", "CLIENT", "UPKEEP", "LOGGER", "B_2"):
        monkeypatch.setenv(f"AIXGO_PASSWORD_{name}", "secret")
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(seed).public_key.decode()
        monkeypatch.setenv(f"AIXGO_NKEY_{name}", public)
    server = Path(sys.executable).with_name("nats-server")
    checked = subprocess.run(
        [server, "-t", "-c", tmp_path / "nats.conf"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr

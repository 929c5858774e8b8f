"""A system works with the permissions that are generated for it, and no service has more.

What is allowed comes from `aixgo provision --permissions`; the server is a real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nkeys  # type: ignore[import-untyped]  # it has no types
import pytest
from pydantic import SecretStr

from aixgo import Agent, App, Context, Message
from aixgo.broker import BrokerEvent
from aixgo.broker.nats import NatsBroker
from aixgo.broker.open import open_broker
from aixgo.broker.port import StreamConfig
from aixgo.client import Client
from aixgo.config.servers import Access
from aixgo.envelope import new_id
from aixgo.errors import (
    Cancelled,
    DeadlineExceeded,
    PermissionDenied,
    RemoteError,
    UnknownAgent,
)
from aixgo.hosting.permissions import ADMIN, CLIENT, UPKEEP, User, configuration, users
from aixgo.models import ChatMessage
from aixgo.models.scripted import ScriptedModel
from aixgo.subjects import BUCKETS, CALLS, EVENTS, FEEDS, RESULTS, SESSIONS, STREAMS, TIMERS, Names
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = [pytest.mark.nats, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
AGENTS = {"desk", "big", "broken", "sleeper", "listener", "journal", "clock", "chain", "llm"}
heard: list[str] = []


async def desk(message: Message, ctx: Context) -> str:
    """Use every kind of step: a session, a model, an agent, a value, a timer, a person, …"""
    before = await ctx.session.history()
    await ctx.state.set("said", message.text)
    await ctx.session.append(ChatMessage(role="user", content=message.text))
    answer = await ctx.model.chat(message.text, model="scripted/x", stream=True)
    both = await ctx.gather(ctx.call("chain", answer.text), ctx.call("big", 1))
    number = await ctx.record(lambda: 3)
    await ctx.sleep(0.2)
    said = await ctx.ask_human("publish?", options=["yes", "no"])
    await ctx.emit({"said": said})
    return f"{both[0].text} {len(both[1].text)} {number} {said} {len(before)}"


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
        Agent("listener", listener, inputs=["desk", "clock"]),
        Agent("clock", role="producer", template="tick", cron="* * * * * *"),
        Agent("journal", role="logger"),
        Agent("chain", role="orchestrator", pattern="sequential", agents=["journal"]),
    ]
    model = ScriptedModel(["hello"], repeat=True)
    return App(agents, namespace="guarded", model=model)


class Door:
    """A server with the users of the system, and the way in of each.

    Args:
        kind: of credentials, as `aixgo provision --permissions` names them.
    """

    def __init__(self, kind: str) -> None:
        found = users(system())
        text = configuration(found, nkeys=kind == "nkeys")
        self._seeds: dict[str, str] = {}
        for user in found:
            variable = user.name.upper().replace("-", "_")
            if kind == "nkeys":
                seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
                self._seeds[user.name] = seed.decode()
                public = nkeys.from_seed(seed).public_key.decode()
                text = text.replace(f"$AIXGO_NKEY_{variable}", public)
            else:
                text = text.replace(f"$AIXGO_PASSWORD_{variable}", "p")
        self.server = NatsServer(text)

    def sign_in(self, user: User) -> Access:
        """Return what the user's process is told."""
        if seed := self._seeds.get(user.name):
            return Access(nkey=SecretStr(seed), inbox=user.inbox)
        return Access(user=user.name, password=SecretStr("p"), inbox=user.inbox)


@pytest.fixture(params=["users", "nkeys"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    opened = Door(request.param)
    with opened.server:
        yield opened


@asynccontextmanager
async def connected(
    url: str, access: Access
) -> AsyncGenerator[tuple[NatsBroker, list[BrokerEvent]], None]:
    denied: list[BrokerEvent] = []
    async with await NatsBroker.connect(url, **access.options()) as broker:
        broker.on_event(
            lambda event: denied.append(event) if event.kind == "permission_denied" else None
        )
        yield broker, denied


@asynccontextmanager
async def served(
    app: App, url: str, sign_in: Callable[[User], Access]
) -> AsyncGenerator[Client, None]:
    """Serve each user's agents over a connection of its own; yields the client's."""
    found = {user.name: user for user in users(app)}
    refusals: dict[str, list[BrokerEvent]] = {}
    async with AsyncExitStack() as stack:
        async with connected(url, sign_in(found[ADMIN])) as (admin, _):
            await app.provision(admin)
        for name, user in found.items():
            if name in (ADMIN, CLIENT):
                continue
            opened = connected(url, sign_in(user))
            broker, refusals[name] = await stack.enter_async_context(opened)
            running = app.running(
                broker, agents=user.agents, provision=False, upkeep=name == UPKEEP, grace=2.0
            )
            await stack.enter_async_context(running)
        opened = connected(url, sign_in(found[CLIENT]))
        broker, refusals[CLIENT] = await stack.enter_async_context(opened)
        async with asyncio.timeout(120):
            yield Client(broker, app.names)
        await broker.flush()
    assert {name: events for name, events in refusals.items() if events} == {}


async def test_a_system_does_all_its_work_with_the_generated_permissions(door: Door) -> None:
    async with served(system(), door.server.url, door.sign_in) as client:
        await works(client)


async def test_messages_of_other_systems_come_in_with_the_generated_permissions() -> None:
    events: list[str] = []

    async def keep(message: Message) -> None:
        events.append(message.text)

    agents = [
        Agent("orders", role="producer", subject="shop.>", stream="SHOP"),
        Agent("pings", role="producer", subject="ping.*"),
        Agent("keeper", keep, inputs=["orders", "pings"]),
    ]
    app = App(agents, namespace="guarded")
    text = configuration(users(app)).replace(
        "users: [", 'users: [\n    { user: "outside", password: "p" }', 1
    )
    for user in users(app):
        text = text.replace(f"$AIXGO_PASSWORD_{user.name.upper()}", "p")

    def sign_in(user: User) -> Access:
        return Access(user=user.name, password=SecretStr("p"), inbox=user.inbox)

    with NatsServer(text) as server:
        async with open_broker(server.url_of("outside", "p")) as outside:
            await outside.ensure_stream(StreamConfig(name="SHOP", subjects=("shop.>",)))
            async with served(app, server.url, sign_in):
                await outside.append("shop.new", b"order")
                await outside.publish("ping.a", b"ping")
                await eventually(lambda: sorted(events) == ["order", "ping"])


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[str]:
    """Start the server as deploy/compose/permissions.yaml does; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for name in ("guarded.conf", "permissions.conf", "nats-server.conf"):
        text = (ROOT / "deploy/nats" / name).read_text(encoding="utf-8")
        # what the container has for itself: a volume, and two ports
        text = text.replace("store_dir: /data", f"store_dir: {json.dumps(str(tmp_path))}")
        text = text.replace("port: 4222", f"listen: 127.0.0.1:{port}").replace("http: 8222", "")
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("nats-server"))]
    command += ["-c", str(tmp_path / "guarded.conf")]
    log = tmp_path / "server.log"
    passwords = {f"AIXGO_PASSWORD_{one.name.upper()}": "p" for one in users(composed_app())}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **passwords}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def composed_app() -> App:
    model = ScriptedModel(["warm"], repeat=True)
    return App.from_file(ROOT / "deploy/compose/agents.yaml", model=model)


async def test_the_composed_server_lets_each_service_do_its_work(composed: str) -> None:
    def sign_in(user: User) -> Access:
        return Access(user=user.name, password=SecretStr("p"), inbox=user.inbox)

    async with await NatsBroker.connect(
        composed, wait=PATIENCE_SECONDS, **sign_in(users(composed_app())[0]).options()
    ):
        pass  # it is there
    async with served(composed_app(), composed, sign_in) as client:
        answer = await client.call("general", "how warm is it?", timeout=PATIENCE_SECONDS)
        assert answer.text == "warm"
        assert (await client.call("journal", "note", timeout=PATIENCE_SECONDS)).text == "note"


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
        await client.send("desk", "hi", timeout=100, run_id=run, session="s")
        while not await client.questions(run):  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.05)
        await client.answer(run, "yes")
        result = await client.result("desk", run, timeout=60)
        assert result is not None
        assert result.text == "hello 200000 3 yes 0"
        async for _ in events:
            break
    assert {run, slow} <= {one.run_id for one in await client.runs.list()}
    assert await client.runs.tree(run)
    assert await client.runs.history(run)
    await eventually(lambda: {"tick", '{"said":"yes"}'} <= {*heard})


CALLED: dict[str, tuple[set[str], set[str]]] = {
    # user: its agents, and whom it may call beside them
    "logger": ({"journal"}, set()),
    "producer": ({"clock"}, set()),
    "orchestrator": ({"chain"}, {"journal"}),
    "llm": ({"llm"}, set()),
    # nobody can know whom a handler calls, so it may call all
    **{name: ({name}, AGENTS - {name}) for name in ("desk", "big", "broken", "sleeper")},
    "listener": ({"listener"}, AGENTS - {"listener"}),
    CLIENT: (set(), AGENTS),
    UPKEEP: (set(), set()),
}
MORE = {CLIENT: {"evt", "ses"}, UPKEEP: {"call", "res", "run", "timer", "ses"}}
"""What the users that serve no agent may publish about any."""


def not_for(user: str, names: Names) -> Iterator[str]:
    """Yield what a user may not publish, as the promise of docs/how-to says it, not the code."""
    p, streams = names.prefix, [names.stream(short) for short in STREAMS]
    own, called = CALLED[user]
    for other in AGENTS - own:
        for verb in ("call", "res", "run"):
            if other not in called and verb not in MORE.get(user, ()):
                yield f"{p}{verb}.{other}.r.root"
        if other not in called:
            yield f"{p}rpc.{other}.execute"
        for verb in ("tok", "timer", "wake"):
            if verb not in MORE.get(user, ()):
                yield f"{p}{verb}.{other}.r.root"
        if "evt" not in MORE.get(user, ()):
            yield f"{p}evt.{other}"
        if "ses" not in MORE.get(user, ()):
            yield f"{p}ses.{other}.s.log"
        yield f"{p}dlq.CALLS.call.{other}.r.root"
        yield f"$KV.{names.bucket(FEEDS)}.{other}"
        for stream in (names.stream(short) for short in (CALLS, TIMERS, EVENTS)):
            yield f"$JS.ACK.{stream}.{other}.1.1.1.1.1"
            yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{other}"
            yield f"$JS.API.CONSUMER.DELETE.{stream}.{other}"
            yield f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{other}"
    for stream in streams:
        for verb in ("CREATE", "UPDATE", "DELETE", "SNAPSHOT", "RESTORE", "MSG.DELETE", "PURGE"):
            swept = {
                names.stream(RESULTS): {"MSG.DELETE", "PURGE"},
                names.stream(EVENTS): {"PURGE"},
                names.stream(SESSIONS): {"PURGE"},
            }
            if user != UPKEEP or verb not in swept.get(stream, ()):
                yield f"$JS.API.STREAM.{verb}.{stream}"
    for bucket in BUCKETS:
        yield f"$JS.API.STREAM.DELETE.KV_{names.bucket(bucket)}"
        yield f"$KV.{Names('other').bucket(bucket)}.a.b"
    other = Names("other").prefix
    yield from (f"{other}{verb}.desk.r.root" for verb in ("call", "res", "run", "tok", "timer"))
    yield from ("$SYS.REQ.SERVER.PING", f"{p}live.res.desk.r.s", "elsewhere")


@pytest.mark.parametrize("name", CALLED)
async def test_every_subject_that_is_not_a_users_own_is_refused(door: Door, name: str) -> None:
    app = system()
    found = {user.name: user for user in users(app)}
    assert found.keys() == CALLED.keys() | {ADMIN}
    names, own = app.names, CALLED[name][0]
    p, forbidden = names.prefix, list(not_for(name, app.names))
    async with connected(door.server.url, door.sign_in(found[name])) as (broker, denied):
        for subject in forbidden:
            await broker.publish(subject, b"{}")
        await broker.flush()
        told = " ".join(event.detail for event in denied).lower()
        assert [one for one in forbidden if f"'{one.lower()}'" not in told] == []

        unheard = [f"{found[other].inbox}.>" for other in found if other != name]
        unheard += [f"{p}rpc.{other}.>" for other in AGENTS - own]
        unheard += [
            f"{p}{verb}.>" for verb in ("evt", "res", "run", "dlq", "hist", "timer", "wake")
        ]
        if name != CLIENT:  # it watches runs
            unheard += [f"{p}call.>", f"{p}tok.>"]
        unheard += ["$KV.>", "$O.>", "$JS.EVENT.ADVISORY.>", "$JS.ACK.>", "_INBOX.>", f"{p}>", ">"]
        for subject in unheard:
            await broker.subscribe(subject)
            with pytest.raises(PermissionDenied):
                await broker.flush()


async def test_where_a_process_may_not_look_an_agent_may_be_there_and_that_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = system()
    client = next(user for user in users(app) if user.name == CLIENT)
    blind = [one for one in client.publish if not one.startswith("$JS.API.CONSUMER.INFO")]
    allowed = f'publish: {{ allow: {json.dumps(blind)} }}, subscribe: {{ allow: [">"] }}'
    config = f"""authorization {{ users: [
        {{ user: admin, password: p }}
        {{ user: blind, password: p, permissions: {{ {allowed} }} }}
    ] }}"""
    with NatsServer(config) as server:
        async with open_broker(server.url_of("admin", "p")) as admin:
            await app.provision(admin)
            with pytest.raises(UnknownAgent, match="no agent named 'ghost'"):
                await Client(admin, app.names).call("ghost", timeout=PATIENCE_SECONDS)
        assert not caplog.records
        async with open_broker(server.url_of("blind", "p")) as broker:
            # it is declared and nobody serves it: the call is accepted, and has no result in time
            with pytest.raises(DeadlineExceeded, match="'big' gave no result"):
                await Client(broker, app.names).call("big", timeout=0.5)
    (warning,) = (one for one in caplog.records if one.message == "agent.not_known")
    assert (warning.levelname, vars(warning)["agent"]) == ("WARNING", "big")


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

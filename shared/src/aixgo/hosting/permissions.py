"""What each service of a system may do on a NATS server, written as the server's configuration.

Everything follows from the catalogue (`aixgo.subjects`, `broker.topology`) and from what the agents
declare: whom they call, whose events they hear. A service is what one process serves: all agents of
an installed role, or one agent with a handler of its own.

What subjects cannot tell apart stays shared inside of a namespace: a user that may read results may
read those of every run; histories, parked calls, large payloads and leases are common. Systems that
must not see each other belong in namespaces, or accounts, of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aixgo.agents.agent import CUSTOM, Agent
from aixgo.hosting.app import App
from aixgo.models.bus import GATEWAY
from aixgo.subjects import (
    BLOBS,
    BUCKETS,
    CALLS,
    DLQ,
    EVENTS,
    FEEDS,
    HISTORY,
    LEASES,
    PARKED,
    PRESENCE,
    RESULTS,
    SESSIONS,
    STREAMS,
    TIMERS,
    TOKENS,
    Names,
    bucket_subject,
    stream_of_bucket,
)

__all__ = [
    "ADMIN",
    "CLIENT",
    "UPKEEP",
    "User",
    "configuration",
    "inbox_of",
    "users",
]

ADMIN, CLIENT, UPKEEP = "admin", "client", "upkeep"
"""Users besides those of the services: who provisions and looks after dead letters, who sends
messages, and who removes old results (`aixgo service --upkeep`)."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the server.

    Attributes:
        name: of the service, or one of `ADMIN`, `CLIENT` and `UPKEEP`.
        agents: those that it serves.
        publish, subscribe: subjects that it may.
    """

    name: str
    agents: tuple[str, ...]
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    @property
    def inbox(self) -> str:
        """What the answers to it begin with: the `inbox` of its process's `Access`."""
        return inbox_of(self.name)


def inbox_of(user: str) -> str:
    """Return what the answers to a user begin with, which no other user may listen to."""
    return f"_INBOX_{user}"


def users(app: App) -> list[User]:
    """Return the users of a system: the admin, the client, the upkeep, then its services."""
    names = app.names
    found = [_admin(names), _client(app), _upkeep(app)]
    services: dict[str, list[Agent]] = {}
    for agent in app.agents.values():
        services.setdefault(agent.declaration.service, []).append(agent)
    return found + [_service(app, name, agents) for name, agents in services.items()]


def configuration(found: Iterable[User], *, nkeys: bool = False) -> str:
    """Return the `authorization` block of nats-server for the users.

    Passwords, or public nkeys, are variables of the server's environment:
    `AIXGO_PASSWORD_<NAME>`, or `AIXGO_NKEY_<NAME>`, with `_` for `-`.
    """
    lines = [
        "# Written by `aixgo provision --permissions`; include it in nats-server's configuration.",
        "authorization {",
        "  users: [",
    ]
    for user in found:
        variable = user.name.upper().replace("-", "_")
        who = (
            f"nkey: $AIXGO_NKEY_{variable}"
            if nkeys
            else f"user: {json.dumps(user.name)}, password: $AIXGO_PASSWORD_{variable}"
        )
        lines += [
            f"    # {', '.join(user.agents) or user.name}",
            f"    {{ {who}",
            "      permissions: {",
        ]
        for what, subjects in (("publish", user.publish), ("subscribe", user.subscribe)):
            lines.append(f"        {what}: {{ allow: [")
            lines += [f"          {json.dumps(subject)}" for subject in subjects]
            lines.append("        ] }")
        lines += ["        allow_responses: true", "      } }"]
    return "\n".join([*lines, "  ]", "}", ""])


# -- who may what ----------------------------------------------------------------------------------


def _service(app: App, name: str, agents: list[Agent]) -> User:
    names, own = app.names, tuple(agent.name for agent in agents)
    called = sorted({other for agent in agents for other in _called(app, agent)})
    publish = [*_common(names), *_reads(names, RESULTS, SESSIONS)]
    publish.append(f"{names.prefix}state.>")  # shared by the agents of a run, as its results are
    subscribe = [*_heard(names, name), "$SRV.>"]
    for agent in own:
        publish += _work(names, agent, events=bool(app.sources(agent)))
        if app.agents[agent].role_class.style != "request":
            publish += _feed(names, agent)
        for listening in app.agents[agent].declaration.listens():
            if listening.stream:
                publish += _reads_foreign(names, agent, listening.stream)
            else:
                subscribe.append(f"{listening.subject} {names.foreign_consumer(agent)}")
        subscribe.append(names.rpc(agent, "x").removesuffix("x") + ">")
    for other in dict.fromkeys([*own, *called]):
        publish += [*_calls(names, other)]
    return User(name=name, agents=own, publish=_unique(publish), subscribe=_unique(subscribe))


def _called(app: App, agent: Agent) -> Iterator[str]:
    """Yield whom an agent may call; that is known of roles, not of handlers."""
    if agent.spec.role == CUSTOM:
        yield from app.agents
        return
    yield from agent.declaration.calls()
    if agent.role_class.calls_models:
        yield GATEWAY


def _client(app: App) -> User:
    names = app.names
    read = (RESULTS, HISTORY, TOKENS, CALLS, TIMERS, DLQ, SESSIONS)
    publish = [*_common(names), *_reads(names, *read)]
    for agent in app.agents:
        publish += [*_calls(names, agent), names.event(agent), f"{names.prefix}ses.{agent}.>"]
    publish += [f"$JS.API.STREAM.INFO.{names.stream(short)}" for short in STREAMS]
    watched = [f"{names.prefix}{verb}.>" for verb in ("live", "call", "tok")]
    subscribe = [*_heard(names, CLIENT), *watched]
    return User(name=CLIENT, agents=(), publish=_unique(publish), subscribe=_unique(subscribe))


def _upkeep(app: App) -> User:
    names, p = app.names, app.names.prefix
    publish = [*_common(names), *_reads(names, RESULTS, CALLS, TIMERS, DLQ, EVENTS, SESSIONS)]
    publish += [f"{p}{verb}.>" for verb in ("res", "run", "call", "timer", "ses", "state")]
    publish += [
        f"$JS.API.STREAM.{verb}.{names.stream(RESULTS)}" for verb in ("PURGE", "MSG.DELETE")
    ]
    publish.append(f"$JS.API.STREAM.PURGE.{names.stream(SESSIONS)}")
    publish += [f"$JS.API.STREAM.INFO.{names.stream(short)}" for short in STREAMS]
    publish += [
        f"$JS.API.{verb}.{names.stream(EVENTS)}" for verb in ("STREAM.PURGE", "CONSUMER.NAMES")
    ]
    publish += [f"$JS.API.CONSUMER.INFO.{names.stream(s)}.*" for s in (CALLS, TIMERS, EVENTS)]
    return User(
        name=UPKEEP,
        agents=(),
        publish=_unique(publish),
        subscribe=_unique([*_heard(names, UPKEEP), "$SRV.>"]),
    )


def _admin(names: Names) -> User:
    """Everything of the namespace, and the server's own API, which has no namespaces."""
    return User(
        name=ADMIN,
        agents=(),
        publish=(f"{names.prefix}>", "$JS.API.>", "$JS.ACK.>", *_buckets(names), "$SRV.>"),
        subscribe=(f"{names.prefix}>", f"{inbox_of(ADMIN)}.>", "$JS.EVENT.ADVISORY.>"),
    )


def _common(names: Names) -> Iterator[str]:
    """Yield what every client does: connect, follow its runs, cancel them, leave large payloads."""
    p = names.prefix
    yield "$JS.API.INFO"
    yield f"$JS.API.CONSUMER.INFO.{names.stream(CALLS)}.*"  # is there an agent of that name?
    for short in (CALLS, RESULTS):  # is there room?
        yield f"$JS.API.STREAM.INFO.{names.stream(short)}"
    yield f"{p}hist.*"
    yield f"{p}ctl.cancel.*"
    yield f"$O.{names.bucket(BLOBS)}.>"
    for bucket in (LEASES, PRESENCE, PARKED):  # the keys of the last one begin with the run
        yield bucket_subject(names.bucket(bucket), ">")
    for bucket in (LEASES, PRESENCE, PARKED, BLOBS):
        stream = f"{'OBJ' if bucket == BLOBS else 'KV'}_{names.bucket(bucket)}"
        yield f"$JS.API.DIRECT.GET.{stream}"
        yield f"$JS.API.DIRECT.GET.{stream}.>"
        yield f"$JS.API.STREAM.MSG.GET.{stream}"
        yield f"$JS.API.STREAM.INFO.{stream}"
        yield f"$JS.API.STREAM.PURGE.{stream}"  # an entry is removed by purging its key


def _reads(names: Names, *streams: str) -> Iterator[str]:
    for short in streams:
        stream = names.stream(short)
        yield f"$JS.API.DIRECT.GET.{stream}"
        yield f"$JS.API.DIRECT.GET.{stream}.>"
        yield f"$JS.API.STREAM.MSG.GET.{stream}"
        yield f"$JS.API.STREAM.INFO.{stream}"


def _calls(names: Names, agent: str) -> Iterator[str]:
    """Yield what a caller of an agent does: ask, and end what is no longer waited for."""
    p = names.prefix
    yield f"{p}call.{agent}.>"
    yield f"{p}run.{agent}.>"
    yield f"{p}res.{agent}.>"
    yield f"{p}rpc.{agent}.*"


def _work(names: Names, agent: str, *, events: bool) -> Iterator[str]:
    """Yield what an agent's worker does beside calling: take, settle, emit, sleep, give up."""
    p = names.prefix
    for short in (CALLS, TIMERS, *((EVENTS,) if events else ())):
        stream = names.stream(short)
        yield f"$JS.API.CONSUMER.INFO.{stream}.{agent}"
        yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{agent}"
        yield f"$JS.ACK.{stream}.{agent}.>"
    yield f"{p}evt.{agent}"
    yield f"{p}tok.{agent}.>"
    yield f"{p}ses.{agent}.>"
    yield f"{p}timer.{agent}.>"
    yield f"{p}dlq.*.call.{agent}.>"
    yield f"{p}dlq.*.wake.{agent}.>"
    if events:
        yield f"{p}dlq.{EVENTS}.>"


def _feed(names: Names, agent: str) -> Iterator[str]:
    """Yield what an agent that produces events does besides: remember how far it is."""
    key = bucket_subject(names.bucket(FEEDS), agent)
    stream = stream_of_bucket(names.bucket(FEEDS))
    yield key
    yield f"$JS.API.DIRECT.GET.{stream}.{key}"
    yield f"$JS.API.STREAM.INFO.{stream}"


def _reads_foreign(names: Names, agent: str, stream: str) -> Iterator[str]:
    """Yield what an agent does that takes the messages of another system's stream."""
    consumer = names.foreign_consumer(agent)
    yield f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"
    yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
    yield f"$JS.ACK.{stream}.{consumer}.>"


def _heard(names: Names, user: str) -> Iterator[str]:
    """Yield what every client listens to: answers to itself, results, cancellations."""
    p = names.prefix
    yield f"{inbox_of(user)}.>"
    yield f"{p}live.res.>"
    yield f"{p}ctl.cancel.*"


def _buckets(names: Names) -> Iterator[str]:
    for bucket in BUCKETS:
        yield bucket_subject(names.bucket(bucket), ">")
    yield f"$O.{names.bucket(BLOBS)}.>"


def _unique(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))

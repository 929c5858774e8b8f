"""`aixgo sessions`: what agents remember; go back in it, try another way, remove it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from aixgo.cli._options import Json, Server, Space, User
from aixgo.cli._people import columns, group, opened, utc
from aixgo.cli._terminal import is_terminal, one_line, write, write_json
from aixgo.errors import ConfigError
from aixgo.hosting.process import run as run_process
from aixgo.models.messages import ChatMessage
from aixgo.stores.sessions import Conversation, Entry, Summary

verbs = group("sessions", "Look at conversations; checkpoint, restore, fork and remove them.")

Agent = Annotated[
    str, typer.Argument(metavar="AGENT", help="The agent or orchestration.", show_default=False)
]
Name = Annotated[
    str, typer.Argument(metavar="SESSION", help="Name of the session.", show_default=False)
]
OfAgent = Annotated[str, typer.Option("--agent", help="Only of this agent.", show_default=False)]
All = Annotated[
    bool, typer.Option("--all", help="Every entry with its number, what was taken back included.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Place = Annotated[
    str,
    typer.Argument(
        metavar="N|CHECKPOINT",
        help="Number of an entry (`show --all`), 0 for the beginning, or a checkpoint.",
    ),
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="N|CHECKPOINT",
        help="The last entry that the new session has; the end without it.",
        show_default=False,
    ),
]

Store = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="AIXGO_SESSIONS",
        help="Address of the Redis or PostgreSQL server that the document names in `sessions`.",
        show_default=False,
    ),
]

_SHOWN_CHARS = 2_000
"""Of a message that is shown; `--json` has all of it."""


@verbs.command("ls")
def ls(
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
    agent: OfAgent = "",
    user: User = "",
    json: Json = False,
) -> None:
    """List conversations, the last used first."""

    async def work() -> list[Summary]:
        async with opened(broker, namespace, sessions=store) as client:
            return list(await client.sessions.list(agent=agent, user=user))

    found = run_process(work())
    if json:
        for one in found:
            write_json(_summary(one))
        return
    if not found:
        write("no sessions")
        return
    rows = [("AGENT", "BEGAN", "LAST USED", "EXPIRES", "USER", "SESSION")]
    rows += [
        (
            one.agent,
            utc(one.began),
            utc(one.used),
            utc(one.expires) if one.expires else "–",
            one_line(one.user, 40) or "–",
            one_line(one.session, 100),
        )
        for one in found
    ]
    for line in columns([*rows]):
        write(line)


@verbs.command("show")
def show(
    agent: Agent,
    session: Name,
    every: All = False,
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Show a conversation."""

    async def work() -> Conversation:
        async with opened(broker, namespace, sessions=store) as client:
            return await client.sessions.get(agent, session)

    found = run_process(work())
    standing = {entry.id for entry in found.standing()}
    for number, stored in enumerate(found.entries, start=1):
        entry = stored.entry
        if not every and entry.id not in standing:
            continue
        if json:
            shown = msgspec.to_builtins(entry) | {"at": utc(entry.at)}
            write_json({"number": number, "counts": entry.id in standing} | shown)
            continue
        away = "" if entry.id in standing or entry.kind == "restored" else ", taken back"
        write(f"{number}  {utc(entry.at)}{_about(entry, found)}{away}")
        for message in entry.messages:
            write(f"   {message.role}: {_text(message)}")


@verbs.command("checkpoint")
def checkpoint(
    agent: Agent,
    session: Name,
    name: Annotated[str, typer.Argument(metavar="NAME", help="How the place is called.")],
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
) -> None:
    """Give the end of a conversation a name, to go back to."""

    async def work() -> None:
        async with opened(broker, namespace, sessions=store) as client:
            await client.sessions.checkpoint(agent, session, name)

    run_process(work())
    write(name)


@verbs.command("restore")
def restore(
    agent: Agent,
    session: Name,
    to: Place,
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
) -> None:
    """Go back to a place of a conversation; it goes on from there, and nothing is lost."""

    async def work() -> Conversation:
        async with opened(broker, namespace, sessions=store) as client:
            await client.sessions.restore(agent, session, _place(to))
            return await client.sessions.get(agent, session)

    write(f"{len(run_process(work()).messages())} messages")


@verbs.command("fork")
def fork(
    agent: Agent,
    session: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Name of the new session.")],
    at: At = "",
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
) -> None:
    """Begin another session with what this one has."""

    async def work() -> Conversation:
        async with opened(broker, namespace, sessions=store) as client:
            place = _place(at) if at else None
            return await client.sessions.fork(agent, session, new, at=place)

    found = run_process(work())
    write(f"{new}  {len(found.messages())} messages")


@verbs.command("rm")
def rm(
    agent: Annotated[str, typer.Argument(metavar="[AGENT", show_default=False)] = "",
    session: Annotated[str, typer.Argument(metavar="SESSION]", show_default=False)] = "",
    user: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="Every one of this user.", show_default=False),
    ] = "",
    yes: Yes = False,
    broker: Server = "",
    store: Store = "",
    namespace: Space = "default",
) -> None:
    """Remove a conversation, or all of a user; nothing brings them back. Asks on a terminal."""
    if bool(user) == bool(agent) or bool(agent) != bool(session):
        raise ConfigError("give an agent and a session (`aixgo sessions ls`), or --user, not both")
    if not yes and is_terminal() and sys.stdin.isatty():
        what = f"all of user {user!r}" if user else f"session {session!r} of agent {agent!r}"
        typer.confirm(f"Remove {what} in namespace {namespace!r} for ever?", abort=True)

    async def work() -> int:
        async with opened(broker, namespace, sessions=store) as client:
            if user:
                return await client.sessions.delete_user(user)
            return int(await client.sessions.delete(agent, session))

    removed = run_process(work())
    write(f"{removed} removed")
    if not removed and not user:
        raise typer.Exit(1)


def _place(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _summary(one: Summary) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(one)
    times = {key: utc(found[key]) if found[key] else None for key in ("began", "used", "expires")}
    return found | times


def _about(entry: Entry, found: Conversation) -> str:
    """Return what is to be said of an entry besides its messages."""
    if entry.kind == "checkpoint":
        return f"  checkpoint {entry.name}"
    if entry.kind == "restored":
        numbers = {one.entry.id: number for number, one in enumerate(found.entries, start=1)}
        return f"  restored to {numbers.get(entry.to, 0)}"
    return f"  run {entry.run}" if entry.run else ""


def _text(message: ChatMessage) -> str:
    text = message.text
    if len(text) > _SHOWN_CHARS:
        text = f"{text[:_SHOWN_CHARS]}… ({len(message.text):,} characters)"
    parts = [text] if text else []
    parts += [f"[{len(message.images)} images]"] if message.images else []
    parts += [f"[uses {call.name} {call.arguments}]" for call in message.tool_calls]
    return " ".join(parts)

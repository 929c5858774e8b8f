"""`aixgo dlq`: what could not be handled; mend it, let its run go on, or forget it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from aixgo.calls.dead_letters import DeadLetter, Numbered
from aixgo.cli._data import json_text
from aixgo.cli._options import Json, Server, Space
from aixgo.cli._people import columns, group, opened, utc
from aixgo.cli._run_ids import only
from aixgo.cli._terminal import is_terminal, note, one_line, write, write_json
from aixgo.cli._texts import cost, tokens, usage_json
from aixgo.client import Client
from aixgo.errors import AixgoError, CallError, ConfigError, NoDeadLetter
from aixgo.hosting.process import run as run_process

verbs = group("dlq", "Look at dead letters; edit, replay and purge them.")

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the dead letter.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="N…", help="Numbers of dead letters.")]
All = Annotated[bool, typer.Option("--all", help="All there are, instead of numbers.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
OfRun = Annotated[
    str,
    typer.Option(
        "--run",
        help="Only of this run: its id, or a beginning that only it has.",
        show_default=False,
    ),
]
OfAgent = Annotated[str, typer.Option("--agent", help="Only of this agent.", show_default=False)]
Payload = Annotated[
    str,
    typer.Option("--data", metavar="JSON", help="The new payload; `@file` reads it from a file."),
]


@verbs.command("ls")
def ls(
    broker: Server = "",
    namespace: Space = "default",
    run: OfRun = "",
    agent: OfAgent = "",
    json: Json = False,
) -> None:
    """List dead letters, the oldest first."""

    async def work() -> list[Numbered]:
        async with opened(broker, namespace) as client:
            found = await client.dead_letters.list(agent=agent)
            known = {
                one.letter.run_id: (one.letter.run_id, one.letter.agent, utc(one.letter.at))
                for one in found
            }
            wanted = only(run, known) if run else ""
            return [one for one in found if not run or one.letter.run_id == wanted]

    found = run_process(work())
    if json:
        for one in found:
            write_json(_json(one.number, one.letter))
        return
    if not found:
        write("no dead letters")
        return
    rows = [("N", "AGENT", "FAILED", "ATTEMPTS", "RUN", "CAUSE")]
    rows += [
        (
            str(one.number),
            one.letter.agent,
            utc(one.letter.at),
            str(one.letter.failure.attempts),
            one.letter.run_id or "–",
            one_line(f"{one.letter.failure.code}: {one.letter.failure.message}", 100),
        )
        for one in found
    ]
    for line in columns([*rows]):
        write(line)


@verbs.command("show")
def show(
    number: Number, broker: Server = "", namespace: Space = "default", json: Json = False
) -> None:
    """Show a dead letter: its cause, where it is from, and what the message was."""

    async def work() -> DeadLetter:
        async with opened(broker, namespace) as client:
            return await client.dead_letters.get(number)

    letter = run_process(work())
    if json:
        write_json(_json(number, letter))
        return
    for name, value in _facts(letter):
        write(f"{name:<9} {value}")


@verbs.command("edit")
def edit(
    number: Number,
    data: Payload,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Replace the payload of a dead letter; it gets a new number."""
    payload = json_text(data)

    async def work() -> int:
        async with opened(broker, namespace) as client:
            return await client.dead_letters.edit(number, payload)

    new = run_process(work())
    if json:
        write_json({"number": new, "was": number})
    else:
        write(f"dead letter {number} is {new} now; `aixgo dlq replay {new}` lets its run go on")


@verbs.command("replay")
def replay(
    numbers: Numbers = None,
    every: All = False,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Let the runs of dead letters go on; finished steps are not done again.

    Writes agent and run id of each run, and does not wait for its result.
    """
    wanted = _wanted(numbers, every)

    async def work() -> bool:
        async with opened(broker, namespace) as client:
            return await _replay(client, wanted, json=json)

    if not run_process(work()):
        raise typer.Exit(1)


@verbs.command("purge")
def purge(
    numbers: Numbers = None,
    every: All = False,
    yes: Yes = False,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Forget dead letters; nothing brings them back. Asks first on a terminal."""
    wanted = _wanted(numbers, every)
    if not yes and is_terminal() and sys.stdin.isatty():
        what = "all dead letters" if wanted is None else f"{len(wanted)} dead letters"
        typer.confirm(f"Forget {what} of namespace {namespace!r} for ever?", abort=True)

    async def work() -> tuple[int, list[AixgoError]]:
        async with opened(broker, namespace) as client:
            if wanted is None:
                return await client.dead_letters.purge(), []
            return await _remove(client, wanted)

    removed, errors = run_process(work())
    for error in errors:
        note(str(error))
    if json:
        write_json({"removed": removed})
    else:
        write(f"{removed} forgotten")
    if errors:
        raise typer.Exit(1)


def _wanted(numbers: list[int] | None, every: bool) -> list[int] | None:
    """Return the numbers, or None for all.

    Raises:
        ConfigError: neither or both are given.
    """
    if bool(numbers) == every:
        raise ConfigError("give the numbers of dead letters (`aixgo dlq ls`) or --all, not both")
    return None if every else list(dict.fromkeys(numbers or []))


async def _replay(client: Client, wanted: list[int] | None, *, json: bool) -> bool:
    """Replay each run once; True when all could be."""
    letters = {one.number: one.letter for one in await client.dead_letters.list()}
    runs: set[str] = set()
    well = True
    for number in letters if wanted is None else wanted:
        letter = letters.get(number)
        if letter is not None and letter.run_id in runs:
            continue  # a letter of a run that went on with another one
        try:
            agent, run = await client.replay(number)
        except CallError as error:
            note(str(error))
            well = False
            continue
        runs.add(run)
        if json:
            write_json({"number": number, "agent": agent, "run_id": run})
        else:
            write(f"{agent}  {run}")
    return well


async def _remove(client: Client, numbers: list[int]) -> tuple[int, list[AixgoError]]:
    removed, errors = 0, list[AixgoError]()
    for number in numbers:
        try:
            await client.dead_letters.remove(number)
            removed += 1
        except NoDeadLetter as error:
            errors.append(error)
    return removed, errors


def _json(number: int, letter: DeadLetter) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(letter))
    if letter.usage is not None:
        found["usage"] = usage_json(letter.usage)
    return {"number": number, "run_id": letter.run_id} | found | {"at": utc(letter.at)}


def _facts(letter: DeadLetter) -> list[tuple[str, str]]:
    """Return what is known of a dead letter, for people."""
    failure, envelope = letter.failure, letter.envelope
    facts = [
        ("agent", letter.agent),
        ("cause", f"{failure.code}: {failure.message}"),
        ("attempts", str(failure.attempts)),
        ("failed", utc(letter.at)),
        ("from", f"{letter.stream} {letter.subject}"),
    ]
    if failure.agent and failure.agent != letter.agent:
        facts.append(("began in", failure.agent))
    if letter.usage is not None and letter.usage.model_calls:
        facts.append(("used", f"{tokens(letter.usage)} · {cost(letter.usage)}"))
    if envelope is None:
        return [*facts, ("raw", f"{letter.raw} (Base64; no message, so it cannot be replayed)")]
    facts += [("run", envelope.run), ("step", envelope.step or "–"), ("caller", envelope.source)]
    if envelope.trace_id:
        facts.append(("trace", envelope.trace_id))
    if letter.edited:
        facts.append(("edited", "yes"))
    if envelope.blob is not None:
        body = f"{envelope.blob.size:,} bytes in the object store, key {envelope.blob.key}"
    else:
        body = envelope.body.decode(errors="replace")
    return [*facts, ("payload", body)]

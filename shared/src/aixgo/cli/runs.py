"""`aixgo runs`: what runs do and did; stop them, answer them, begin others from their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, get_args

import msgspec
import typer

from aixgo.cli._options import Json, Server, run_async
from aixgo.cli._people import Data, Space, columns, group, json_value, opened, text_of, utc
from aixgo.cli._run_texts import happened_json, run_json, said, show, step_json, summary, told, used
from aixgo.cli._texts import clean, one_line, write, write_json
from aixgo.client import Client
from aixgo.config.durations import format_duration, parse_duration
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.runs import LIVE, Happened, Run, RunStatus, RunTree, Step
from aixgo.runs.watch import RunEvent, RunEvents, StepFinished, StepStarted

SILENCE_SECONDS = 5.0
"""Of a run that is followed, before it is looked whether it is over: an event can be lost."""

verbs = group("runs", "Look at runs, follow, cancel, answer and fork them.")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
Status = Annotated[
    str,
    typer.Option(
        "--status", help=f"Only these: {', '.join(get_args(RunStatus))}.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Told to whoever waits for the run.")]
Answer = Annotated[
    str, typer.Argument(metavar="TEXT", help="The answer; `--data` gives another than text.")
]
Input = Annotated[
    str,
    typer.Argument(metavar="TEXT", help="Input of the new run; `--data` gives another than text."),
]
AskedStep = Annotated[
    str,
    typer.Option("--step", help="Which question, when there are several.", show_default=False),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="STEP",
        help="The first step to do again; without it the whole run.",
        show_default=False,
    ),
]
Prompt = Annotated[
    str,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="System prompt for the agent of the step from there on; `@file` reads it.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="PROVIDER/MODEL",
        help="Model for the agent of the step from there on.",
        show_default=False,
    ),
]
Timeout = Annotated[str, typer.Option("--timeout", help="Time for the new run.")]


@verbs.command("ls")
def ls(
    broker: Server = "",
    namespace: Space = "default",
    status: Status = "",
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    if status and status not in get_args(RunStatus):
        hint = did_you_mean(status, get_args(RunStatus))
        raise ConfigError(f"--status {status!r} is none of {', '.join(get_args(RunStatus))}{hint}")

    async def work() -> list[Run]:
        async with opened(broker, namespace) as client:
            return [*await client.runs.list(limit, status or None)]  # type: ignore[arg-type]  # checked above

    found = run_async(work())
    if json:
        for run in found:
            write_json(run_json(run))
        return
    if not found:
        write("no runs" + f" that are {status}" * bool(status))
        return
    rows = [("RUN", "AGENT", "STATUS", "STARTED", "TIME", "USED")]
    rows += [
        (
            run.run_id,
            clean(run.agent),
            run.status,
            utc(run.started),
            format_duration(run.seconds),
            " · ".join(used(run.usage)),
        )
        for run in found
    ]
    for line in columns([*rows]):
        write(line)


@verbs.command("show")
def show_run(
    run: RunId, broker: Server = "", namespace: Space = "default", json: Json = False
) -> None:
    """Show the steps of a run as a tree, and what happened to them."""

    async def work() -> RunTree:
        async with opened(broker, namespace) as client:
            return await client.runs.tree(run)

    tree = run_async(work())
    if json:
        write_json(run_json(tree))
    else:
        show(tree)


@verbs.command("tail")
def tail(run: RunId, broker: Server = "", namespace: Space = "default", json: Json = False) -> None:
    """Follow a run until it is over: what was done, and what is being done now.

    The exit code is 1 when the run does not end well.
    """

    async def work() -> RunTree:
        async with opened(broker, namespace) as client:
            follower = _Follower(client, run, _write_event if json else _say_event)
            return await follower.to_the_end()

    ended = run_async(work())
    if not json:
        write(summary(ended))
    if ended.status != "done":
        raise typer.Exit(1)


@verbs.command("cancel")
def cancel(
    run: RunId,
    broker: Server = "",
    namespace: Space = "default",
    reason: Reason = "cancelled by aixgo runs cancel",
    json: Json = False,
) -> None:
    """Cancel a run, down to the model calls that it waits for.

    The exit code is 1 when it had its result before.
    """

    async def work() -> tuple[bool, RunTree]:
        async with opened(broker, namespace) as client:
            tree = await client.runs.tree(run)
            tree.check_own_call()
            well = await client.cancel(tree.agent, run, reason)
            return well, tree

    well, tree = run_async(work())
    if json:
        write_json({"run_id": run, "agent": tree.agent, "cancelled": well})
    elif well:
        write(f"{run} cancelled")
    else:
        write(f"{run} is over already ({tree.status}): nothing was cancelled")
    if not well:
        raise typer.Exit(1)


@verbs.command("answer")
def answer(
    run: RunId,
    text: Answer = "",
    data: Data = "",
    step: AskedStep = "",
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Answer what a run asks; it goes on. `aixgo runs show` tells the question."""
    if bool(text) == bool(data):
        raise ConfigError("give the answer either as TEXT or as --data JSON")
    given = json_value(data) if data else text

    async def work() -> None:
        async with opened(broker, namespace) as client:
            await client.answer(run, given, step=step)

    run_async(work())
    if json:
        write_json({"run_id": run, "answer": given})
    else:
        write(f"{run} goes on")


@verbs.command("fork")
def fork(
    run: RunId,
    text: Input = "",
    data: Data = "",
    step: From = "",
    prompt: Prompt = "",
    model: Model = "",
    timeout: Timeout = "5m",
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Begin a new run that takes over what a run had recorded before a step.

    The step and all after it are done again, with the prompts, models and code of today, or with
    those given here.
    """
    if text and data:
        raise ConfigError("give the input either as TEXT or as --data JSON")
    given = json_value(data) if data else text or msgspec.UNSET
    words = text_of(prompt, "--prompt")
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise ConfigError(f"--timeout: {error}") from None

    async def work() -> tuple[str, str]:
        async with opened(broker, namespace) as client:
            return await client.runs.fork(
                run, step, data=given, prompt=words, model=model, timeout=seconds
            )

    agent, new = run_async(work())
    if json:
        write_json({"agent": agent, "run_id": new, "forked_from": run, "step": step})
    else:
        write(f"{agent}  {new}")


# -- following ---------------------------------------------------------------------------------

Tell = Callable[[RunEvent | Step], None]


class _Follower:
    """Tells what is known of a run, then what comes, each thing once."""

    def __init__(self, client: Client, run: str, tell: Tell) -> None:
        self._client, self._run, self._tell = client, run, tell
        self._told: set[tuple[Any, ...]] = set()

    async def to_the_end(self) -> RunTree:
        """Follow until the run is over; returns it.

        Raises:
            NoRun: nothing is known of it.
        """
        async with self._client.watch(self._run) as events:
            while (tree := await self._look()).status in LIVE:
                await self._listen(events)
        return tree

    async def _look(self) -> RunTree:
        """Tell what is recorded and was not told."""
        tree = await self._client.runs.tree(self._run)
        past: list[tuple[float, Step | Happened]] = [(one.at, one) for one in tree.history]
        past += [(step.ended, step) for step in tree.walk() if step.ended is not None]
        for _, thing in sorted(past, key=lambda one: one[0]):
            if isinstance(thing, Happened):
                self._once(thing, "history", thing.what, thing.step, thing.at)
            else:
                self._told.add(("started", thing.path))
                self._once(thing, "ended", thing.path)
        for step in tree.walk():
            if step.ended is None:
                self._once(step, "started", step.path)
        return tree

    async def _listen(self, events: RunEvents) -> None:
        """Tell what comes, until the run's own result or until nothing comes any more."""
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    event = await anext(events)
                match event:
                    case StepStarted(step=path):
                        self._once(event, "started", path)
                    case StepFinished(step=path):
                        self._once(event, "ended", path)
                    case Happened():
                        self._once(event, "history", event.what, event.step, event.at)
                    case _:
                        pass  # the text itself is for `aixgo run`
        except (TimeoutError, StopAsyncIteration):
            return

    def _once(self, thing: RunEvent | Step, *key: Any) -> None:
        if key not in self._told:
            self._told.add(key)
            self._tell(thing)


def _say_event(thing: RunEvent | Step) -> None:
    match thing:
        case Step():
            mark = "▸" if thing.status in LIVE else "●" if thing.status == "done" else "✗"
            write(f"{mark} {_named(thing.agent, thing.path)}  {said(thing)}".rstrip())
        case StepStarted():
            write(f"▸ {_named(thing.agent, thing.step)}  called by {clean(thing.caller)}")
        case StepFinished():
            mark = "●" if thing.status == "done" else "✗"
            failed = [] if thing.error is None else [f"{thing.error.code}: {thing.error.message}"]
            parts = [thing.status, *used(thing.usage), *failed]
            write(f"{mark} {_named(thing.agent, thing.step)}  {one_line(' · '.join(parts), 300)}")
        case Happened():
            write(f"↻ {_named(thing.agent, thing.step)}  {told(thing)}")


def _named(agent: str, path: str) -> str:
    return clean(f"{agent} {path}".strip())


def _write_event(thing: RunEvent | Step) -> None:
    match thing:
        case Step():
            write_json({"event": "step"} | step_json(thing) | {"steps": []})
        case StepStarted():
            write_json({"event": "started"} | msgspec.to_builtins(thing))
        case StepFinished():
            write_json({"event": "finished"} | msgspec.to_builtins(thing))
        case Happened():
            write_json({"event": "history"} | happened_json(thing))

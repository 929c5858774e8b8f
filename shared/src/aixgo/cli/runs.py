"""`aixgo runs`: what runs do and did; stop them, answer them, begin others from their steps."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec
import typer

from aixgo.cli._data import json_value, text_of
from aixgo.cli._diff_texts import diff_json, show_diff
from aixgo.cli._follow import Follower, say_event, say_event_at_length, write_event
from aixgo.cli._options import Data, Json, Server, Space, seconds_of
from aixgo.cli._people import columns, group, opened, utc
from aixgo.cli._run_ids import run_of
from aixgo.cli._run_texts import result_lines, run_json, show, summary
from aixgo.cli._terminal import write, write_json
from aixgo.cli._texts import used
from aixgo.config.durations import format_duration
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.hosting.process import run as run_process
from aixgo.runs import Run, RunStatus, RunTree

verbs = group("runs", "Look at runs, follow, cancel, answer and fork them.")

RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of the run, or a beginning that only it has.")
]
Other = Annotated[str, typer.Argument(metavar="OTHER", help="Id of the other run, such as a fork.")]
Full = Annotated[bool, typer.Option("--full", help="Show values whole, of any size.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
Status = Annotated[
    str,
    typer.Option(
        "--status", help=f"Only these: {', '.join(get_args(RunStatus))}.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Told to callers that wait for the run.")]
Answer = Annotated[str, typer.Argument(metavar="TEXT", help="The answer; `--data` is for JSON.")]
Input = Annotated[
    str,
    typer.Argument(metavar="TEXT", help="Input of the new run; `--data` is for JSON."),
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
Repeat = Annotated[
    bool,
    typer.Option(
        "--repeat-effects",
        help="Execute again also what must not be done twice by accident: a fork refuses without.",
    ),
]


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
        raise ConfigError(f"--status {status!r} is not the status of a run{hint}")

    async def work() -> list[Run]:
        async with opened(broker, namespace) as client:
            return [*await client.runs.list(limit, status or None)]  # type: ignore[arg-type]  # checked above

    found = run_process(work())
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
            run.agent,
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
    run: RunId,
    full: Full = False,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Show the result of a run, its steps with their values, and what happened to them.

    Values are cut to a line; `--full` and `--json` give them whole.
    """

    async def work() -> RunTree:
        async with opened(broker, namespace) as client:
            return await client.runs.tree(await run_of(client, run), whole=full or json)

    tree = run_process(work())
    if json:
        write_json(run_json(tree))
    else:
        show(tree, full=full)


@verbs.command("diff")
def diff(
    run: RunId,
    other: Other,
    full: Full = False,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Compare two runs step by step: what was reused, the same, changed, new or is missing.

    Values stand side by side, cut to a line; `--full` and `--json` give them whole.
    """

    async def work() -> list[RunTree]:
        async with opened(broker, namespace) as client:
            ids = [await run_of(client, one) for one in (run, other)]
            return [await client.runs.tree(one, whole=True) for one in ids]

    before, after = run_process(work())
    if json:
        write_json(diff_json(before, after))
    else:
        show_diff(before, after, full=full)


@verbs.command("tail")
def tail(
    run: RunId,
    full: Full = False,
    broker: Server = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Follow a run until it is over: what was done, and what is being done now.

    The exit code is 1 when the run does not end well.
    """

    async def work() -> RunTree:
        async with opened(broker, namespace) as client:
            tell = write_event if json else say_event_at_length if full else say_event
            whole = full or json
            follower = Follower(client, await run_of(client, run), tell, whole=whole)
            return await follower.to_the_end()

    ended = run_process(work())
    if not json:
        write(summary(ended))
        for line in result_lines(ended, full=full):
            write(line)
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
            tree = await client.runs.tree(await run_of(client, run))
            tree.check_own_call()
            well = await client.cancel(tree.agent, tree.run_id, reason)
            return well, tree if well else await client.runs.tree(tree.run_id)

    well, tree = run_process(work())
    if json:
        write_json({"run_id": tree.run_id, "agent": tree.agent, "cancelled": well})
    elif well:
        write(f"{tree.run_id} cancelled")
    else:
        write(f"{tree.run_id} was over before ({tree.status}): nothing was cancelled")
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

    async def work() -> str:
        async with opened(broker, namespace) as client:
            answered = await run_of(client, run)
            await client.answer(answered, given, step=step)
            return answered

    answered = run_process(work())
    if json:
        write_json({"run_id": answered, "answer": given})
    else:
        write(f"{answered} goes on")


@verbs.command("fork")
def fork(
    run: RunId,
    text: Input = "",
    data: Data = "",
    step: From = "",
    prompt: Prompt = "",
    model: Model = "",
    timeout: Timeout = "5m",
    repeat_effects: Repeat = False,
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
    seconds = seconds_of(timeout)

    async def work() -> tuple[str, str, str]:
        async with opened(broker, namespace) as client:
            forked = await run_of(client, run)
            agent, new = await client.runs.fork(
                forked,
                step,
                data=given,
                prompt=words,
                model=model,
                timeout=seconds,
                repeat_effects=repeat_effects,
            )
            return forked, agent, new

    forked, agent, new = run_process(work())
    if json:
        write_json({"agent": agent, "run_id": new, "forked_from": forked, "step": step})
    else:
        write(f"{agent}  {new}")

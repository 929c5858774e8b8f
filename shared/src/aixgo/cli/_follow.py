"""A run that is followed: what is known of it, then what comes, each thing once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from aixgo.cli._run_texts import happened_json, said, step_json, told
from aixgo.cli._step_texts import used_tool
from aixgo.cli._terminal import one_line, write, write_json
from aixgo.cli._texts import used
from aixgo.cli._value_texts import VALUE_CHARS, value_line, value_lines
from aixgo.client import Client
from aixgo.runs import LIVE, Happened, RunTree, Step
from aixgo.runs.watch import RunEvent, RunEvents, StepFinished, StepStarted, ToolAsked

SILENCE_SECONDS = 5.0
"""Of a run that is followed, before it is looked whether it is over: an event can be lost."""

Tell = Callable[[RunEvent | Step], None]


class Follower:
    """Tells what is known of a run, then what comes, each thing once."""

    def __init__(self, client: Client, run: str, tell: Tell, *, whole: bool = False) -> None:
        self._client, self._run, self._tell, self._whole = client, run, tell, whole
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
        tree = await self._client.runs.tree(self._run, whole=self._whole)
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
        """Tell what comes, until the run's own result or until nothing more comes."""
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    event = await anext(events)
                match event:
                    case StepStarted(step=path):
                        self._once(event, "started", path)
                    case StepFinished(step=path):
                        self._once(event, "ended", path)
                    case ToolAsked():
                        self._tell(event)
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


def say_event(thing: RunEvent | Step) -> None:
    """Write what happened in a line, with the beginning of a step's value."""
    match thing:
        case Step():
            shown = value_line(thing, VALUE_CHARS)
            write(f"{_step_line(thing)}{'  → ' * bool(shown)}{shown}")
        case StepStarted():
            write(f"▸ {_named(thing.agent, thing.step)}  called by {thing.caller}")
        case StepFinished():
            mark = "●" if thing.status == "done" else "✗"
            failed = [] if thing.error is None else [f"{thing.error.code}: {thing.error.message}"]
            parts = [thing.status, *used(thing.usage), *failed]
            write(f"{mark} {_named(thing.agent, thing.step)}  {one_line(' · '.join(parts), 300)}")
        case ToolAsked():
            write(f"▸ {_named(thing.agent, thing.step)}  uses {used_tool(thing)}")
        case Happened():
            write(f"↻ {_named(thing.agent, thing.step)}  {told(thing)}")


def say_event_at_length(thing: RunEvent | Step) -> None:
    """Write what happened in a line, and a step's whole value below it."""
    if not isinstance(thing, Step):
        say_event(thing)
        return
    write(_step_line(thing))
    for line in value_lines(thing):
        write(f"    {line}")


def _step_line(step: Step) -> str:
    mark = "▸" if step.status in LIVE else "●" if step.status == "done" else "✗"
    return f"{mark} {_named(step.agent, step.path)}  {said(step)}".rstrip()


def _named(agent: str, path: str) -> str:
    return f"{agent} {path}".strip()


def write_event(thing: RunEvent | Step) -> None:
    """Write what happened as a JSON value."""
    match thing:
        case Step():
            write_json({"event": "step"} | step_json(thing) | {"steps": []})
        case StepStarted():
            write_json({"event": "started"} | msgspec.to_builtins(thing))
        case StepFinished():
            write_json({"event": "finished"} | msgspec.to_builtins(thing))
        case ToolAsked():
            write_json({"event": "tool"} | msgspec.to_builtins(thing))
        case Happened():
            write_json({"event": "history"} | happened_json(thing))

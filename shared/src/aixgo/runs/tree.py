"""From records to a tree: each step below the call that made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aixgo.calls.history import Happened
from aixgo.calls.results import NOTE
from aixgo.clock import now
from aixgo.envelope import NO_USAGE, Envelope, Failure, Usage
from aixgo.models.bus import GATEWAY
from aixgo.runs.records import Key, Open
from aixgo.runs.shapes import LIVE, RunStatus, Step
from aixgo.steps.tools import Doubt, Reservation, noted


@dataclass(slots=True)
class _Node:
    path: str
    agent: str
    parent: str | None
    """Path of the step above; None when no record says it."""
    status: RunStatus
    attempts: int = 0
    seconds: float = 0.0
    ended: float | None = None
    usage: Usage | None = None
    value: Any = msgspec.UNSET
    stored: int = 0
    error: Failure | None = None
    question: Any = None
    options: tuple[str, ...] = ()
    until: float | None = None
    reused: str = ""
    reserved: bool = False
    """Whether it is a tool that was begun and has no result."""
    below: list[_Node] = field(default_factory=list)

    def step(self, above: _Node | None) -> Step:
        steps = tuple(node.step(self) for node in self.below)
        usage = self.usage
        if usage is None:
            usage = sum((step.usage for step in steps), NO_USAGE)
        return Step(
            path=self.path,
            agent=self.agent,
            kind=_kind(self, above),
            status=self.status,
            attempts=self.attempts,
            seconds=self.seconds,
            ended=self.ended,
            usage=usage,
            value=self.value,
            stored=self.stored,
            error=self.error,
            question=self.question,
            options=self.options,
            until=self.until,
            reused=self.reused,
            steps=steps,
        )


def steps_of(
    results: Iterable[Envelope], open_calls: Mapping[Key, Open], history: Sequence[Happened]
) -> tuple[Step, ...]:
    """Return the topmost steps of a run; a result counts more than what else is known.

    Args:
        results: in the order of their storing.
    """
    nodes: dict[str, _Node] = {}
    for result in results:
        if path := noted(result):
            _begun(nodes, path, result)
        else:
            nodes[result.step] = _finished(result)
    for call in open_calls.values():
        if call.request.step not in nodes:
            nodes[call.request.step] = _unfinished(call)
        for asked in call.awaited:
            if asked.question is not None and asked.step not in nodes:
                nodes[asked.step] = _Node(
                    path=asked.step,
                    agent=asked.agent,
                    parent=call.request.step,
                    status="parked",
                    question=asked.question,
                    options=asked.options,
                    until=call.until,
                )
                _waits(nodes, asked.step)
    _tell(nodes, history)
    _leave_in_doubt(nodes)
    return tuple(node.step(None) for node in _hang(nodes))


def _finished(result: Envelope) -> _Node:
    return _Node(
        path=result.step,
        agent=result.source,
        parent=result.parent if result.depth else None,
        status=result.status or "done",
        attempts=result.attempt,
        seconds=result.seconds,
        ended=result.sent_at,
        usage=result.usage or NO_USAGE,
        value=_value(result),
        stored=0 if result.blob is None else result.blob.size,
        error=result.error,
        reused=result.reused,
    )


def _value(result: Envelope) -> Any:
    """Return the value in a result; UNSET for an error, or when it lies in the object store."""
    if result.error is not None or result.blob is not None:
        return msgspec.UNSET
    try:
        return msgspec.json.decode(result.body)
    except msgspec.DecodeError:  # written by a program of another language, wrongly
        return msgspec.UNSET


def _begun(nodes: dict[str, _Node], path: str, note: Envelope) -> None:
    """Let a tool that must not be executed twice be a step before it has a result."""
    node = nodes.get(path)
    if node is None:
        node = nodes[path] = _Node(path, note.source, note.parent, "running", reserved=True)
    if not node.reserved or note.blob is not None:
        return
    match note.meta[NOTE]:
        case "reserved":
            held = msgspec.json.decode(note.body, type=Reservation)
            node.attempts = max(node.attempts, held.number)
            node.seconds = max(0.0, now() - held.since)
        case "doubt":
            node.error = msgspec.json.decode(note.body, type=Doubt).error


def _waits(nodes: Mapping[str, _Node], asked: str) -> None:
    """Say of a tool that a person is asked what became of it."""
    node = nodes.get(asked.rsplit("/", 2)[0])
    if node is not None and node.reserved:
        node.status = "parked"


def _leave_in_doubt(nodes: Mapping[str, _Node]) -> None:
    """Say of the tools of a run that is over that it is not known whether they took place."""
    root = nodes.get("")
    if root is None or root.ended is None:
        return
    for node in nodes.values():
        if node.reserved:
            said = f": {node.error.message}" if node.error is not None else ""
            node.status = "error"
            node.error = Failure(
                code="in_doubt",
                message=f"the run ended before it was known whether it took place{said}",
                agent=node.agent,
            )


def _unfinished(call: Open) -> _Node:
    request = call.request
    return _Node(
        path=request.step,
        agent=request.target,
        parent=request.parent if request.depth and request.kind != "event" else None,
        status=call.status,
        attempts=request.attempt,
        seconds=max(0.0, now() - request.sent_at),
        until=call.until,
    )


def _tell(nodes: Mapping[str, _Node], history: Sequence[Happened]) -> None:
    """Let unfinished steps know the executions that failed."""
    for record in history:
        node = nodes.get(record.step)
        if node is not None and node.status in LIVE and record.what in ("failed", "parked"):
            node.attempts = max(node.attempts, record.attempt)
            node.error = record.error


def _hang(nodes: Mapping[str, _Node]) -> list[_Node]:
    """Put each node below its parent; returns those that have none."""
    top: list[_Node] = []
    for node in nodes.values():
        above = _above(node, nodes)
        (top if above is None else above.below).append(node)
    return top


def _above(node: _Node, nodes: Mapping[str, _Node]) -> _Node | None:
    if not node.path:
        return None
    parent = nodes.get(node.parent) if node.parent is not None else None
    path = node.path  # else, or nearer, a step whose path it continues
    while path:
        path = path.rpartition("/")[0]
        found = nodes.get(path)
        if found is None:
            continue
        if parent is None or found is parent:
            return found
        # what a handler does in several steps, such as a tool; a gather's branches are its own
        if found.agent == node.agent and _own(found, parent) != "gather":
            return found
    return parent


def _kind(node: _Node, above: _Node | None) -> str:
    """Say what a step is; one of the handler's own is named by its path."""
    if above is not None and node.agent == above.agent:
        name = _own(node, above)
        if name != node.agent:
            return name
    return "model" if node.agent == GATEWAY and above is not None else "call"


def _own(node: _Node, above: _Node | None) -> str:
    """Return the name of a step inside of its handler, whatever gathers it is in."""
    path = node.path if above is None else node.path.removeprefix(f"{above.path}/")
    parts = path.split("/")
    while parts[0] == "gather" and len(parts) > 3:  # gather, its key, the branch
        parts = parts[3:]
    return parts[0]

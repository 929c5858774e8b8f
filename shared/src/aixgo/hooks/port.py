"""What hooks are given and what they return.

A hook is a function of a `Hooked`, sync or async, that returns None to let things go on, or one of
the outcomes below. What it decides is recorded: a repeated execution goes the same way without
calling it again. It may be called once more when a process dies before that, or when a person was
asked meanwhile, so it should not do what must not be done twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aixgo.config.hooks import Point


@dataclass(frozen=True, kw_only=True)
class Hooked:
    """What a hook looks at.

    Attributes:
        point: where it looks, such as `before_tool`.
        value: before a step what goes in, after it what came out. Of models a `ChatRequest` (or
            `EmbedRequest`) and a `ChatResponse`; of tools the arguments as a dict, and the value;
            of calls and of the agent itself JSON values.
        given: after a step, what went in.
        name: of the tool, the called agent or the model; empty for the agent itself.
        agent: whose hook it is.
        run_id: id of the run.
        step: path of the step.
        meta: metadata that the agent's caller sent.
    """

    point: Point
    value: Any
    given: Any = None
    name: str = ""
    agent: str = ""
    run_id: str = ""
    step: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Go on with another value, of the same kind as the one that was looked at."""

    value: Any


@dataclass(frozen=True)
class Refuse:
    """Do not go on; the reason is for the caller, and for the model when it wanted a tool."""

    reason: str


@dataclass(frozen=True)
class AskPerson:
    """Park the run until a person has said yes, no, or what to use instead."""

    question: str


@dataclass(frozen=True)
class Note:
    """Go on, and say this in the run's record and in the metadata of the agent's answer."""

    text: str


Outcome = Change | Refuse | AskPerson | Note | None
"""What a hook says; None lets things go on."""

HookFunction = Callable[[Hooked], Outcome | Awaitable[Outcome]]
"""A hook: sync, for what only looks, or async, for what has to wait."""


@dataclass(frozen=True, kw_only=True)
class NamedHook:
    """A hook with its name.

    Attributes:
        pure: it says the same of the same value, so that only what it finds must be recorded.
    """

    name: str
    look: HookFunction
    pure: bool = False

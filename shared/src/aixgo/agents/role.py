"""The unified agent interface that a role implements, and how installed roles are found.

A package adds a role with an entry point in the group `aixgo.roles`, named after the role and
pointing to a subclass of `Role`. Nothing here names a role.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from aixgo.config.agents import AgentSpec, Options
from aixgo.config.installed import Installed
from aixgo.config.reference import imported, is_reference
from aixgo.errors import ConfigError, NotSupported, UnknownRole
from aixgo.message import Message
from aixgo.steps.context import Context
from aixgo.tools.toolbox import NO_TOOLS, Toolbox

__all__ = [
    "EXTERNAL",
    "ROLES",
    "External",
    "Feed",
    "Heard",
    "Listening",
    "NoOptions",
    "Remembered",
    "Role",
    "Style",
    "find_role",
    "known_roles",
]

Style = Literal["request", "reactive", "hybrid"]


class NoOptions(Options):
    """Options of a role that has none of its own."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What the instances of an agent remember together.

    Attributes:
        value: any JSON value; None when nothing is remembered yet.
        revision: of the record, for the next `Feed.remember`; 0 when there is none.
    """

    value: Any = None
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Messages of other systems that an agent takes.

    Attributes:
        subject: whose messages are taken; `*` and `>` as in NATS.
        stream: that keeps them. Empty for messages that no stream keeps: those that are sent while
            no instance listens, or faster than they are taken, are gone.
        deliver: whether it begins with what the stream keeps already, or what comes from now on.
        buffer: messages that may wait to be taken when no stream keeps them.
    """

    subject: str
    stream: str = ""
    deliver: Literal["all", "new"] = "all"
    buffer: int = 10_000


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message of another system.

    Attributes:
        key: the same whenever it is delivered; empty when no stream keeps it.
    """

    subject: str
    data: bytes
    key: str = ""


class Feed(Protocol):
    """What a started agent may do outside of a run: publish events until it is told to stop.

    All instances of an agent share one record, which outlives them: how far they are.
    """

    stopping: asyncio.Event
    """Set when the agent should return from `start`."""

    async def emit(self, data: Any, *, meta: Mapping[str, Any] | None = None, key: str = "") -> str:
        """Publish an event, the beginning of a new run; returns the run id once it is stored.

        With a `key` the event is the same one whenever and by whichever instance it is published:
        it has the same run id. Within five minutes it is stored once; later it is stored again, and
        a subscriber whose result of the first is still kept does not handle it a second time.
        """
        ...

    async def recall(self) -> Remembered:
        """Return what the agent's instances remember."""
        ...

    async def remember(self, value: Any, *, revision: int) -> int:
        """Replace what was recalled as `revision`; returns the new revision.

        Args:
            value: any JSON value of at most 256 KiB; it is written whole each time.

        Raises:
            WrongSequence: another instance has written since; recall it, and decide anew.
            BodyTooLarge: it is over 256 KiB.
        """
        ...

    async def listen(self, to: Listening, take: Callable[[Heard], Awaitable[bool]]) -> None:
        """Give each message to `take`, one after another, until that returns False.

        Each goes to one instance of the agent. What a stream keeps is given again when it was not
        taken to the end. Returns also when the agent should stop.

        Raises:
            StreamNotFound, ConsumerNotFound: the stream does not exist, or the agent is not
                provisioned.
            Exception: what `take` raised.
        """
        ...

    async def sleep(self, seconds: float) -> bool:
        """Wait; True when the time is over, False when the agent should stop."""
        ...


class Role:
    """Behaviour of an agent: the unified agent interface.

    Three styles. `request` answers messages (calls, and events of its inputs); `start` and `stop`
    do nothing. `reactive` only runs `start` and publishes events; `execute` is refused. `hybrid`
    does both.

    A role is built once for each agent, before anything starts; what is wrong with its options is
    a `ConfigError` there.
    """

    style: ClassVar[Style] = "request"
    options_model: ClassVar[type[Options]] = NoOptions
    """The role's own keys in an agent's declaration, when they are the same for all its agents."""
    calls_models: ClassVar[bool] = False
    """Whether the system needs a model gateway when this role is used."""
    takes_tools: ClassVar[bool] = False
    """Whether agents of this role may have `tools` and `mcp_servers`."""
    elsewhere: ClassVar[bool] = False
    """Whether agents of this role are served by another program, never by an Aixgo process."""

    def __init__(self, spec: AgentSpec, options: Any) -> None:
        self.spec = spec
        self.options = options
        self.tools = NO_TOOLS

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[Options]:
        """Return the model of the role's own keys in this declaration, as it was written.

        A role whose keys depend on one of them (an orchestrator's on its `pattern`) chooses here.
        """
        return cls.options_model

    @classmethod
    def options_models(cls) -> tuple[type[Options], ...]:
        """Return every model that `options_for` may choose, for the JSON schema of documents."""
        return (cls.options_model,)

    @property
    def name(self) -> str:
        """Name of the agent."""
        return self.spec.name

    @property
    def role(self) -> str:
        """Name of the role."""
        return self.spec.role

    def equip(self, tools: Toolbox) -> None:
        """Take the agent's tools; called once, before anything starts.

        Raises:
            ConfigError: the role's options do not fit them.
        """
        self.tools = tools

    def calls(self) -> tuple[str, ...]:
        """Names of the agents that this one may call, known from its options."""
        return ()

    def output_schema(self) -> dict[str, Any]:
        """JSON schema of its answers, known from its options; empty when they can be anything."""
        return {}

    def listens(self) -> tuple[Listening, ...]:
        """Messages of other systems that it takes with `Feed.listen`, known from its options."""
        return ()

    def ready(self) -> bool:
        """Whether it can take work now."""
        return True

    async def start(self, feed: Feed) -> None:
        """Run until `feed.stopping`; called once for each instance of a reactive or hybrid role."""

    async def stop(self) -> None:
        """Let go of what the role holds; called once after its last work, also without a start."""

    async def execute(self, message: Message, ctx: Context) -> Any:
        """Answer a message: a value, or a `Reply` with metadata.

        Raises:
            NotSupported: the role only produces events.
        """
        raise NotSupported(
            f"agent {self.name!r} ({self.role}) only produces events and answers no calls; "
            "subscribe to it with `inputs`, or call another agent"
        )


EXTERNAL = "external"
"""Role of an agent whose worker is another program."""


class External(Role):
    """Served by another program, in another language perhaps: declared, called, never run here.

    What its worker does is in subjects.md; examples/javascript has one.
    """

    elsewhere = True


ROLES: Installed[type[Role]] = Installed(
    "aixgo.roles",
    "role",
    wanted="a subclass of aixgo.Role",
    fits=lambda found: isinstance(found, type) and issubclass(found, Role),
    shipped={EXTERNAL: External},
)
"""The roles that there are: the installed packages', and `external`."""


def known_roles() -> list[str]:
    """Return the names of the installed roles, sorted."""
    return list(ROLES)


def find_role(name: str, directory: str | os.PathLike[str] | None = None) -> type[Role]:
    """Return the class of a role: an installed one by its name, another one as `module:Class`.

    Args:
        directory: where the module of a class is looked for first.

    Raises:
        UnknownRole: no installed package offers it.
        ConfigError: its package or its module is broken; says why.
    """
    if is_reference(name):
        found = imported(name, directory)
        if not (isinstance(found, type) and issubclass(found, Role)):
            what = (
                f"a function is named by `handler: {name}`" if callable(found) else "it is a value"
            )
            raise ConfigError(f"{name!r} is not a subclass of aixgo.Role; {what}")
        return found
    if name not in ROLES:
        raise UnknownRole(name, known_roles())
    return ROLES[name]

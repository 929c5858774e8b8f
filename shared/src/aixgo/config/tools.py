"""What people declare of a tool, in Python and in YAML alike.

Every kind adds keys of its own (`aixgo.tools.kinds`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aixgo.config.agents import AgentName, Options, Retry
from aixgo.config.durations import Duration, PositiveDuration

Effect = Literal["read", "idempotent", "once"]
"""What a second execution does: nothing (`read`), the same as the first alone (`idempotent`), or
harm (`once`: a payment, a mail)."""

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-]{1,100}$")]
"""1 to 100 characters of A-Z, a-z, 0-9, '_', ':' and '-'."""

MAX_RESULT_BYTES = 256 * 1024
"""Longest value of a tool that says nothing else: about 64 000 tokens."""

MIN_RESULT_BYTES = 1_024
"""Shortest limit of a value: the note about what was cut has room in it."""

LONGEST_SECONDS = 3_600.0
"""Of a tool's `timeout`: what takes longer is started by one tool and looked at by another."""


class ToolBasics(Options):
    """The part of a tool's declaration that every kind has, also one that is made of steps."""

    type: str
    """Kind of the tool, such as `python` or `http`."""
    name: ToolName = ""
    """What models and `ctx.tool` call it by; for a tool in the section `tools:`, its key there."""
    description: str = ""
    """What it does, for models and people."""


class ToolOptions(ToolBasics):
    """The part of a tool's declaration that every kind shares whose tools are executed."""

    effect: Effect | None = None
    """What a second execution does; without it, what the kind says."""
    timeout: Annotated[PositiveDuration, Field(le=LONGEST_SECONDS)] = 30.0
    """Time for one execution, at most an hour."""
    retry: Retry = Retry()
    """What happens after an execution that failed and may be repeated."""
    cache: Duration = 0.0
    """Time for which a value is given again for the same arguments, to the same agent and session.
    Of tools with effect `read` only; 0 for never."""
    concurrency: int = Field(default=0, ge=0, le=10_000)
    """Executions at once in one process; 0 for no limit."""
    max_result: int = Field(default=MAX_RESULT_BYTES, ge=MIN_RESULT_BYTES, le=64 * 1024 * 1024)
    """Longest value in bytes; what is cut off is said in its place."""


class ServerUse(Options):
    """Which tools of a server an agent takes."""

    name: AgentName
    """Name of the server in `mcp_servers:`."""
    allow: tuple[str, ...] | None = None
    """The tools that the agent may use, by the server's names; all of them without it."""

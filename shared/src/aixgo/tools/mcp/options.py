"""What people declare of an MCP server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from aixgo.config.agents import AgentName, Options, Retry
from aixgo.config.durations import PositiveDuration
from aixgo.config.tools import LONGEST_SECONDS, MAX_RESULT_BYTES, Effect


class McpOptions(Options):
    """A server of tools that speaks the Model Context Protocol."""

    name: AgentName
    """What its tools' names begin with: `<name>:<tool>`."""
    command: tuple[str, ...] = ()
    """Program that is started for it, with its arguments; it speaks on stdin and stdout."""
    env: dict[str, SecretStr] = Field(default={}, repr=False)
    """Variables of the program, besides those that every program needs: PATH, HOME and LANG."""
    cwd: str = ""
    """Directory in which the program is started; that of this process without it."""
    url: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Address of a server over HTTP, instead of a program. It is connected to as it is written: the
    guard of the tools of type `http` is against addresses that a model makes up."""
    headers: dict[str, SecretStr] = Field(default={}, repr=False)
    """Headers of every request to the address, such as `Authorization`."""
    effects: dict[str, Effect] = Field(default={})
    """What a second execution does, by the server's name of the tool, where the server does not say
    it or should not be believed."""
    timeout: Annotated[PositiveDuration, Field(le=LONGEST_SECONDS)] = 30.0
    """Time for one use of a tool, at most an hour."""
    retry: Retry = Retry()
    """What happens after a use that failed and may be repeated."""
    concurrency: int = Field(default=0, ge=0, le=10_000)
    """Uses of one tool at once in one process; 0 for no limit."""
    max_result: int = Field(default=MAX_RESULT_BYTES, ge=1_024, le=64 * 1024 * 1024)
    """Longest value of a tool in bytes; what is cut off is said in its place."""

    @model_validator(mode="after")
    def _one_way(self) -> McpOptions:
        if bool(self.command) == bool(self.url):
            both = "both" if self.url else "neither"
            raise ValueError(
                f"a server has either a `command` that starts it or a `url`, not {both}"
            )
        unused = ("headers", self.headers) if self.command else ("env", self.env)
        if unused[1]:
            raise ValueError(
                f"`{unused[0]}` means nothing for a server with a "
                f"`{'command' if self.command else 'url'}`; take it away"
            )
        return self

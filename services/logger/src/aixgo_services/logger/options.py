"""What people declare of a logger."""

from __future__ import annotations

from pydantic import Field, model_validator

from aixgo.config.agents import Options
from aixgo_services.logger.file import FileOptions
from aixgo_services.logger.levels import Level, LevelRule
from aixgo_services.logger.post import PostOptions


class LoggerOptions(Options):
    """What a logger writes, and where."""

    level: Level = "info"
    """Level of a message that nothing else gives one."""
    level_from: str = ""
    """JSON path of the level that a payload has itself (RFC 9535), such as `$.severity`. Known are
    the levels and what other systems call them, such as `warn`, `notice` and `fatal`."""
    levels: tuple[LevelRule, ...] = ()
    """Rules; the first one that holds says the level of a message, before `level_from`."""
    min_level: Level = "debug"
    """Messages below it are not written."""
    max_chars: int = Field(default=2_000, ge=1, le=1_000_000)
    """Longest payload that is written, in characters; what is over it is cut off and counted."""
    log: bool | None = None
    """Whether messages are written to the log of the process; without it, when they go to neither
    `file` nor `http`."""
    file: FileOptions | None = None
    """A file that gets them."""
    http: PostOptions | None = None
    """A server that gets them."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> LoggerOptions:
        if self.log is False and self.file is None and self.http is None:
            raise ValueError("`log: false` leaves no place to write to; add file or http")
        return self

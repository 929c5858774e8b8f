"""`Logger`: one structured log line for each event of its inputs; echoes what it is called with."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

from pydantic import Field

from aixgo import Context, Message, Role
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec, Options

Level = Literal["debug", "info", "warning", "error"]


class LoggerOptions(Options):
    """How a logger writes."""

    level: Level = "info"
    """Level of every line."""
    max_chars: int = Field(default=2_000, ge=1, le=100_000)
    """Longest payload in a line, in characters; what is over it is cut off and counted."""


class Logger(Role):
    """Logs every message that it gets, with its run, source and payload."""

    style: ClassVar[Style] = "hybrid"
    options_model = LoggerOptions

    def __init__(self, spec: AgentSpec, options: LoggerOptions) -> None:
        super().__init__(spec, options)
        self._log = logging.getLogger(f"aixgo.agent.{spec.name}")
        self._level = logging.getLevelNamesMapping()[options.level.upper()]
        self._max_chars = options.max_chars

    async def execute(self, message: Message, ctx: Context) -> Message:
        """Log the message and return it as it came, payload and metadata."""
        if self._log.isEnabledFor(self._level):
            text = message.text
            self._log.log(
                self._level,
                "%s.logged",
                message.kind,
                extra={
                    "agent": self.name,
                    "run": message.run_id,
                    "step": ctx.step,
                    "trace_id": message.trace_id,
                    "source": message.source,
                    "meta": dict(message.meta),
                    "payload": text[: self._max_chars],
                    "cut_chars": max(0, len(text) - self._max_chars),
                },
            )
        return message

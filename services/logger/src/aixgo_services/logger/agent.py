"""`Logger`: a structured record for each message of its inputs; echoes what it is called with."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from aixgo import Context, Message, Role
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo_services.logger.file import FileSink
from aixgo_services.logger.levels import NUMBERS, Levels
from aixgo_services.logger.lines import record_of
from aixgo_services.logger.options import LoggerOptions
from aixgo_services.logger.post import HttpSink
from aixgo_services.logger.sink import Sink


class Logger(Role):
    """Writes every message that it gets, with its run, source and payload.

    A message is handled when every place has taken it, so a place that is away holds its messages
    back in the broker. A crash may write one twice, with the same `step`.
    """

    style: ClassVar[Style] = "hybrid"
    options_model = LoggerOptions

    def __init__(self, spec: AgentSpec, options: LoggerOptions) -> None:
        super().__init__(spec, options)
        self._levels = Levels(spec.name, options.level, options.level_from, options.levels)
        self._least = NUMBERS[options.min_level]
        self._sinks = _sinks(spec.name, options)
        logs = not self._sinks if options.log is None else options.log
        self._log = logging.getLogger(f"aixgo.agent.{spec.name}") if logs else None

    async def execute(self, message: Message, ctx: Context) -> Message:
        """Write the message and return it as it came, payload and metadata."""
        level = self._levels.of(message)
        if level is None or level < self._least:
            return message
        if self._log is not None and self._log.isEnabledFor(level):
            self._to_log(self._log, level, message, ctx)
        if self._sinks:
            record = record_of(message, ctx, self.name, level, self.options.max_chars)
            async with asyncio.TaskGroup() as group:
                for sink in self._sinks:
                    group.create_task(sink.put(record), name=f"{self.name}: {type(sink).__name__}")
        return message

    async def stop(self) -> None:
        """Close the file and the connections."""
        for sink in self._sinks:
            await sink.close()

    def _to_log(self, log: logging.Logger, level: int, message: Message, ctx: Context) -> None:
        text, most = message.text, self.options.max_chars
        log.log(
            level,
            "%s.logged",
            message.kind,
            extra={
                "agent": self.name,
                "run": message.run_id,
                "step": ctx.step,
                "trace_id": message.trace_id,
                "source": message.source,
                "meta": dict(message.meta),
                "payload": text[:most],
                "cut_chars": max(0, len(text) - most),
            },
        )


def _sinks(agent: str, options: LoggerOptions) -> list[Sink]:
    found: list[Sink] = []
    if options.file is not None:
        found.append(FileSink(agent, options.file))
    if options.http is not None:
        found.append(HttpSink(agent, options.http))
    return found

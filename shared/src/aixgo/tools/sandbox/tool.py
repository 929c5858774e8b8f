"""`SandboxedTool`: a function that its service never imports."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aixgo.config.agents import Retry
from aixgo.config.sandbox import SandboxOptions
from aixgo.errors import ConfigError, ToolError, ToolNotDone
from aixgo.printable import printable
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.kinds import Workshop, WrongKey
from aixgo.tools.port import (
    Arguments,
    Done,
    NotDone,
    Resolution,
    ToolContext,
    ToolSpec,
    Unknown,
)
from aixgo.tools.sandbox.process import MAX_ANSWER_BYTES, ChildProcess, Ended
from aixgo.tools.threads import threads

DESCRIBE_SECONDS = 60.0
"""Time for the process that imports a function to read its annotations."""

_SHOWN = 1_000  # characters of a process's output in an error


class SandboxedTool:
    """A function as a tool (`aixgo.tools.Tool`); each use is a fresh process with limits.

    Args:
        options: of the tool, as in a document, without `sandbox`.
        limits: of each process.
        workshop: where the module is looked for.

    Raises:
        ConfigError: the function cannot be used as a tool, or its module needs more than the
            limits.
    """

    def __init__(
        self, options: Mapping[str, Any], limits: SandboxOptions, workshop: Workshop
    ) -> None:
        self._limits = limits
        directory = workshop.directory
        self._request = {
            "options": dict(options),
            "directory": None if directory is None else os.fspath(Path(directory).resolve()),
            "path": [place for place in sys.path if place],
        }
        told = self._described()
        self.spec = ToolSpec(**told["spec"], retry=Retry.model_validate(told["retry"]))
        self._reconciles = bool(told["reconciles"])
        self._input = JsonArguments(self.spec.name, self.spec.input_schema)

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r}, effect={self.spec.effect!r}, sandboxed>"

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        return self._input.decode(payload)

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """See `Tool.execute`.

        Raises:
            ToolNotDone: the function says so, or its limits cannot be had on this machine.
            ToolError: the function raised, was over a limit, or its process died; says which.
        """
        return (await self._use("execute", arguments, ctx)).get("value")

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """See `Tool.reconcile`."""
        if not self._reconciles:
            return Unknown(f"tool {self.spec.name!r} has no `reconcile`")
        told = await self._use("reconcile", arguments, ctx)
        if "done" in told:
            return Done(told["done"])
        return NotDone() if "not_done_at_all" in told else Unknown(str(told.get("unknown", "")))

    def read(self, body: bytes) -> Any:
        """See `Tool.read`."""
        return msgspec.json.decode(body)

    # -- processes -----------------------------------------------------------------------------

    async def _use(self, mode: str, arguments: Arguments, ctx: ToolContext) -> dict[str, Any]:
        facts = {name: getattr(ctx, name) for name in _FACTS}
        child = self._child(mode, arguments=arguments, context=facts)
        running = asyncio.get_running_loop().run_in_executor(threads, child.run)
        try:
            ended = await asyncio.shield(running)
        except asyncio.CancelledError:
            child.kill()
            running.add_done_callback(_seen)
            raise
        except OSError as error:
            raise ToolNotDone(f"the process of tool {ctx.tool!r} cannot be started: {error}") from (
                error
            )
        if ended.said:
            ctx.log.debug("tool.output", extra={"output": _text(ended)})
        return self._answer(ended)

    def _described(self) -> dict[str, Any]:
        """Return what a process says of the function.

        Raises:
            ConfigError: it cannot be used.
        """
        child = self._child("describe")
        timer = threading.Timer(DESCRIBE_SECONDS, child.kill)
        timer.start()
        try:
            ended = child.run()
        finally:
            timer.cancel()
        try:
            told = self._answer(ended)
        except ToolError as error:
            raise WrongKey("function", f"it cannot be imported in its sandbox: {error}") from error
        if "config" in told:
            text = told["config"]
            raise WrongKey(told["key"], text) if told["key"] else ConfigError(text)
        return told

    def _child(self, mode: str, **more: Any) -> ChildProcess:
        return ChildProcess(
            msgspec.json.encode(
                {**self._request, "limits": _told(self._limits), "mode": mode, **more}
            )
        )

    def _answer(self, ended: Ended) -> dict[str, Any]:
        """Return what a process answered.

        Raises:
            ToolNotDone, ToolError: see `execute`.
        """
        try:
            told = msgspec.json.decode(ended.answer, type=dict[str, Any])
        except msgspec.DecodeError:
            raise ToolError(self._death(ended)) from None
        if "refused" in told:
            raise ToolNotDone(
                f"the sandbox cannot be set up: {told['refused']}; run the service where user "
                "namespaces are allowed, or allow the network with `sandbox: {network: true}`",
                retryable=False,
            )
        if "memory" in told:
            raise ToolError(self._over_memory())
        if "not_done" in told:
            raise ToolNotDone(told["not_done"], retryable=told["retryable"])
        if "error" in told:
            where = f" in {told['where']}" if told["where"] else ""
            error = ToolError(f"{told['code']}{where}: {told['error']}{_wrote(ended)}")
            error.retryable = bool(told["retryable"])
            raise error
        return told

    def _death(self, ended: Ended) -> str:
        """Say why a process ended without an answer."""
        if ended.too_long:
            return (
                f"it returned more than {MAX_ANSWER_BYTES:,} bytes, the limit of a sandboxed "
                "function; return less, or the name of a file that it wrote"
            )
        if ended.status == -signal.SIGXCPU:
            return (
                f"it used more than {self._limits.cpu_seconds} s of processor time and was ended; "
                f"make it do less, or raise `sandbox.cpu`{_wrote(ended)}"
            )
        if b"MemoryError" in ended.said or ended.status == -signal.SIGSEGV:
            return f"{self._over_memory()}{_wrote(ended)}"
        if ended.status < 0:
            name = signal.Signals(-ended.status).name
            return f"its process was ended by {name}{_wrote(ended)}"
        return f"its process ended with status {ended.status} and no value{_wrote(ended)}"

    def _over_memory(self) -> str:
        megabytes = self._limits.memory / 2**20
        return (
            f"it needed more than {megabytes:,.0f} MB of memory, the interpreter's included; make "
            "it need less, or raise `sandbox.memory`"
        )


def probe() -> str:
    """Return why a process cannot have its limits on this machine; empty when it can."""
    request = {"limits": _told(SandboxOptions()), "mode": "probe"}
    ended = ChildProcess(msgspec.json.encode(request)).run()
    try:
        told = msgspec.json.decode(ended.answer, type=dict[str, str])
    except msgspec.DecodeError:
        return f"a process with limits ends with status {ended.status}{_wrote(ended)}"
    return told.get("refused", "")


def _told(limits: SandboxOptions) -> dict[str, Any]:
    """Return limits as a process is told them."""
    return {
        "parent": os.getpid(),
        "cpu": limits.cpu_seconds,
        "memory": limits.memory,
        "files": limits.files,
        "network": limits.network,
    }


_FACTS = ("run_id", "step", "agent", "tool", "idempotency_key", "attempt", "deadline")


def _wrote(ended: Ended) -> str:
    text = _text(ended)
    return f"; it wrote: {text}" if text else ""


def _text(ended: Ended) -> str:
    text = " ".join(printable(ended.said.decode(errors="replace")).split())
    return text if len(text) <= _SHOWN else f"… {text[-_SHOWN:]}"


def _seen(future: asyncio.Future[Ended]) -> None:
    """Take what a process that was given up still raises."""
    if not future.cancelled():
        future.exception()

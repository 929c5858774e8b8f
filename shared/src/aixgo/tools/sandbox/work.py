"""What a sandboxed process does once it has its limits: describe a function, or execute it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Mapping
from typing import Any

import msgspec

from aixgo.errors import AixgoError, ConfigError, InvalidPayload, ToolNotDone, code_of, text_of
from aixgo.payloads import to_payload
from aixgo.tools.function import FunctionTool
from aixgo.tools.kinds import Workshop, WrongKey
from aixgo.tools.port import Done, NotDone, Resolution, ToolContext
from aixgo.tools.python import PythonOptions, function_tool

_FRAMES = 3  # of a traceback that an error tells


def answer_to(request: Mapping[str, Any]) -> bytes:
    """Return the JSON of what became of a request."""
    try:
        options = PythonOptions.model_validate(request["options"])
        tool = function_tool(options, Workshop(directory=request["directory"]))
    except ConfigError as error:
        key = error.key if isinstance(error, WrongKey) else ""
        return msgspec.json.encode({"config": str(error), "key": key})
    if request["mode"] == "describe":
        return msgspec.json.encode(described(tool))
    try:
        return _used(tool, request)
    except MemoryError:
        return msgspec.json.encode({"memory": True})
    except ToolNotDone as error:
        return msgspec.json.encode({"not_done": str(error), "retryable": error.retryable})
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        return msgspec.json.encode(
            {
                "error": text_of(error),
                "code": code_of(error),
                "retryable": isinstance(error, AixgoError) and error.retryable,
                "where": _place(error),
            }
        )


def described(tool: FunctionTool[Any]) -> dict[str, Any]:
    """Return what a service has to know of a function, without importing it."""
    spec = tool.spec
    return {
        "spec": {
            "name": spec.name,
            "description": spec.description,
            "effect": spec.effect,
            "timeout": spec.timeout,
            "cache": spec.cache,
            "concurrency": spec.concurrency,
            "max_result": spec.max_result,
            "input_schema": spec.input_schema,
            "output_schema": spec.output_schema,
        },
        "retry": spec.retry.model_dump(mode="json"),
        "reconciles": tool.reconciles,
    }


def _used(tool: FunctionTool[Any], request: Mapping[str, Any]) -> bytes:
    try:
        arguments = tool.arguments(msgspec.Raw(msgspec.json.encode(request["arguments"])))
    except InvalidPayload as error:
        raise ToolNotDone(str(error), retryable=False) from error
    log = logging.LoggerAdapter(logging.getLogger(f"aixgo.tools.{tool.spec.name}"), {})
    ctx = ToolContext(**request["context"], log=log)
    if request["mode"] == "reconcile":
        return _resolved(_awaited(tool.call_reconcile(arguments, ctx)))
    value = to_payload(_awaited(tool.call(arguments, ctx)))
    tool.read(bytes(value))
    return b'{"value":%b}' % bytes(value)


def _awaited(value: Any) -> Any:
    """Return a value, or what comes of awaiting it; here in the only thread of the process."""
    if not inspect.isawaitable(value):
        return value

    async def run() -> Any:
        return await value

    return asyncio.run(run())


def _resolved(resolution: Resolution) -> bytes:
    match resolution:
        case Done(value):
            return b'{"done":%b}' % bytes(to_payload(value))
        case NotDone():
            return b'{"not_done_at_all":true}'
        case other:
            return msgspec.json.encode({"unknown": getattr(other, "reason", repr(other)[:200])})


def _place(error: BaseException) -> str:
    """Return the last lines of the function's own code that an error went through."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/aixgo/tools/" not in frame.filename and "/asyncio/" not in frame.filename
    ]
    return ", ".join(f"{frame.name} (line {frame.lineno})" for frame in frames[-_FRAMES:])

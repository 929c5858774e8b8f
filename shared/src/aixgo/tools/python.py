"""Kind `python`: a function of a module, named in a document."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from pydantic import Field

from aixgo.config.reference import imported
from aixgo.config.sandbox import SandboxOptions
from aixgo.config.tools import ToolOptions
from aixgo.errors import ConfigError
from aixgo.tools.function import FunctionTool, tool
from aixgo.tools.kinds import ToolKind, Workshop, WrongKey
from aixgo.tools.port import AnyTool

_SETTINGS = (
    "name",
    "description",
    "effect",
    "timeout",
    "retry",
    "cache",
    "concurrency",
    "max_result",
)
"""Keys that a document may say of a function in place of its `@tool(…)`."""


class PythonOptions(ToolOptions):
    """A Python function; its annotations are the parameters, its docstring the description."""

    type: Literal["python"]
    """Kind of the tool."""
    function: str = Field(min_length=1)
    """`package.module:function`, with `@tool` or without. The module is looked for in the
    document's directory first, then among the installed packages."""
    reconcile: str = ""
    """`package.module:function` that finds out whether a `once` execution took place."""
    sandbox: SandboxOptions | bool = False
    """Whether it runs in a process of its own, with limits and without the network; or the limits.
    The service itself then never imports the module."""


class PythonKind(ToolKind):
    """Builds tools of kind `python`."""

    options_model = PythonOptions

    @classmethod
    def build(cls, options: PythonOptions, workshop: Workshop) -> AnyTool:
        """See `ToolKind.build`."""
        if options.sandbox is False:
            return function_tool(options, workshop)
        from aixgo.tools.sandbox import SandboxedTool

        limits = SandboxOptions() if options.sandbox is True else options.sandbox
        given = options.model_dump(mode="json", exclude_unset=True, exclude={"sandbox"})
        return SandboxedTool(given, limits, workshop)


def function_tool(options: PythonOptions, workshop: Workshop) -> FunctionTool[Any]:
    """Return the tool of a function that is imported here.

    Raises:
        WrongKey: a function cannot be imported, or is not one.
        ConfigError: the settings do not fit the function.
    """
    found = _named("function", options.function, workshop)
    settings = {key: getattr(options, key) for key in options.model_fields_set & {*_SETTINGS}}
    if options.reconcile:
        settings["reconcile"] = _named("reconcile", options.reconcile, workshop)
    if isinstance(found, FunctionTool):
        settings.setdefault("max_result", found.spec.max_result or options.max_result)
        return found.changed(**settings)
    if not inspect.isroutine(found):
        raise WrongKey(
            "function",
            f"{options.function!r} is {found!r:.100}, not a function; name a function, with "
            "`@tool(…)` or without",
        )
    settings.setdefault("max_result", options.max_result)
    made: FunctionTool[Any] = tool(**settings)(found)
    return made


def _named(key: str, reference: str, workshop: Workshop) -> Any:
    try:
        return imported(reference, workshop.directory)
    except ConfigError as error:
        raise WrongKey(key, str(error)) from error

"""Tools that are made of steps: another agent as a tool, a chain of tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeGuard, TypeVar

import msgspec

from aixgo.message import Message
from aixgo.steps.scopes import Scope, branch
from aixgo.tools.port import AnyTool, StepsTool

T = TypeVar("T")


class StepTaker(Protocol):
    """The part of `Context` that steps of a tool are taken with."""

    def call(
        self, agent: str, data: Any = None, *, key: str = "", timeout: float | None = None
    ) -> Awaitable[Message]:
        """See `Context.call`."""
        ...

    def tool(
        self,
        tool: AnyTool | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Awaitable[Any]:
        """See `Context.tool`."""
        ...


def is_steps_tool(tool: AnyTool | None) -> TypeGuard[StepsTool[Any]]:
    """Whether a tool is made of steps."""
    return tool is not None and hasattr(tool, "run") and hasattr(tool, "agents")


async def run_steps_tool(
    ctx: StepTaker,
    tool: StepsTool[T],
    path: str,
    payload: msgspec.Raw,
    timeout: float | None,
) -> Any:
    """Take a tool's steps below a path.

    Args:
        timeout: seconds for each of the steps that has no time of its own.

    Raises:
        InvalidPayload: the arguments do not fit; no step was taken.
    """
    arguments = tool.arguments(payload)
    return await tool.run(arguments, _Placed(ctx, Scope(ctx, path), timeout))


class _Placed:
    """Takes the steps of `Steps` below one place of the run."""

    def __init__(self, ctx: StepTaker, scope: Scope, timeout: float | None) -> None:
        self._ctx, self._scope, self._timeout = ctx, scope, timeout

    async def call(
        self, agent: str, data: Any = None, *, key: str = "", timeout: float | None = None
    ) -> Any:
        """See `Steps.call`."""
        seconds = self._timeout if timeout is None else timeout
        call = self._here(lambda: self._ctx.call(agent, data, key=key, timeout=seconds))
        return (await call).data

    async def tool(
        self,
        tool: AnyTool,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Any:
        """See `Steps.tool`."""
        seconds = self._timeout if timeout is None else timeout
        step = self._here(lambda: self._ctx.tool(tool, arguments, key=key, timeout=seconds))
        return await step

    def _here(self, take: Callable[[], T]) -> T:
        """Take a step whose path is below this place; the path is given at once."""
        outside = branch.set(self._scope)
        try:
            return take()
        finally:
            branch.reset(outside)

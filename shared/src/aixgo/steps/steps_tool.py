"""Tools that are made of steps: another agent as a tool, a chain of tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeGuard, TypeVar

from aixgo.message import Message
from aixgo.steps.scopes import Scope, branch
from aixgo.tools.port import AnyTool, StepsTool

T = TypeVar("T")


def is_steps_tool(tool: AnyTool | None) -> TypeGuard[StepsTool[Any]]:
    """Whether a tool is made of steps."""
    return tool is not None and hasattr(tool, "run") and hasattr(tool, "agents")


class PlacedSteps:
    """Takes the steps of a tool (`Steps`) below one place of the run.

    Args:
        call: see `Context.call`.
        use: see `Context.tool`; also for a tool that is not one of the agent's.
        timeout: seconds for each of the steps that has no time of its own.
    """

    def __init__(
        self,
        call: Callable[..., Awaitable[Message]],
        use: Callable[..., Awaitable[Any]],
        scope: Scope,
        timeout: float | None,
    ) -> None:
        self._call, self._use, self._scope, self._timeout = call, use, scope, timeout

    async def call(
        self, agent: str, data: Any = None, *, key: str = "", timeout: float | None = None
    ) -> Any:
        """See `Steps.call`."""
        seconds = self._timeout if timeout is None else timeout
        return (await self._here(self._call, agent, data, key=key, timeout=seconds)).data

    async def tool(
        self,
        tool: AnyTool | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Any:
        """See `Steps.tool`."""
        seconds = self._timeout if timeout is None else timeout
        return await self._here(self._use, tool, arguments, key=key, timeout=seconds)

    def _here(self, take: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Take a step whose path is below this place; the path is given at once."""
        outside = branch.set(self._scope)
        try:
            return take(*args, **kwargs)
        finally:
            branch.reset(outside)

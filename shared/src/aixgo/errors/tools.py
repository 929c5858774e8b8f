"""Errors of tools."""

from __future__ import annotations

from .base import AixgoError


class ToolError(AixgoError):
    """A tool could not be used, or failed."""

    code = "tool"


class UnknownTool(ToolError):
    """The agent has no tool of that name."""

    code = "unknown_tool"

    def __init__(self, name: str, agent: str, near: str) -> None:
        self.name, self.agent = name, agent
        near = near or "; it has no tools"
        super().__init__(
            f"agent {agent!r} has no tool {name!r}; add it to the agent's `tools`, or use another"
            f"{near}"
        )


class ToolNotDone(ToolError):
    """Raised by a tool that knows that nothing happened: it may be executed again.

    Args:
        retryable: whether that may help; with False the step fails at once.
        retry_after: seconds that the far side asks to wait before that.
    """

    code = "tool_not_done"
    retryable = True

    def __init__(
        self, message: str, *, retryable: bool = True, retry_after: float | None = None
    ) -> None:
        self.retryable, self.retry_after = retryable, retry_after
        super().__init__(message)


class ToolUnavailable(ToolNotDone):
    """Where a tool is executed cannot be reached, so nothing happened; later it may be there."""

    code = "tool_unavailable"


class AddressBlocked(ToolNotDone):
    """The guard of tools over the network refuses an address; nothing was sent.

    Attributes:
        host: that was to be connected to.
    """

    code = "address_blocked"
    retryable = False

    def __init__(self, host: str, message: str) -> None:
        self.host = host
        super().__init__(message, retryable=False)


class OutcomeUnknown(ToolError):
    """A request was sent, and what became of it was not seen: a `once` step is in doubt."""

    code = "outcome_unknown"
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ToolTimeout(ToolError):
    """An execution of a tool took longer than its `timeout`."""

    code = "tool_timeout"
    retryable = True

    def __init__(self, tool: str, seconds: float) -> None:
        self.tool, self.seconds = tool, seconds
        super().__init__(
            f"tool {tool!r} did not finish within {seconds:g} s; raise its `timeout`, or find out "
            "what it waits for"
        )


class ToolFailed(ToolError):
    """A tool failed for good; the failure is recorded, so the step fails again until a replay.

    Attributes:
        tool: name of the tool.
        cause: `code` of the original error, or the class name of a foreign one.
        attempts: executions before it was given up.
        text: what went wrong, as the tool said it.
    """

    code = "tool_failed"

    def __init__(self, tool: str, cause: str, attempts: int, text: str) -> None:
        self.tool, self.cause, self.attempts, self.text = tool, cause, attempts, text
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"tool {tool!r} was executed {times} and failed: {text}; fix the cause and let the run "
            "go on with `aixgo dlq replay`"
        )

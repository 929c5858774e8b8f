"""Tools: typed functions with effects on the world, which agents use as durable steps."""

from __future__ import annotations

from aixgo.config.tools import ToolOptions
from aixgo.errors import ToolFailed, ToolNotDone, ToolUnavailable
from aixgo.tools.agent import AgentTool
from aixgo.tools.asking import NeedsAnswers, ToolQuestion
from aixgo.tools.chain import Chain, Link
from aixgo.tools.function import FunctionTool, tool
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.json_schema import object_schema
from aixgo.tools.kinds import ToolKind, Workshop
from aixgo.tools.port import (
    AnyTool,
    Connected,
    Done,
    Effect,
    NotDone,
    Resolution,
    Steps,
    StepsTool,
    Tool,
    ToolContext,
    ToolSource,
    ToolSpec,
    Unknown,
)
from aixgo.tools.toolbox import Toolbox

__all__ = [
    "AgentTool",
    "AnyTool",
    "Chain",
    "Connected",
    "Done",
    "Effect",
    "FunctionTool",
    "JsonArguments",
    "Link",
    "NeedsAnswers",
    "NotDone",
    "Resolution",
    "Steps",
    "StepsTool",
    "Tool",
    "ToolContext",
    "ToolFailed",
    "ToolKind",
    "ToolNotDone",
    "ToolOptions",
    "ToolQuestion",
    "ToolSource",
    "ToolSpec",
    "ToolUnavailable",
    "Toolbox",
    "Unknown",
    "Workshop",
    "object_schema",
    "tool",
]

"""Tools: typed functions with effects on the world, which agents use as durable steps."""

from __future__ import annotations

from aixgo.errors import ToolFailed, ToolNotDone
from aixgo.tools.function import FunctionTool, tool
from aixgo.tools.port import (
    Done,
    Effect,
    NotDone,
    Resolution,
    Tool,
    ToolContext,
    ToolSpec,
    Unknown,
)
from aixgo.tools.toolbox import Toolbox

__all__ = [
    "Done",
    "Effect",
    "FunctionTool",
    "NotDone",
    "Resolution",
    "Tool",
    "ToolContext",
    "ToolFailed",
    "ToolNotDone",
    "ToolSpec",
    "Toolbox",
    "Unknown",
    "tool",
]

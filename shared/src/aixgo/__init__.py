"""Aixgo: AI agents as asyncio services on a NATS JetStream broker, or in one process.

from aixgo import Agent, App, Context, Message
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aixgo.agents.agent import Agent
    from aixgo.agents.role import Role
    from aixgo.client import Client, connect
    from aixgo.envelope import Usage
    from aixgo.errors import AixgoError, ConfigError
    from aixgo.hosting.app import App, System
    from aixgo.hosting.serve import serve
    from aixgo.message import Message, Reply
    from aixgo.steps.context import Context
    from aixgo.tools import tool

_HOMES = {
    "Agent": "agents.agent",
    "AixgoError": "errors",
    "App": "hosting.app",
    "Client": "client",
    "ConfigError": "errors",
    "Context": "steps.context",
    "Message": "message",
    "Reply": "message",
    "Role": "agents.role",
    "System": "hosting.app",
    "Usage": "envelope",
    "connect": "client",
    "serve": "hosting.serve",
    "tool": "tools",
}

__all__ = [
    "Agent",
    "AixgoError",
    "App",
    "Client",
    "ConfigError",
    "Context",
    "Message",
    "Reply",
    "Role",
    "System",
    "Usage",
    "connect",
    "serve",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first used, so that importing costs nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'aixgo' has no attribute {name!r}")
    return getattr(import_module(f"aixgo.{home}"), name)

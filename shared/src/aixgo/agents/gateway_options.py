"""What a model gateway is told: the `models:` section, and keys that agents bring themselves."""

from __future__ import annotations

from pydantic import Field, SecretStr

from aixgo.config.agents import Options
from aixgo.models.settings import ModelSettings

__all__ = ["AgentKey", "GatewayOptions"]


class AgentKey(Options):
    """A key that one agent brings for its own model calls."""

    api_key: SecretStr
    """Given to the provider of `model`, and to no other."""
    model: str = ""
    """The agent's `provider/model`; empty for the default model."""
    endpoint: str = ""
    """The agent's own base URL, which may be given the key."""


class GatewayOptions(Options):
    """What a model gateway takes."""

    settings: ModelSettings = ModelSettings()
    """The `models:` section of a document: default model, providers, prices."""
    agent_keys: dict[str, AgentKey] = Field(default_factory=dict)
    """By agent: keys that agents declare themselves."""

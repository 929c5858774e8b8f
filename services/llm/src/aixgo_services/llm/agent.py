"""`LlmGateway`: answers the model tasks of all agents with the providers of its settings."""

from __future__ import annotations

from aixgo import Context, Message, Reply
from aixgo.agents.gateway_options import AgentKey, GatewayOptions
from aixgo.agents.model_gateway import ModelGateway
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo.models.access import OwnKey
from aixgo.models.hub import ModelHub
from aixgo.models.providers import split_model
from aixgo.models.settings import ModelSettings


class LlmGateway(ModelGateway):
    """The model gateway; an agent with a key of its own is served with that key."""

    options_model = GatewayOptions

    def __init__(self, spec: AgentSpec, options: GatewayOptions) -> None:
        super().__init__(spec, options, ModelHub(options.settings))
        self._own = {
            agent: ModelGateway(
                spec, options, ModelHub(options.settings, own=own_key(options.settings, agent, key))
            )
            for agent, key in options.agent_keys.items()
        }

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Answer a `ModelTask`; counts its usage for the run.

        Raises:
            ModelError: as the provider said; retries are the model's own and are over.
            ConfigError: the provider is unknown, or its key or its package is missing.
        """
        own = self._own.get(message.source)
        if own is not None:
            return await own.execute(message, ctx)
        return await super().execute(message, ctx)

    async def stop(self) -> None:
        """Close all connections to providers."""
        await super().stop()
        for gateway in self._own.values():
            await gateway.stop()


def own_key(settings: ModelSettings, agent: str, key: AgentKey) -> OwnKey:
    """Return the agent's key with the only provider and the only further address that may have it.

    Raises:
        ConfigError: the agent names no model and there is no default, so the key belongs to no
            provider.
    """
    provider, _ = split_model(key.model or settings.default)
    if not provider:
        raise ConfigError(
            f"agent {agent!r} has an `api_key` but no model, so it is not known which provider may "
            "see the key; give the agent `model: provider/name`"
        )
    return OwnKey(provider=provider, api_key=key.api_key, endpoint=key.endpoint)

"""`LlmGateway`: answers the model tasks of all agents with the providers of its settings."""

from __future__ import annotations

from aixgo import Context, Message, Reply
from aixgo.agents.gateway_options import AgentKey, GatewayOptions
from aixgo.agents.model_gateway import ModelGateway
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo.models.hub import ModelHub
from aixgo.models.providers import PROVIDERS, split_model
from aixgo.models.settings import ModelSettings, ProviderSettings


class LlmGateway(ModelGateway):
    """The model gateway; an agent with a key of its own is served with that key."""

    options_model = GatewayOptions

    def __init__(self, spec: AgentSpec, options: GatewayOptions) -> None:
        super().__init__(spec, options, ModelHub(options.settings))
        self._own = {
            agent: ModelGateway(spec, options, ModelHub(with_key(options.settings, agent, key)))
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


def with_key(settings: ModelSettings, agent: str, key: AgentKey) -> ModelSettings:
    """Return the settings with the agent's key for the provider of its model.

    Raises:
        ConfigError: the agent names no model and there is no default, so the key is nobody's.
    """
    provider, _ = split_model(key.model or settings.default)
    if not provider:
        raise ConfigError(
            f"agent {agent!r} has an `api_key` but no model, so it is not known which provider may "
            "see the key; give the agent `model: provider/name`"
        )
    if provider not in PROVIDERS and provider not in settings.providers:
        return settings  # its calls say that the provider is unknown, with the known ones
    known = settings.providers.get(provider, ProviderSettings())
    trusted = known.trusted_base_urls + ((key.endpoint.rstrip("/"),) if key.endpoint else ())
    own = known.model_copy(update={"api_key": key.api_key, "trusted_base_urls": trusted})
    return settings.model_copy(update={"providers": {**settings.providers, provider: own}})

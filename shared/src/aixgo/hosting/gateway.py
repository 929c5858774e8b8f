"""The model gateway that a system gets when it needs one and declares none."""

from __future__ import annotations

from collections.abc import Collection

from aixgo.agents.agent import Agent
from aixgo.agents.declaration import Declaration
from aixgo.agents.gateway_options import AgentKey, GatewayOptions
from aixgo.agents.model_gateway import ModelGateway
from aixgo.agents.role import NoOptions, find_role
from aixgo.config.agents import AgentSpec, Options, Retry
from aixgo.errors import ConfigError
from aixgo.models.bus import GATEWAY
from aixgo.models.port import Model
from aixgo.models.settings import ModelSettings

__all__ = ["gateway_for", "given_gateway"]

_SPEC = AgentSpec(name=GATEWAY, role=GATEWAY, retry=Retry(max_attempts=1))
"""The models' own attempts are over when a gateway says that a call failed."""


def gateway_for(
    agents: Collection[Agent], models: ModelSettings | None, model: Model | None
) -> Agent | None:
    """Return the gateway that the agents need beside them, or None.

    They need one when a model or settings for models are given, when one of them has a role that
    calls models, or names a model.

    Raises:
        ConfigError: a gateway is declared and a `model` is given as well.
    """
    declared = any(agent.name == GATEWAY for agent in agents)
    if model is not None:
        if declared:
            raise ConfigError(
                f"the agent {GATEWAY!r} is declared and `model` is given; leave out one of them"
            )
        return given_gateway(model)
    settings = models or ModelSettings()
    wanted = settings != ModelSettings() or any(
        agent.role_class.calls_models or agent.spec.model_name for agent in agents
    )
    if declared or not wanted:
        return None
    options = GatewayOptions(
        settings=settings,
        agent_keys={
            agent.name: AgentKey(
                api_key=agent.spec.api_key,
                model=agent.spec.model_name,
                endpoint=agent.spec.endpoint,
            )
            for agent in agents
            if agent.spec.api_key is not None
        },
    )
    return Agent.declared(Declaration(spec=_SPEC, options=options, role=find_role(GATEWAY)))


def given_gateway(model: Model) -> Agent:
    """Return a gateway around a model that exists already."""

    class Given(ModelGateway):
        def __init__(self, spec: AgentSpec, options: Options) -> None:
            super().__init__(spec, options, model)

    return Agent.declared(Declaration(spec=_SPEC, options=NoOptions(), role=Given))

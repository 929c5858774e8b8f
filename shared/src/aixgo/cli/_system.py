"""What the verbs that send messages to a document's system know of it beforehand."""

from __future__ import annotations

from aixgo.cli._inputs import Inputs
from aixgo.cli._options import seconds_of
from aixgo.client import DEFAULT_TIMEOUT
from aixgo.documents import Document
from aixgo.errors import ConfigError, InvalidPayload


def timeout_of(document: Document, name: str, given: str = "") -> float:
    """Return the seconds that a call of an agent may take: those given, else its own.

    Raises:
        ConfigError: what is given is no time.
    """
    if given:
        return seconds_of(given)
    for agent in document.agents:
        if agent.name == name:
            return agent.spec.timeout or agent.spec.limits.timeout
    return DEFAULT_TIMEOUT


def check_data(document: Document, name: str, inputs: Inputs) -> None:
    """Refuse a JSON value that an agent's handler would refuse.

    Raises:
        ConfigError: says what the handler takes, and the place that does not fit.
    """
    value = inputs.value
    for agent in document.agents:
        if value is not None and agent.name == name:
            try:
                agent.check_input(value.data)
            except InvalidPayload as error:
                raise ConfigError(f"--data does not fit agent {name!r}: {error}") from None

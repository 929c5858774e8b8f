"""What a model can do, and what becomes of a request that asks for more.

The table is data: rows of providers, quirks of some of their models, and what the settings say over
both. Nothing is changed in silence: what a model does not take is one error before anything is sent
or paid, or left out with a line in the log where the request or the settings say `drop`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from aixgo.errors import (
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelError,
    UnsupportedByModel,
)
from aixgo.models.port import ChatRequest
from aixgo.models.providers import Feature, Provider, Schemas, quirk_of, split_model
from aixgo.models.settings import CapabilityChanges, OnUnsupported

_MOST_MODELS = 256
"""Whose capabilities are kept; requests may name any model."""

_DEFAULT_TEMPERATURE = 1.0
"""Of models that take no other: asking for it asks for nothing."""

_NOTHING: frozenset[Feature] = frozenset()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one model can do.

    Attributes:
        tools: calling tools.
        parallel_tools: being told whether it may call several tools at once.
        images: reading images.
        streaming: answering in pieces.
        embeddings: its provider embeds texts.
        temperature: being asked at another temperature than its default, 1.
        max_temperature: the highest that it takes.
        top_p: nucleus sampling.
        stop: texts at which it stops.
        seed: a seed for its sampling.
        schemas: how it is asked for JSON.
    """

    tools: bool = True
    parallel_tools: bool = True
    images: bool = True
    streaming: bool = True
    embeddings: bool = True
    temperature: bool = True
    max_temperature: float = 2.0
    top_p: bool = True
    stop: bool = True
    seed: bool = True
    schemas: Schemas = "json_schema"


def capabilities_of(
    provider: Provider,
    model: str,
    *,
    changes: Mapping[str, CapabilityChanges] | None = None,
    schemas: Schemas | None = None,
) -> Capabilities:
    """Return what a model can do.

    Args:
        provider: its row.
        model: its name, without the provider.
        changes: by the beginning of a model's name, `*` for every name; what is said of a longer
            beginning counts more.
        schemas: what the settings say of all models of the provider.
    """
    quirk = quirk_of(provider, model)
    lacks = (provider.lacks - quirk.has) | quirk.lacks
    found = Capabilities(
        **dict.fromkeys(lacks, False),
        embeddings=provider.embeddings != "none",
        max_temperature=provider.max_temperature
        if quirk.max_temperature is None
        else quirk.max_temperature,
        schemas=schemas or quirk.schemas or provider.schemas,
    )
    for beginning in sorted(changes or {}, key=len):
        if beginning == "*" or model.startswith(beginning):
            found = replace(found, **(changes or {})[beginning].model_dump(exclude_unset=True))
    return found


class Fitting:
    """Holds the requests to one provider to what its models can do.

    Args:
        provider: row of the table.
        changes: see `capabilities_of`.
        schemas: the same.
        on_unsupported: what becomes of what a model does not take, where a request says nothing.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        changes: Mapping[str, CapabilityChanges] | None = None,
        schemas: Schemas | None = None,
        on_unsupported: OnUnsupported = "error",
    ) -> None:
        self._provider, self._changes, self._schemas = provider, changes, schemas
        self._on_unsupported = on_unsupported
        self._known: dict[str, Capabilities] = {}
        self._said: set[tuple[str, str]] = set()

    def of(self, model: str) -> Capabilities:
        """Return what a model can do, from its `provider/model`."""
        _, name = split_model(model)
        found = self._known.get(name)
        if found is None:
            found = capabilities_of(
                self._provider, name, changes=self._changes, schemas=self._schemas
            )
            self._note(name, found)
        return found

    def chat(
        self, request: ChatRequest, *, lacks: frozenset[Feature] = _NOTHING, stream: bool = False
    ) -> ChatRequest:
        """Return the request as its model takes it.

        Args:
            request: what is asked.
            lacks: what the wire cannot carry besides.
            stream: it shall be streamed.

        Raises:
            UnsupportedByModel: the model cannot do what is asked. Nothing was sent.
        """
        can = self.of(request.model)
        if lacks:
            can = _lacking(can, lacks)
        wrong, left_out = _asks_too_much(request, can), _too_much(request, can)
        if stream and not can.streaming:
            left_out["streaming"] = "streaming"
        if wrong or (left_out and not self._drops(request)):
            raise self._unsupported(request, [*wrong, *left_out.values()], only=not wrong)
        self._say(request, left_out.values())
        found = _without(request, left_out) if left_out else request
        if found.temperature is not None and not can.temperature:
            found = msgspec.structs.replace(found, temperature=None)
        if found.parallel_tools is not None and not (found.tools and can.parallel_tools):
            found = msgspec.structs.replace(found, parallel_tools=None)
        return found

    def streams(self, request: ChatRequest) -> bool:
        """Whether an answer of the request's model can come in pieces."""
        return self.of(request.model).streaming

    def after_refusal(self, request: ChatRequest, error: ModelError) -> ChatRequest:
        """Return the request without the preference that a server refused; the next lack it too.

        Raises:
            ModelError: the error, when it is about something else or nothing may be left out.
        """
        final = isinstance(error, ContextTooLong | ContentRefused)
        refused = isinstance(error, BadModelRequest | UnsupportedByModel) and not final
        text = str(error)
        if not (refused and self._drops(request) and _REFUSAL.search(text)):
            raise error
        named = {field: str(field) for field, words in _WORDS.items() if words in text}
        found = _without(request, named)
        if found == request:
            raise error
        asked = [name for name in named if getattr(request, name) not in (None, ())]
        self._say(request, asked)
        _, name = split_model(request.model)
        self._note(name, _lacking(self.of(request.model), asked))
        return found

    def _drops(self, request: ChatRequest) -> bool:
        return (request.on_unsupported or self._on_unsupported) == "drop"

    def _note(self, name: str, found: Capabilities) -> None:
        if len(self._known) >= _MOST_MODELS:
            self._known.pop(next(iter(self._known)))
        self._known[name] = found

    def _say(self, request: ChatRequest, what: Any) -> None:
        """Log what is left out, once for each model."""
        fresh = [one for one in what if (request.model, one.partition(" ")[0]) not in self._said]
        if not fresh:
            return
        if len(self._said) >= _MOST_MODELS:
            self._said.clear()
        self._said.update((request.model, one.partition(" ")[0]) for one in fresh)
        _log.warning("%s does not take %s; left out (`drop`)", request.model, ", ".join(fresh))

    def _unsupported(
        self, request: ChatRequest, wrong: list[str], *, only: bool
    ) -> UnsupportedByModel:
        provider = self._provider.name
        drop = "have it left out with `on_unsupported: drop`, " if only else ""
        return UnsupportedByModel(
            f"{request.model} does not take {', '.join(wrong)}; leave it away, {drop}use another "
            f"model, or correct what is known of it in `models.providers.{provider}.capabilities`",
            provider=provider,
        )


def _lacking(can: Capabilities, features: Iterable[Feature]) -> Capabilities:
    changes: dict[str, Any] = dict.fromkeys(features, False)
    return replace(can, **changes)


_WORDS: dict[Feature, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "stop": "stop",
    "seed": "seed",
    "parallel_tools": "parallel_tool_calls",
}
"""How a server calls what it refuses, by what may be left out."""

_REFUSAL = re.compile(
    r"support|not allowed|not permitted|unrecogni[sz]ed|unknown|unexpected|extra|deprecated",
    re.IGNORECASE,
)


def _asks_too_much(request: ChatRequest, can: Capabilities) -> list[str]:
    """Return what the model cannot do and what cannot be left out: it would be another question."""
    wrong = []
    if request.tools and not can.tools:
        wrong.append(f"tools ({len(request.tools)} offered)")
    if not can.images and (images := sum(len(message.images) for message in request.messages)):
        wrong.append(f"images ({images} in the messages)")
    return wrong


def _too_much(request: ChatRequest, can: Capabilities) -> dict[Feature, str]:
    """Return the preferences that the model does not take, for people."""
    found: dict[Feature, str] = {}
    temperature = request.temperature
    if temperature is not None:
        if not can.temperature and temperature != _DEFAULT_TEMPERATURE:
            found["temperature"] = f"temperature {temperature:g} (only its default)"
        elif can.temperature and temperature > can.max_temperature:
            found["temperature"] = f"temperature {temperature:g} (at most {can.max_temperature:g})"
    if request.top_p is not None and not can.top_p:
        found["top_p"] = f"top_p {request.top_p:g}"
    if request.stop and not can.stop:
        found["stop"] = f"stop ({len(request.stop)} texts)"
    if request.seed is not None and not can.seed:
        found["seed"] = f"seed {request.seed}"
    if request.tools and request.parallel_tools is False and not can.parallel_tools:
        found["parallel_tools"] = "parallel_tools false (it may call several tools at once)"
    return found


def _without(request: ChatRequest, features: Mapping[Feature, str]) -> ChatRequest:
    fields: dict[str, Any] = {name: None for name in features if name in _WORDS}
    if "stop" in fields:
        fields["stop"] = ()
    return msgspec.structs.replace(request, **fields)

"""What goes to litellm and what comes back, without importing it.

Its objects are read by attribute: they are OpenAI's shapes with additions that differ from provider
to provider and from release to release.
"""

from __future__ import annotations

import re
from typing import Any

from aixgo.envelope import Usage
from aixgo.errors import (
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelError,
    ModelUnavailable,
    UnsupportedByModel,
)
from aixgo.models.port import ChatRequest, ChatResponse, Choice, EmbedRequest, EmbedResponse
from aixgo.models.providers import Dialect, Provider, split_model
from aixgo.models.wires.answers import checked, checked_vectors
from aixgo.models.wires.assembly import Assembly, ToolCalls, whole_choice
from aixgo.models.wires.chat_request import chat_body
from aixgo.models.wires.classify import from_status, sanitised
from aixgo.models.wires.reading import string, text_in, well_formed
from aixgo.models.wires.usage import Counter
from aixgo.web.retry_after import retry_after_of
from aixgo.web.secrets import Secrets

_BY_CLASS: dict[str, tuple[type[ModelError], str]] = {
    # these share status 400 with every other bad request
    "ContextWindowExceededError": (
        ContextTooLong,
        "shorten the prompt, or use a model with a larger context",
    ),
    "ContentPolicyViolationError": (
        ContentRefused,
        "the provider's content policy refuses this; change the prompt",
    ),
    "UnsupportedParamsError": (UnsupportedByModel, "leave the field out, or use another model"),
    "APIConnectionError": (ModelUnavailable, "is the provider reachable from here?"),
    "MidStreamFallbackError": (ModelUnavailable, "the stream broke; try again"),
}


_CREDENTIALS = re.compile(r"service account|default credentials|RefreshError", re.IGNORECASE)
_NO_MODULE = re.compile(r"No module named '[\w.]+'")
_CLASSES = re.compile(r"\blitellm\.\w+: |\b\w+Exception - ")


def chat_fields(
    request: ChatRequest, provider: Provider, dialect: Dialect | None = None
) -> dict[str, Any]:
    """Return the keywords of `acompletion` for a request.

    Raises:
        UnsupportedByModel: it has the address of an image.
    """
    provider_name, model = split_model(request.model)
    if any(image.url for message in request.messages for image in message.images):
        raise UnsupportedByModel(
            f"{request.model} takes images as bytes only (litellm would fetch an address from "
            "inside the gateway's network); give `data` and `media_type` instead of `url`",
            provider=provider_name,
        )
    fields = chat_body(request, dialect or Dialect(), stream=False)
    fields["model"] = f"{provider.litellm_prefix}/{model}"
    if request.max_tokens is None and provider.default_max_tokens is not None:
        fields["max_tokens"] = provider.default_max_tokens
    return fields


def api_base(prefix: str, base_url: str) -> str:
    """Return a base URL as litellm wants it: some of its providers add the version themselves."""
    if prefix in {"anthropic", "ollama_chat"}:
        return base_url.removesuffix("/v1")
    return base_url


def embedding_model(prefix: str, name: str) -> str:
    """Return litellm's name of an embedding model."""
    prefix = "ollama" if prefix == "ollama_chat" else prefix
    return f"{prefix}/{split_model(name)[1]}"


def extra_for(provider: str) -> str:
    """Return the extra that installs what litellm needs for a provider."""
    return "vertex" if provider == "vertex_ai" else "litellm"


# -- answers -------------------------------------------------------------------------------------


def chat_response(request: ChatRequest, answer: Any) -> ChatResponse:
    """Return the port's response; errors as `answers.checked`."""
    provider, model = split_model(request.model)
    choices = tuple(_choice(request, choice) for choice in _get(answer, "choices") or ())
    response = ChatResponse(
        id=well_formed(string(_get(answer, "id"))),
        model=well_formed(f"{provider}/{_own_name(_get(answer, 'model'), model)}"),
        choices=choices,
        usage=_usage(_get(answer, "usage")),
    )
    return checked(request, response)


def _own_name(given: str | None, model: str) -> str:
    """Return the provider's name of the model; litellm sometimes puts its prefix before it."""
    if not given:
        return model
    return model if given.endswith(f"/{model}") else given


def _choice(request: ChatRequest, choice: Any) -> Choice:
    message = _get(choice, "message")
    calls = ToolCalls()
    _take_calls(calls, message)
    return whole_choice(
        request,
        index=_get(choice, "index") or 0,
        text=text_in(_get(message, "content")),
        calls=calls,
        finish=_get(choice, "finish_reason"),
    )


def _take_calls(calls: ToolCalls, message: Any) -> None:
    for position, call in enumerate(_get(message, "tool_calls") or ()):
        function = _get(call, "function")
        calls.add(
            position,
            index=_get(call, "index"),
            call_id=string(_get(call, "id")),
            name=string(_get(function, "name")),
            arguments=string(_get(function, "arguments")),
        )


def _usage(usage: Any) -> Usage:
    counter = Counter()
    counter.see(_fields(usage))
    return counter.usage


def _fields(usage: Any) -> Any:
    """Return the fields of a usage; it is a pydantic model with extras of each provider."""
    return usage.model_dump() if hasattr(usage, "model_dump") else usage


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


class ChunkReader:
    """Takes litellm's chunks, one by one.

    litellm's own builder counts missing tokens with a tokenizer that it downloads.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._assembly = Assembly(request)
        self._model = split_model(request.model)[1]

    def feed(self, chunk: Any) -> str:
        """Return the text that a chunk adds."""
        assembly = self._assembly
        if not assembly.id:
            assembly.named(_get(chunk, "id") or "", _own_name(_get(chunk, "model"), self._model))
        if (usage := _get(chunk, "usage")) is not None:
            assembly.counter.see(_fields(usage))
        text = ""
        for choice in (_get(chunk, "choices") or ())[:1]:
            assembly.finish = _get(choice, "finish_reason") or assembly.finish
            delta = _get(choice, "delta")
            _take_calls(assembly.calls, delta)
            if piece := text_in(_get(delta, "content")):
                text = assembly.text(piece)
        return text

    @property
    def passed(self) -> str:
        """The text that `feed` returned so far."""
        return self._assembly.passed

    @property
    def finished(self) -> bool:
        """Whether the answer ended; litellm invents an end where there is no answer."""
        assembly = self._assembly
        empty = not (
            assembly.so_far or assembly.calls.done() or assembly.counter.usage.total_tokens
        )
        return assembly.finish is not None and not empty

    def response(self) -> ChatResponse:
        """Return the whole answer; errors as `answers.checked`."""
        return self._assembly.response()


def embed_response(request: EmbedRequest, answer: Any) -> EmbedResponse:
    """Return the port's response.

    Raises:
        BadModelAnswer: a vector is missing.
    """
    rows = [(_get(row, "index") or 0, _get(row, "embedding")) for row in _get(answer, "data")]
    rows.sort(key=lambda row: row[0])
    provider, model = split_model(request.model)
    return EmbedResponse(
        model=f"{provider}/{_own_name(_get(answer, 'model'), model)}",
        vectors=checked_vectors(request, [vector for _, vector in rows]),
        usage=_usage(_get(answer, "usage")),
    )


# -- errors --------------------------------------------------------------------------------------


def status_in(error: Exception) -> int | None:
    """Return the HTTP status that an exception of litellm carries, or None."""
    status = getattr(error, "status_code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdigit() else None


def classified(error: Exception, provider: Provider, model: str, secrets: Secrets) -> ModelError:
    """Return our error for one of litellm's: by class where statuses overlap, else by status."""
    kind, status = type(error).__name__, status_in(error)
    text = _sentence(str(error))
    if _CREDENTIALS.search(text):
        # litellm calls what google-auth says about a file a lost connection
        return ModelAuthFailed(
            f"{provider.name}/{model}: {sanitised(text, secrets)}; check the service account "
            "(GOOGLE_APPLICATION_CREDENTIALS, or `credentials` in the provider's settings)",
            provider=provider.name,
            status=status,
        )
    headers = getattr(error, "litellm_response_headers", None) or {}
    if kind in _BY_CLASS:
        ours, fix = _BY_CLASS[kind]
        said = f"{provider.name}/{model}: {sanitised(text, secrets)}; {fix}"
        return ours(said, provider=provider.name, status=status)
    if status is not None and 300 <= status < 600:
        return from_status(
            status,
            text,
            provider=provider.name,
            model=model,
            retry_after=retry_after_of({str(k): str(v) for k, v in dict(headers).items()}),
            conflict_is_retryable=provider.conflict_is_retryable,
            secrets=secrets,
        )
    return ModelError(
        f"{provider.name}/{model} failed inside litellm ({kind}: "
        f"{sanitised(text, secrets)}); check the request, then the provider's settings",
        provider=provider.name,
        status=status,
    )


def missing_module(error: Exception) -> str:
    """Return the sentence about a module that is not installed, or nothing.

    litellm reports even that as a lost connection, with a traceback in its text.
    """
    found = _NO_MODULE.search(str(error))
    return found.group() if found else ""


def _sentence(text: str) -> str:
    """Return litellm's text from the provider's JSON on, without its classes and tracebacks."""
    text = text.partition("Traceback (most recent call last)")[0]
    text = text.partition(". Handle with `litellm")[0]
    brace = text.find('{"')
    return text[brace:] if brace >= 0 else _CLASSES.sub("", text)

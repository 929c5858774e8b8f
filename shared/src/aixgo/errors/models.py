"""Errors of model calls."""

from __future__ import annotations

from .base import AixgoError


class ModelError(AixgoError):
    """A model call failed.

    Attributes:
        status: HTTP status of the provider, or None when there was no answer.
        provider: provider of the model name.
        retry_after: seconds that the provider asks to wait, or None.
    """

    code = "model"

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.provider, self.status, self.retry_after = provider, status, retry_after
        super().__init__(message)


class RateLimited(ModelError):
    """The provider asks for fewer requests (429)."""

    code = "rate_limited"
    retryable = True


class ModelUnavailable(ModelError):
    """The provider is down, overloaded, or the connection was refused or lost."""

    code = "model_unavailable"
    retryable = True


class ModelTimeout(ModelError):
    """The provider did not answer in time."""

    code = "model_timeout"
    retryable = True


class ModelAuthFailed(ModelError):
    """The provider refuses the key, or the account cannot pay."""

    code = "model_auth_failed"


class ModelNotFound(ModelError):
    """The provider has no such model or path."""

    code = "model_not_found"


class BadModelRequest(ModelError):
    """The provider says that the request itself is wrong."""

    code = "bad_model_request"


class ContextTooLong(BadModelRequest):
    """The prompt does not fit the model's context window."""

    code = "context_too_long"


class ContentRefused(BadModelRequest):
    """The provider's content policy refuses the prompt or the answer."""

    code = "content_refused"


class UnsupportedByModel(ModelError):
    """This provider or model cannot do that, such as embeddings on Anthropic."""

    code = "unsupported_by_model"


class BadModelAnswer(ModelError):
    """The provider's answer could not be read, or fails the schema that was asked for."""

    code = "bad_model_answer"
    retryable = True


class ModelsExhausted(ModelError):
    """None of the models of a list answered; retryable where one of their errors was."""

    code = "models_exhausted"


class ScriptExhausted(ModelError):
    """A scripted model was asked more often than its script has answers."""

    code = "script_exhausted"

"""What a provider's failure means: one table from status and text to the error tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from aixgo import clock
from aixgo.errors import (
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    UnsupportedByModel,
)

EXCERPT_CHARS = 300
"""Of a provider's body in an error: enough for its sentence, too little for a prompt."""

_KEY_CHARS = 6
"""What is shorter is no key but a placeholder, and would be taken out of every other word."""

_TOO_LONG = re.compile(
    r"context.{0,12}(length|window|size)|maximum context|prompt is too long|too many tokens|"
    r"input is too long|exceeds? the available context|input token count",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content.?(policy|filter|management)|safety (system|filter)|responsible.?ai", re.IGNORECASE
)
_NO_MONEY = re.compile(r"insufficient_quota|credit balance|billing", re.IGNORECASE)
_SECRET = re.compile(
    r"(?i:bearer\s+)[\w.~+/=-]{6,}|\b(?:sk|xai|hf|gsk|rk)[-_][\w-]{6,}|\bAIza[\w-]{8,}|\bya29\.[\w-]+"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\s]+")


def from_status(
    status: int,
    body: bytes | str,
    *,
    provider: str,
    model: str = "",
    retry_after: float | None = None,
    conflict_is_retryable: bool = False,
    secret: str = "",
) -> ModelError:
    """Return the error for an HTTP status of a provider.

    Args:
        status: 300 to 599.
        body: what came with it; a sanitised excerpt of at most 300 characters is kept.
        model: for the message.
        retry_after: seconds that the provider asks to wait.
        conflict_is_retryable: whether 409 means "try again".
        secret: the key in use, removed wherever it appears.
    """
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    kind, fix = _meaning(status, text, conflict_is_retryable)
    excerpt = sanitised(_said(text), secret)
    subject = f"{provider}/{model}" if model else provider
    said = f": {excerpt}" if excerpt else ""
    return kind(
        f"{subject} answered {status}{said}; {fix}",
        provider=provider,
        status=status,
        retry_after=retry_after,
    )


def _meaning(status: int, text: str, conflict_is_retryable: bool) -> tuple[type[ModelError], str]:
    match status:
        case 401 | 403:
            return ModelAuthFailed, "check the provider's key and what it is allowed to use"
        case 402:
            return ModelAuthFailed, "the account cannot pay; add credit or use another provider"
        case 404:
            return ModelNotFound, "check the model's name and the base URL"
        case 429 if _NO_MONEY.search(text):
            return ModelAuthFailed, "the account's quota is used up; add credit or raise it"
        case 429:
            return RateLimited, "send fewer requests at once, or raise the account's rate limit"
        case 408 | 504:
            return ModelTimeout, "try again, or ask for a shorter answer with max_tokens"
        case 409 if conflict_is_retryable:
            return ModelUnavailable, "try again"
        case 501:
            return UnsupportedByModel, "use a model that can do this"
        case _ if status >= 500:
            return ModelUnavailable, "try again later, or use another provider"
        case _ if status < 400:
            return BadModelRequest, "redirects are not followed; set the base URL to its target"
        case _ if _TOO_LONG.search(text):
            return ContextTooLong, "shorten the prompt, or use a model with a larger context"
        case _ if _REFUSED.search(text):
            return ContentRefused, "the provider's content policy refuses this; change the prompt"
        case _:
            return BadModelRequest, "change the request; the same one will fail again"


class _Error(msgspec.Struct):
    message: str | None = None
    code: Any = None
    type: Any = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    detail: Any = None


_error_body = msgspec.json.Decoder(_ErrorBody | list[_ErrorBody])


def _said(text: str) -> str:
    """Return the sentence in an error body, or the body itself when it has no known shape."""
    try:
        body = _error_body.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return text
    if isinstance(body, list):
        body = body[0] if body else _ErrorBody()
    error = body.error
    if isinstance(error, _Error) and error.message:
        code = error.code if isinstance(error.code, str) else error.type
        return f"{error.message} ({code})" if isinstance(code, str) else error.message
    if isinstance(error, str):
        return error
    return body.message or text


def sanitised(text: str, secret: str = "") -> str:
    """Return at most 300 characters of one line, without control characters and without keys."""
    text = _CONTROL.sub(" ", text[: 20 * EXCERPT_CHARS]).strip()
    if len(secret) >= _KEY_CHARS:
        text = text.replace(secret, "***")
    text = _SECRET.sub("***", text)
    return text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer's headers (names in any case) ask to wait, or None."""
    found = {name.lower(): value for name, value in headers.items()}
    if milliseconds := _seconds(found.get("retry-after-ms", "")):
        return milliseconds / 1000
    value = found.get("retry-after", "")
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - clock.now())


def _seconds(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip()) else None

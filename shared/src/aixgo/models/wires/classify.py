"""What a provider's failure means: one table from status, code and text to the error tree."""

from __future__ import annotations

import re
from typing import Any

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
from aixgo.models.wires.reading import Unreadable, loads, record, string, well_formed
from aixgo.web.secrets import NOTHING, Secrets

EXCERPT_CHARS = 300
"""Of a provider's body in an error: enough for its sentence, too little for a prompt."""

UNKNOWN_STATUS = 500
"""Of an error that says nothing about itself: it may pass."""

_TOO_LONG = re.compile(
    r"context.{0,12}(length|window|size)|maximum context|prompt is too long|too many tokens|"
    r"input is too long|exceeds? the available context|input token count",
    re.IGNORECASE,
)
_SURELY_TOO_LONG = re.compile(
    r"context_length_exceeded|context_window_exceeded|exceed_context_size|prompt is too long|"
    r"exceeds? the (available|maximum) context|maximum context length|"
    r"(exceed|larger|longer|greater).{0,40}context (length|window|size)",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content.?(policy|filter|management)|safety (system|filter)|responsible.?ai", re.IGNORECASE
)
_NO_MONEY = re.compile(r"insufficient_quota|credit balance|billing", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\s]+")

_CODES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), status)
    for pattern, status in (
        (r"context_(length|window|size)|too_long|string_above_max", 400),
        (r"insufficient_(quota|balance|credit|fund)|billing|payment", 402),
        (r"rate_?limit|too_many_requests|throttl|resource_?exhausted|quota", 429),
        (r"api_?key|authenticat|unauthori[sz]ed|invalid_auth", 401),
        (r"permission|forbidden|access_denied", 403),
        (r"not_?found|no_such_model|unknown_model", 404),
        (r"content_(filter|policy)|safety|moderation|inspection_failed", 400),
        (r"time_?d?_?out|deadline", 504),
        (r"overload|unavailable|capacity|service_busy|server_busy", 503),
        (r"not_?implemented", 501),
        (r"invalid|bad_?request|unprocessable|unsupported|argument|validation|exceed", 400),
        (r"server_error|internal|api_error", 500),
    )
)
"""From words in `code`, `type` or `status` of an error to the status that they stand for."""

_TEXTS: tuple[tuple[re.Pattern[str], int], ...] = (
    (_SURELY_TOO_LONG, 400),
    (_REFUSED, 400),
    (re.compile(r"rate limit|too many requests", re.IGNORECASE), 429),
)


def from_status(
    status: int,
    body: bytes | str,
    *,
    provider: str,
    model: str = "",
    retry_after: float | None = None,
    conflict_is_retryable: bool = False,
    secrets: Secrets = NOTHING,
) -> ModelError:
    """Return the error for an HTTP status of a provider.

    Args:
        status: 300 to 599.
        body: what came with it; a sanitised excerpt of at most 300 characters is kept.
        model: for the message.
        retry_after: seconds that the provider asks to wait.
        conflict_is_retryable: whether 409 means "try again".
        secrets: keys and headers in use, removed wherever they appear.
    """
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    kind, fix = _meaning(status, text, conflict_is_retryable)
    excerpt = sanitised(_said(text), secrets)
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
        case _ if _SURELY_TOO_LONG.search(text) or (400 <= status < 500 and _TOO_LONG.search(text)):
            return ContextTooLong, "shorten the prompt, or use a model with a larger context"
        case _ if status >= 500:
            return ModelUnavailable, "try again later, or use another provider"
        case _ if status < 400:
            return BadModelRequest, "redirects are not followed; set the base URL to its target"
        case _ if _REFUSED.search(text):
            return ContentRefused, "the provider's content policy refuses this; change the prompt"
        case _:
            return BadModelRequest, "change the request; the same one will fail again"


def status_of(error: Any) -> int:
    """Return the HTTP status that an error inside an answer stands for; 500 when it says nothing.

    Numbers count first, also as text, then words of limits, keys and models, then the sentence.
    """
    fields = record(error)
    said = [fields.get(name) for name in ("code", "status_code", "http_code", "status", "type")]
    for value in said:
        digits = str(value) if type(value) in (int, str) else ""
        if re.fullmatch(r"[45]\d\d", digits.strip(), re.ASCII):
            return int(digits)
    words = [re.sub(r"[\s-]+", "_", value.strip().lower()) for value in map(string, said)]
    for word in words:
        for pattern, status in _CODES:
            if word and pattern.search(word):
                return status
    text = string(error) or string(fields.get("message")) or str(fields.get("detail") or "")
    return next((status for pattern, status in _TEXTS if pattern.search(text)), UNKNOWN_STATUS)


def _said(text: str) -> str:
    """Return the sentence in an error body, or the body itself when it has no known shape."""
    try:
        body = loads(text.encode())
    except (Unreadable, UnicodeError):
        return text
    if isinstance(body, list):
        body = body[0] if body else {}
    fields = record(body)
    error = fields.get("error")
    if isinstance(error, str) and error:
        return error
    for place in (record(error), fields):
        if message := string(place.get("message")):
            code = string(place.get("code")) or string(place.get("type"))
            return f"{message} ({code})" if code and place is not fields else message
    return text


def sanitised(text: str, secrets: Secrets = NOTHING) -> str:
    """Return at most 300 characters of one line, without control characters and without keys."""
    text = _CONTROL.sub(" ", text[: 20 * EXCERPT_CHARS]).strip()
    text = secrets.clean(well_formed(text))
    return text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"

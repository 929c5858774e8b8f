"""The base of every error, and the stable name of any exception."""

from __future__ import annotations

from typing import ClassVar


class AixgoError(Exception):
    """Base of every error; the message says what, the value, the limit with its unit, the fix."""

    code: ClassVar[str] = "error"
    retryable: bool = False


def _subclasses(cls: type[AixgoError]) -> list[type[AixgoError]]:
    found = [cls]
    for child in cls.__subclasses__():
        found += _subclasses(child)
    return found


def by_code() -> dict[str, type[AixgoError]]:
    """Return every error class of Aixgo by its `code`, for `retry_on` and for documentation."""
    return {cls.code: cls for cls in _subclasses(AixgoError)}


def code_of(error: BaseException) -> str:
    """Return the stable name of any exception: its `code`, or the class name of a foreign one."""
    if isinstance(error, AixgoError):
        return error.code
    if isinstance(error, TimeoutError):
        return "timeout"
    return type(error).__name__


def text_of(error: BaseException) -> str:
    """Return the text of any exception, whatever its class does; a group says what is in it."""
    try:
        text = str(error)
    except BaseException as failed:  # noqa: BLE001 - of any class: its error is part of the text
        text = f"{type(error).__name__}, whose text raises {type(failed).__name__}"
    if isinstance(error, BaseExceptionGroup):
        inside = "; ".join(f"{code_of(one)}: {text_of(one)}" for one in error.exceptions[:8])
        text = f"{text}: {inside}"
    return sendable(text or type(error).__name__)


def cut(text: str, most: int) -> str:
    """Return the first `most` characters of a text, and how many more there were."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text) - most:,} characters more)"


def sendable(text: str) -> str:
    """Return text that is UTF-8: half a surrogate pair is written as an escape."""
    return text.encode(errors="backslashreplace").decode()

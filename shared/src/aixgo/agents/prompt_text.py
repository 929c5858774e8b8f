"""The text that a model is given from a message, checked before anything is paid for."""

from __future__ import annotations

import re

from aixgo.errors import InvalidPayload
from aixgo.message import Message

__all__ = ["MAX_CHARS", "model_text"]

MAX_CHARS = 100_000
"""About 25 000 tokens: what fits the context of today's models with room for an answer."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def model_text(message: Message, *, max_chars: int = MAX_CHARS) -> str:
    """Return the payload for a prompt: its text, or the JSON of anything that is not text.

    Args:
        max_chars: longest text, in characters.

    Raises:
        InvalidPayload: it is empty, longer than that, or has NUL or other control characters (tab,
            line feed and carriage return are allowed). Final: the same message fails again.
    """
    return checked_text(message.text, message.source or "a client", max_chars=max_chars)


def checked_text(text: str, sender: str, *, max_chars: int = MAX_CHARS) -> str:
    """Return a text that a model may be given.

    Args:
        sender: from whom it is, in errors.
        max_chars: longest text, in characters.

    Raises:
        InvalidPayload: as `model_text` says.
    """
    if not text.strip():
        raise InvalidPayload(
            f"message from {sender!r} is empty: there is nothing to ask the model; send some text"
        )
    if len(text) > max_chars:
        raise InvalidPayload(
            f"message from {sender!r} has {len(text):,} characters, over the {max_chars:,} "
            "characters that an agent sends to a model; send a shorter text, or split it"
        )
    found = _CONTROL.search(text)
    if found is not None:
        raise InvalidPayload(
            f"message from {sender!r} has the control character U+{ord(found[0]):04X} at "
            f"character {found.start():,}; remove control characters (tab and line breaks may stay)"
        )
    return text

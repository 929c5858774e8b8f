"""Names and values of headers that can be sent."""

from __future__ import annotations

import re

from aixgo.errors import ConfigError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header_name(name: str, what: str) -> str:
    """Return the name of a header without the blanks around it.

    Args:
        what: the header is, in errors.

    Raises:
        ConfigError: no header can have that name.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what}: that is not the name of a header; write letters and '-'")
    return name


def sendable_value(value: str, what: str) -> str:
    """Return the value of a header without the blanks and line ends that files leave around it.

    Raises:
        ConfigError: it cannot be sent; it is named and not shown.
    """
    value = value.strip()
    if not value.isprintable() or not value.isascii():
        raise ConfigError(
            f"{what} has a control character or one beyond ASCII inside ({len(value)} characters); "
            "copy it again, without line breaks"
        )
    return value

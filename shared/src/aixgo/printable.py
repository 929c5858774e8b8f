"""Text that cannot steer a terminal: what agents, models and callers wrote is shown, not obeyed."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction in which text is shown
    "\u2028\u2029"  # line ends that a line-based reader does not expect
    "\ud800-\udfff]"  # half characters, which no output encoding takes
)


def printable(text: str) -> str:
    r"""Return text with every control character and bidi control shown as an escape, `\x1b`.

    Tab and line feed stay, and a carriage return before a line feed goes.
    """
    return _STEERING.sub(_shown, text.replace("\r\n", "\n"))


def printable_json(text: str) -> str:
    r"""Return a JSON text that means the same and steers nothing: such characters as `\u001b`."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _shown(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"

"""Where words go: the one place of the command line that writes to stdout and stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from aixgo.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.text import Text

_encode = msgspec.json.Encoder(enc_hook=str).encode

_own: TextIO | None = None
"""Where results go while `sys.stdout` is lent to the code of agents."""


def write(line: str = "", *, end: str = "\n") -> None:
    """Write to stdout at once; nothing in the text can steer a terminal."""
    _put(_own or sys.stdout, printable(line) + end)


def write_json(value: Any) -> None:
    """Write a JSON value as one line of stdout."""
    _put(_own or sys.stdout, printable_json(_encode(value).decode()) + "\n")


def note(line: str) -> None:
    """Write a line to stderr: what people should know and programs should not read."""
    _put(sys.stderr, printable(line) + "\n")


def coloured(prefix: str, colour: str, line: str) -> None:
    """Write a line to stderr that begins with a coloured part.

    The line itself is written as it is: its formatter made it safe, and may have coloured it.
    """
    shown = f"\x1b[{colour}m{printable(prefix)}\x1b[0m" if colour else printable(prefix)
    _put(sys.stderr, f"{shown} {line}\n")


def styled(text: str, style: str = "") -> Text:
    """Return text for rich that cannot steer a terminal."""
    from rich.text import Text

    return Text(printable(text), style)


def one_line(text: str, width: int = 72) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def is_terminal() -> bool:
    """Whether a person reads stdout as it is written."""
    return sys.stdout.isatty()


@contextmanager
def results_alone() -> Generator[None, None, None]:
    """Keep stdout for results: what agents and their libraries print goes to stderr meanwhile.

    Programs that agents start inherit it so, because the descriptor itself is exchanged.
    """
    global _own
    lent, descriptor = sys.stdout, _descriptor(sys.stdout)
    if descriptor is None:
        _own, sys.stdout = lent, sys.stderr
        try:
            yield
        finally:
            _own, sys.stdout = None, lent
        return
    lent.flush()
    with os.fdopen(os.dup(descriptor), "w", encoding=lent.encoding, errors=lent.errors) as own:
        os.dup2(2, descriptor)
        _own = own
        try:
            yield
        finally:
            _own = None
            lent.flush()
            own.flush()
            os.dup2(own.fileno(), descriptor)


def _descriptor(stream: TextIO) -> int | None:
    """Return 1 when the stream is the process's own standard output, else None."""
    try:
        return 1 if stream.fileno() == 1 else None
    except (OSError, ValueError, AttributeError):
        return None


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal or a file of an old encoding
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()

"""`--input`: a text, a file, a folder of files, or lines of stdin."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aixgo.errors import ConfigError

MAX_BYTES = 8 * 1024 * 1024
"""Largest input: far beyond what any model reads, and still kept in memory at ease."""

LINES_AHEAD = 100
"""Lines of stdin that are read before they are needed."""

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """One message: where it is from, and its text."""

    name: str
    text: str


class Inputs:
    """The messages that `--input` names, in order; each option is checked at once.

    Args:
        given: `-` is stdin, a message per line; `@file` one message; `@folder` a message for each
            file in it, sorted by name, hidden ones left out; anything else is the text itself.

    Raises:
        ConfigError: a file or folder is missing, empty, too large or no text.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._waiting: list[Input | None] = []
        for value in given:
            if value == STDIN:
                self._waiting.append(None)
            elif value.startswith("@"):
                self._waiting.extend(_files(Path(value[1:])))
            else:
                self._waiting.append(_checked("input", value))
        self._lines: _StdinLines | None = None

    @property
    def several(self) -> bool:
        """Whether there may be more than one message."""
        return len(self._waiting) != 1 or self._waiting[0] is None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Input:
        """Return the next message.

        Raises:
            ConfigError: a line of stdin is too long.
        """
        while self._waiting:
            if self._waiting[0] is not None:
                return self._waiting.pop(0)  # type: ignore[return-value]  # it is not None
            if self._lines is None:
                self._lines = _StdinLines()
            line = await self._lines.next()
            if line is not None:
                return line
            self._waiting.pop(0)
        raise StopAsyncIteration


def _files(path: Path) -> Iterator[Input]:
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".")
        if not files:
            raise ConfigError(f"--input @{path}: the folder has no files; put a message into it")
        for file in files:
            yield _file(file)
    else:
        yield _file(path)


def _file(path: Path) -> Input:
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"--input @{path}: cannot be read: {error.strerror or error}; check the path"
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"--input @{path}: is over {MAX_BYTES:,} bytes; split it")
    try:
        return _checked(path.name, data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"--input @{path}: is no UTF-8 text; save it as UTF-8") from None


def _checked(name: str, text: str) -> Input:
    if not text.strip():
        raise ConfigError(f"--input: {name} is empty; give a message")
    return Input(name, text.strip())


class _StdinLines:
    """Lines of stdin, read by a thread that no exit waits for: a terminal may never send one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Input | ConfigError | None] = asyncio.Queue(LINES_AHEAD)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="stdin", daemon=True).start()

    async def next(self) -> Input | None:
        """Return the next line that is not blank; None at the end."""
        found = await self._queue.get()
        if isinstance(found, ConfigError):
            raise found
        return found

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        for number, line in enumerate(_lines(0), 1):
            if len(line) > MAX_BYTES:
                self._put(loop, ConfigError(f"line {number} of stdin is over {MAX_BYTES:,} bytes"))
                return
            text = line.decode("utf-8", errors="replace").strip()
            if text and not self._put(loop, Input(f"line {number}", text)):
                return
        self._put(loop, None)

    def _put(self, loop: asyncio.AbstractEventLoop, item: Input | ConfigError | None) -> bool:
        try:
            asyncio.run_coroutine_threadsafe(self._queue.put(item), loop).result()
        except (RuntimeError, asyncio.CancelledError):  # nobody reads any more
            return False
        return True


def _lines(descriptor: int) -> Iterator[bytes]:
    """Yield lines; one of more than `MAX_BYTES` is yielded as far as it was read, and is the last.

    Not `sys.stdin`, whose lock a waiting thread would hold when the process exits.
    """
    rest = b""
    while chunk := os.read(descriptor, 65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > MAX_BYTES:
            break
    if rest:
        yield rest

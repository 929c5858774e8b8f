"""Lines of stdin, read by a thread that no exit waits for: a terminal may never send one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

from aixgo.cli._data import LineDecoder
from aixgo.errors import ConfigError

LINES_AHEAD = 100
"""Lines that are read before they are needed."""


class StdinLines:
    """The lines of stdin, in order; the process has one reader of it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | ConfigError | None] = asyncio.Queue(LINES_AHEAD)
        self._over = False
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="stdin", daemon=True).start()

    async def next(self) -> str | None:
        """Return the next line, without spaces around it; None at the end.

        Raises:
            ConfigError: it is not text, or too long.
        """
        if self._over:
            return None
        found = await self._queue.get()
        self._over = not isinstance(found, str)
        if isinstance(found, ConfigError):
            raise found
        return found

    def forget_waiting(self) -> None:
        """Drop the lines that came before anything was asked."""
        while not self._queue.empty() and not self._over:
            self._over = not isinstance(self._queue.get_nowait(), str)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for line in _lines(0):
                if not self._put(loop, line.strip()):
                    return
        except ConfigError as error:
            self._put(loop, error)
        except OSError as error:  # closed, or a terminal that is gone
            self._put(loop, ConfigError(f"stdin cannot be read: {error.strerror or error}"))
        self._put(loop, None)

    def _put(self, loop: asyncio.AbstractEventLoop, item: str | ConfigError | None) -> bool:
        try:
            asyncio.run_coroutine_threadsafe(self._queue.put(item), loop).result()
        except (RuntimeError, asyncio.CancelledError):  # nothing reads from now on
            return False
        return True


def _lines(descriptor: int) -> Iterator[str]:
    """Yield lines as they come.

    Not from `sys.stdin`, whose lock a waiting thread would hold when the process exits.

    Raises:
        ConfigError: the bytes are not text, or a line is too long.
        OSError: it cannot be read.
    """
    decoder = LineDecoder("stdin")
    while chunk := os.read(descriptor, 65_536):
        yield from decoder.feed(chunk)
    yield from decoder.feed(b"", final=True)

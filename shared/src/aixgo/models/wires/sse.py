"""Server-sent events: bytes in, events out, however the network cuts them.

Source: WHATWG HTML, section 9.2.6. Beyond the standard, an event at the end of the stream without
its empty line is handed on (marked), and so is a line `error: …`, which llama.cpp sends.
"""

from __future__ import annotations

from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
"""Of UTF-8; some servers begin with it."""

_STRAY_BYTES = 300


class Event(NamedTuple):
    """An event of a stream.

    Attributes:
        data: its lines of data, joined with newlines.
        name: its type; empty where the server sends none.
        whole: False when the stream ended inside it.
    """

    data: bytes
    name: str = ""
    whole: bool = True


class SseParser:
    """Takes a stream in pieces of any size; the work grows with its length, not with their number.

    Attributes:
        stray: beginning of the first line that is not part of the format, for error messages.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._name = ""
        self._at_start = True
        self._after_cr = False
        self._ready: list[Event] = []
        self.stray = b""

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that a piece completes."""
        if self._after_cr:
            # the carriage return before has ended its line already
            self._after_cr = not piece
            piece = piece.removeprefix(b"\n")
        if b"\n" not in piece and b"\r" not in piece:
            if piece:
                self._line.append(piece)
            return []
        if self._line:
            self._line.append(piece)
            piece = b"".join(self._line)
            self._line.clear()
        lines = piece.splitlines()
        self._after_cr = piece.endswith(b"\r")
        if not piece.endswith((b"\n", b"\r")):
            self._line.append(lines.pop())
        self._take(lines)
        return self._taken()

    def end(self) -> list[Event]:
        """Return what was still open when the stream ended."""
        if self._line:
            line = b"".join(self._line)
            self._line.clear()
            self._take([line])
        self._dispatch(whole=False)
        return self._taken()

    def _taken(self) -> list[Event]:
        ready, self._ready = self._ready, []
        return ready

    def _take(self, lines: list[bytes]) -> None:
        if self._at_start and lines:
            self._at_start = False
            lines[0] = lines[0].removeprefix(BOM)
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):  # as nearly every line that is not empty
                data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
            elif line:
                self._take_other(line)
            else:
                self._dispatch(whole=True)

    def _take_other(self, line: bytes) -> None:
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value.decode("utf-8", "replace").strip()
            case b"" | b"id" | b"retry":  # comments, and what only a client that reconnects needs
                pass
            case b"error" if colon:
                self._dispatch(whole=True)
                self._ready.append(Event(value, "error"))
            case _:
                self.stray = self.stray or line[:_STRAY_BYTES]

    def _dispatch(self, *, whole: bool) -> None:
        lines = self._data
        if lines:
            data = lines[0] if len(lines) == 1 else b"\n".join(lines)
            if data.strip():
                self._ready.append(Event(data, self._name, whole))
            lines.clear()
        self._name = ""

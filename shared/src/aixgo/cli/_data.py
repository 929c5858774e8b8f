"""Text and JSON that options, files and stdin give, whatever encoding says what it is."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aixgo.errors import ConfigError

MAX_BYTES = 8 * 1024 * 1024
"""Largest input: far beyond what any model reads, and still kept in memory at ease."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
"""Byte order mark → encoding."""

_LONGEST_MARK = 4


def encoding_of(beginning: bytes) -> tuple[str, int]:
    """Return the encoding that a byte order mark names, else UTF-8; and the length of the mark."""
    for mark, name in _MARKS:
        if beginning.startswith(mark):
            return name, len(mark)
    return "utf-8", 0


def mark_may_follow(beginning: bytes) -> bool:
    """Whether more bytes are needed to know if this begins with a byte order mark."""
    return len(beginning) < _LONGEST_MARK and any(
        mark.startswith(beginning) for mark, _ in _MARKS if len(mark) > len(beginning)
    )


def text_in(data: bytes, where: str) -> str:
    """Return the text in UTF-8, or in the encoding that its byte order mark names.

    Raises:
        ConfigError: it is none; names `where`, the byte and its offset.
    """
    encoding, length = encoding_of(data)
    try:
        return data[length:].decode(encoding)
    except UnicodeDecodeError as error:
        raise not_text(where, encoding, error.object[error.start], length + error.start) from None


def not_text(where: str, encoding: str, byte: int, offset: int) -> ConfigError:
    """Return the error about bytes that are not text."""
    name = encoding.upper()
    fix = "save it as UTF-8" if name == "UTF-8" else f"its byte order mark says {name}"
    return ConfigError(
        f"{where} is not {name[:6].rstrip('-')} text: byte 0x{byte:02x} at offset {offset:,}; {fix}"
    )


def read_file(path: Path, where: str) -> bytes:
    """Return what is in a file.

    Raises:
        ConfigError: it cannot be read, or has over `MAX_BYTES`.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{where}: cannot be read: {error.strerror or error}; check the path"
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where}: is over {MAX_BYTES:,} bytes; split it")
    return data


def text_of(given: str, option: str) -> str:
    """Return the text of an option, or the one that the file behind its `@` has.

    Raises:
        ConfigError: the file cannot be read, or is not text.
    """
    if given.startswith("@"):
        where = f"{option} {given}"
        return text_in(read_file(Path(given[1:]), where), where)
    check_text(given, option)
    return given


def check_text(given: str, option: str) -> None:
    """Refuse an argument whose bytes were not text.

    Raises:
        ConfigError: names the byte and its offset.
    """
    try:
        given.encode()
    except UnicodeEncodeError:
        text_in(given.encode("utf-8", "surrogateescape"), option)


def json_text(given: str, option: str = "--data") -> bytes:
    """Return the JSON text of an option, or the one that the file behind its `@` has.

    Raises:
        ConfigError: the file cannot be read, or it is not JSON.
    """
    text = text_of(given, option).encode()
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(
            f"{option} is not JSON: {error}; text needs its quotes, such as '\"hello\"'"
        ) from None
    return text


def json_value(given: str, option: str = "--data") -> Any:
    """Return the value of `json_text`."""
    return msgspec.json.decode(json_text(given, option))


class LineDecoder:
    """Lines of text from bytes that come in pieces; a byte order mark at the beginning is not text.

    Args:
        where: the bytes are from, for errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._beginning = b""
        self._encoding = ""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._taken = 0
        """Bytes before those that the next piece has."""
        self._rest = ""

    def feed(self, piece: bytes, *, final: bool = False) -> Iterator[str]:
        """Yield the lines that are whole now; with `final` the unfinished one too.

        Raises:
            ConfigError: the bytes are not text, or a line is longer than `MAX_BYTES`; what came
                before was yielded.
        """
        if self._decoder is None:
            piece = self._beginning + piece
            if not final and (not piece or mark_may_follow(piece)):
                self._beginning = piece
                return
            self._encoding, length = encoding_of(piece)
            self._decoder = codecs.getincrementaldecoder(self._encoding)()
            piece, self._taken = piece[length:], length
        wrong: ConfigError | None = None
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            offset = self._taken - pending + error.start
            wrong = not_text(self._where, self._encoding, error.object[error.start], offset)
            text = error.object[: error.start].decode(self._encoding)
        self._taken += len(piece)
        *lines, self._rest = (self._rest + text).split("\n")
        yield from lines
        if wrong is not None:
            raise wrong
        if len(self._rest) > MAX_BYTES:
            raise ConfigError(f"{self._where} has a line of over {MAX_BYTES:,} bytes; split it")
        if final and self._rest:
            yield self._rest

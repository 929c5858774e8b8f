"""What is sent: texts, files, folders of files, lines of stdin, or a JSON value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from aixgo.cli._data import check_text, json_value, read_file, text_in
from aixgo.cli._stdin import StdinLines
from aixgo.errors import ConfigError

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """One message: where it is from, and its text or JSON value."""

    name: str
    data: Any

    @property
    def shown(self) -> str:
        """The message for people."""
        if isinstance(self.data, str):
            return self.data
        return msgspec.json.encode(self.data).decode()


class Inputs:
    """The messages that options name, in order; each option is checked at once.

    Args:
        given: `-` is stdin, a message per line; `@file` one message; `@folder` a message for each
            file in it, sorted by name, hidden ones left out; anything else is the text itself.
        data: a JSON value, or `@file` with one; instead of all others.
        option: that gave the texts, for errors.

    Raises:
        ConfigError: a file or folder is missing, empty, too large or not text; `data` is not JSON;
            both or neither are given.
    """

    def __init__(self, given: Sequence[str], data: str = "", *, option: str = "--input") -> None:
        if bool(given) == bool(data):
            raise ConfigError(f"give the message either as {option} or as --data JSON")
        self._option = option
        self._waiting: list[Input | None] = []
        if data:
            self._waiting.append(Input("data", json_value(data)))
        for number, value in enumerate(given, 1):
            if value == STDIN:
                self._waiting.append(None)
            elif value.startswith("@"):
                self._waiting.extend(self._files(Path(value[1:])))
            else:
                check_text(value, option)
                name = "input" if len(given) == 1 else f"input {number}"
                self._waiting.append(
                    self._checked(name, value, option if len(given) == 1 else f"{option} {number}")
                )
        self.reads_stdin = None in self._waiting
        self._lines: StdinLines | None = None
        self._number = self._sent = 0

    @property
    def value(self) -> Input | None:
        """The JSON value, when it is one."""
        first = self._waiting[0] if self._waiting else None
        return first if first is not None and first.name == "data" else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Input:
        """Return the next message.

        Raises:
            ConfigError: stdin has no message, or what is not text, or too long a line.
        """
        while self._waiting:
            if self._waiting[0] is not None:
                return self._waiting.pop(0)  # type: ignore[return-value]  # it is not None
            line = await self._line()
            if line is not None:
                return line
            self._waiting.pop(0)
            if not self._sent:
                raise ConfigError(
                    f"{self._option} -: stdin has no message; write one into it, one per line"
                )
        raise StopAsyncIteration

    async def _line(self) -> Input | None:
        """Return the next line of stdin that is not blank; None at the end."""
        if self._lines is None:
            self._lines = StdinLines()
        while (text := await self._lines.next()) is not None:
            self._number += 1
            if text:
                self._sent += 1
                return Input(f"line {self._number}", text)
        return None

    def _files(self, path: Path) -> Iterator[Input]:
        if path.is_dir():
            try:
                found = [one for one in path.iterdir() if one.is_file() and one.name[0] != "."]
            except OSError as error:
                raise ConfigError(
                    f"{self._option} @{path}: cannot be read: {error.strerror or error}; check the "
                    "path"
                ) from None
            files = sorted(found)
            if not files:
                raise ConfigError(
                    f"{self._option} @{path}: the folder has no files; put a message into it"
                )
            for file in files:
                yield self._file(file)
        else:
            yield self._file(path)

    def _file(self, path: Path) -> Input:
        where = f"{self._option} @{path}"
        return self._checked(path.name, text_in(read_file(path, where), where), where)

    def _checked(self, name: str, text: str, where: str) -> Input:
        if not text.strip():
            raise ConfigError(f"{where} is empty; give a message")
        return Input(name, text.strip())

"""A file of lines: one writer, whole lines after a crash, rotated by size and time."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from aixgo.clock import now
from aixgo.config.agents import Options
from aixgo.config.sizes import Size
from aixgo_services.logger.lines import Format, Record
from aixgo_services.logger.sink import Entry, SinkUnavailable, Together, settle

log = logging.getLogger("aixgo.logger")

Period = Literal["never", "hourly", "daily"]

_PERIODS: dict[Period, str] = {"never": "", "hourly": "%Y%m%dT%H", "daily": "%Y%m%d"}
_MOST = 1_000
"""Lines of one write."""
_CHUNK = 64 * 1024


class FileOptions(Options):
    """A file that gets a line for each message."""

    path: str = Field(min_length=1)
    """Where it is; relative to the directory of the process. Its folder must exist. One process
    writes a file: another one that wants to waits."""
    format: Format = "json"
    """`json`: an object in each line; `text`: time, level, source, run and payload."""
    max_size: Size = 100 * 1024 * 1024
    """Size at which it is rotated: renamed, with the time behind its name; 0 for none."""
    rotate: Period = "never"
    """Rotated at the beginning of each hour or day, in UTC, as well."""
    keep: int = Field(default=10, ge=1, le=10_000)
    """Rotated files that are kept; older ones are deleted."""
    sync: bool = False
    """Wait until the disk has each line, so that a loss of power loses none; slower."""

    @field_validator("max_size")
    @classmethod
    def _holds_some_lines(cls, size: int) -> int:
        if 0 < size < 64 * 1024:
            raise ValueError(f"{size:,} bytes would be rotated all the time; give 64kB or more")
        return size

    @model_validator(mode="after")
    def _keeps_what_is_rotated(self) -> FileOptions:
        if "keep" in self.model_fields_set and not self.max_size and self.rotate == "never":
            raise ValueError("keep belongs to rotated files; give max_size or rotate as well")
        return self


class FileSink:
    """Writes records to a file (`Sink`)."""

    def __init__(self, agent: str, options: FileOptions) -> None:
        self._format = options.format
        self._file = RotatingFile(agent, options)
        self._together = Together(self._write, _MOST)

    async def put(self, record: Record) -> None:
        """See `Sink.put`.

        Raises:
            SinkUnavailable: the file cannot be written, or another process writes it.
        """
        await self._together.put(record)

    async def close(self) -> None:
        """See `Sink.close`."""
        await asyncio.to_thread(self._file.close)

    async def _write(self, batch: list[Entry]) -> None:
        lines = [getattr(entry.record, self._format)() + b"\n" for entry in batch]
        # a thread cannot be cancelled, and no other may write meanwhile
        writing = asyncio.ensure_future(
            asyncio.to_thread(self._file.write, lines, datetime.fromtimestamp(now(), UTC))
        )
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            if writing.exception() is None:
                settle(batch)
            raise
        settle(batch)


class RotatingFile:
    """The file, for one thread at a time.

    Lines are written whole or not at all: what a crash has left of one is cut off when the file is
    opened, and its message comes again.
    """

    def __init__(self, agent: str, options: FileOptions) -> None:
        self._agent, self._options = agent, options
        self.path = Path(options.path)
        self._lock = self._file = -1
        self._size, self._period = 0, ""

    def write(self, lines: list[bytes], moment: datetime) -> None:
        """Add lines, each with its line break.

        Raises:
            SinkUnavailable: they cannot be written; none of them is.
        """
        try:
            self._open(moment)
            data = b"".join(lines)
            period = moment.strftime(_PERIODS[self._options.rotate])
            limit = self._options.max_size
            if self._size and (period != self._period or 0 < limit < self._size + len(data)):
                self._rotate(moment)
            self._period = period
            self._append(data)
        except OSError as error:
            self.close()
            raise SinkUnavailable(
                f"agent {self._agent!r}: file {str(self.path)!r} cannot be written: "
                f"{error.strerror or error}; its messages wait and come again"
            ) from error

    def close(self) -> None:
        """Close the file and let another process write it."""
        for descriptor in (self._file, self._lock):
            if descriptor != -1:
                os.close(descriptor)
        self._file = self._lock = -1

    def _open(self, moment: datetime) -> None:
        """Open the file unless it is; also when another program has taken it away."""
        if self._file != -1:
            try:
                if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                    return
            except FileNotFoundError:
                pass
            os.close(self._file)
            self._file = -1
        if self._lock == -1:
            self._take_lock()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o640)
        found = os.fstat(self._file)
        self._size = self._mend(found.st_size)
        written = datetime.fromtimestamp(found.st_mtime, UTC) if self._size else moment
        self._period = written.strftime(_PERIODS[self._options.rotate])

    def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(f"{self.path}.lock", flags, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise SinkUnavailable(
                f"agent {self._agent!r}: another writer has {str(self.path)!r}; give each agent a "
                "file of its own, and run one instance of it"
            ) from None

    def _mend(self, size: int) -> int:
        """Cut off what is behind the last line break; returns the size that is left."""
        end = size
        while end > 0:
            start = max(0, end - _CHUNK)
            chunk = os.pread(self._file, end - start, start)
            found = chunk.rfind(b"\n")
            if found != -1:
                end = start + found + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._file, end)
            log.warning(
                "logger.line_mended",
                extra={"agent": self._agent, "path": str(self.path), "cut_bytes": size - end},
            )
        return end

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if self._options.sync:
                os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _rotate(self, moment: datetime) -> None:
        stamp = f"{self.path}.{moment:%Y%m%dT%H%M%SZ}"
        target, number = stamp, 0
        while os.path.exists(target):
            number += 1
            target = f"{stamp}-{number:03}"
        os.rename(self.path, target)
        os.close(self._file)
        self._file = -1
        self._open(moment)
        name = re.compile(re.escape(self.path.name) + r"\.\d{8}T\d{6}Z(-\d{3,})?")
        rotated = sorted(one for one in self.path.parent.iterdir() if name.fullmatch(one.name))
        for old in rotated[: -self._options.keep]:
            old.unlink(missing_ok=True)

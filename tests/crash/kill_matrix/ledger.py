"""What every process writes down at once, so that it survives the process that wrote it.

One line an event: a process is `ready`; a delivery of a call was `taken`, its execution `began`, it
`ended`; and a boundary was `reached`, at which the process waits to be killed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

What = Literal["ready", "taken", "began", "ended", "reached"]


END = "."


@dataclass(frozen=True)
class Line:
    """An event: when and where it happened.

    Attributes:
        looked: when the worker asked whether the step has its result already.
        subject: of the step's result.
        detail: the boundary that was reached.
    """

    what: What
    moment: float
    pid: int
    looked: float
    subject: str
    detail: str = ""

    @property
    def run(self) -> str:
        """The run that the step belongs to."""
        return self.subject.split(".")[4]

    @property
    def agent(self) -> str:
        """The agent that executes."""
        return self.subject.split(".")[3]


class Ledger:
    """Appends lines to a file that many processes share."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._pid = os.getpid()

    def note(self, what: What, subject: str, *, looked: float = 0.0, detail: str = "") -> None:
        """Write a line with one system call, before what it tells of happens.

        A kill may tear it; then what it would have told of has not happened. So that it spoils no
        other line, each has a newline on both sides and ends with a mark.
        """
        line = f"{what}\t{time.time():.6f}\t{self._pid}\t{looked:.6f}\t{subject}\t{detail}"
        os.write(self._file, f"\n{line}\t{END}\n".encode())


class Reader:
    """Reads a ledger while it is written; each line once."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._path, self._read, self._rest = path, 0, b""
        self._lines: list[Line] = []

    def lines(self) -> list[Line]:
        """Return what is written up to now."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")  # the last one is still being written
        for text in whole:
            fields = text.decode().split("\t")
            if fields[-1] == END:
                what, moment, pid, looked, subject, detail, _ = fields
                self._lines.append(
                    Line(what, float(moment), int(pid), float(looked), subject, detail)  # type: ignore[arg-type]  # written above
                )
        return self._lines

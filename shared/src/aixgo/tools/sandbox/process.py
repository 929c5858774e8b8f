"""A process of its own for one request: started, watched, and ended with all that it started."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Longest value that a process may return."""

KEPT_BYTES = 4_000
"""Of what a process writes on its output: the end of it."""

_PIECE = 64 * 1024


@dataclass
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status; minus the number of the signal that ended it.
        answer: what it returned.
        said: the end of what it wrote on its output.
        too_long: whether it was ended because its answer was over `MAX_ANSWER_BYTES`.
    """

    status: int = 0
    answer: bytearray = field(default_factory=bytearray)
    said: bytearray = field(default_factory=bytearray)
    too_long: bool = False


class ChildProcess:
    """One process. `run` is for a thread of its own, `kill` for any."""

    def __init__(self, request: bytes) -> None:
        self._request = memoryview(request)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def pid(self) -> int:
        """Of the process, once it has been started; 0 before."""
        return 0 if self._process is None else self._process.pid

    def kill(self) -> None:
        """End the process and all that it started, now or as soon as it starts."""
        with self._lock:
            self._killed = True
            self._kill_group()

    def run(self) -> Ended:
        """Start the process, give it the request, and return how it ended.

        Raises:
            OSError: it cannot be started.
        """
        home = tempfile.mkdtemp(prefix="aixgo-sandbox-")
        try:
            return self._run(home)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _run(self, home: str) -> Ended:
        answers, answer_to = os.pipe()
        over, tell_over = os.pipe()
        try:
            with self._lock:
                process = self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-B",
                        "-u",
                        "-X",
                        "utf8",
                        os.fspath(CHILD),
                        str(answer_to),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                    env={"HOME": home, "TMPDIR": home},
                    pass_fds=(answer_to,),
                    start_new_session=True,
                )
                if self._killed:
                    self._kill_group()
            os.close(answer_to)
            answer_to = -1
            watcher = threading.Thread(
                target=_watch, args=(process, tell_over), name="aixgo-sandbox", daemon=True
            )
            watcher.start()
            try:
                ended = self._exchange(process, answers, over)
            finally:
                self.kill()
                watcher.join()
                with self._lock:
                    self._process = None
                    status = process.wait()
            ended.status = status
            return ended
        finally:
            for descriptor in (answers, answer_to, over, tell_over):
                if descriptor >= 0:
                    os.close(descriptor)

    def _exchange(self, process: subprocess.Popen[bytes], answers: int, over: int) -> Ended:
        """Write the request and read what comes, until the process is over."""
        assert process.stdin is not None
        assert process.stdout is not None
        ended = Ended()
        given, said = process.stdin.fileno(), process.stdout.fileno()
        with process.stdin, process.stdout, selectors.DefaultSelector() as selector:
            for descriptor in (given, said, answers, over):
                os.set_blocking(descriptor, False)
            selector.register(given, selectors.EVENT_WRITE)
            for descriptor in (said, answers, over):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if given in ready and not self._give(given):
                    selector.unregister(given)
                    process.stdin.close()
                    continue  # another pipe may get its number only after this round
                for descriptor in (said, answers):
                    if descriptor in ready and not self._take(descriptor, answers, ended):
                        selector.unregister(descriptor)
                if over in ready:
                    break
            # what it left in the pipes; what it started may hold them open, and is not waited for
            for descriptor in (said, answers):
                self._take(descriptor, answers, ended, to_the_end=True)
        return ended

    def _give(self, descriptor: int) -> bool:
        """Write a piece of the request; False when there is nothing more to write."""
        try:
            written = os.write(descriptor, self._request[:_PIECE])
        except BlockingIOError:
            return True
        except OSError:  # it reads no more
            return False
        self._request = self._request[written:]
        return bool(self._request)

    def _take(
        self, descriptor: int, answers: int, ended: Ended, *, to_the_end: bool = False
    ) -> bool:
        """Read what is there; False at its end."""
        while True:
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                return True
            if not piece:
                return False
            if descriptor != answers:
                ended.said += piece
                del ended.said[:-KEPT_BYTES]
            elif len(ended.answer) + len(piece) > MAX_ANSWER_BYTES:
                ended.too_long = True
                self.kill()
                return False
            else:
                ended.answer += piece
            if not to_the_end:
                return True

    def _kill_group(self) -> None:
        """Kill the process's group; the process itself is not reaped yet, so the id is its own."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], tell_over: int) -> None:
    """Wait for the end of a process and say so; where possible without freeing its id."""
    if hasattr(os, "waitid"):
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()
    with suppress(OSError):
        os.write(tell_over, b".")

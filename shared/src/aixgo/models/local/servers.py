"""The servers of local models that run on this machine for this user: list them, stop them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from aixgo.models.local.files import LocalFiles, ServerState, lock, runtime_directory

STOP_SECONDS = 10.0
"""From SIGTERM to the end of a server; it saves nothing, so it is quick."""

_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class LocalServer:
    """A server that runs.

    Attributes:
        model: as in `local/<model>`.
        in_use: a process holds its lease, so it does not end by itself.
        memory: bytes that it occupies; 0 where the system does not say.
    """

    model: str
    pid: int
    port: int
    in_use: bool
    memory: int


def local_servers() -> list[LocalServer]:
    """Return the servers that run now.

    Raises:
        ConfigError: the runtime directory cannot be used.
    """
    directory, found = runtime_directory(), []
    for note in sorted(directory.glob("local-*.json")):
        model = note.stem.removeprefix("local-")
        files = LocalFiles(directory, model)
        state = files.state()
        if state is not None and _runs(state):
            found.append(
                LocalServer(
                    model=model,
                    pid=state.pid,
                    port=state.port,
                    in_use=_in_use(files),
                    memory=_memory(state.pid),
                )
            )
    return found


def stop_local_server(model: str) -> bool:
    """End the server of a model; False when none runs. Who needs it next starts another one.

    Raises:
        ConfigError: the runtime directory cannot be used.
        TimeoutError: it did not end within `STOP_SECONDS`.
    """
    files = LocalFiles(runtime_directory(), model)
    state = files.state()
    if state is None or not _runs(state):
        return False
    os.kill(state.pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while _runs(state):
        if time.monotonic() > until:
            raise TimeoutError(f"process {state.pid} did not end within {STOP_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return True


def _runs(state: ServerState) -> bool:
    """Whether the process runs and is a server, not another one that got its number."""
    if not state.alive():
        return False
    try:
        command = Path(f"/proc/{state.pid}/cmdline").read_bytes()
    except OSError:  # not Linux: what was noted is believed
        return True
    return b"aixgo.models.local" in command


def _in_use(files: LocalFiles) -> bool:
    held = lock(files.path("lease"), shared=False)
    if held is None:
        return True
    os.close(held)
    return False


def _memory(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

"""The files by which the users of a local model and its server find each other."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import msgspec

from aixgo.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where the local model is refused with a sentence
    fcntl = None  # type: ignore[assignment]  # the module is optional, its use is guarded

_LOG_CHARS = 300


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """A server: its process, its port (0 until it listens) and the key that it demands."""

    pid: int
    port: int
    key: str

    def alive(self) -> bool:
        """Whether the process still runs; one that ended and was not waited for does not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not _is_zombie(self.pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process is dead but unburied, as it stays in a container without an init."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # not Linux, or gone in between
        return False
    return status.rpartition(b")")[2].split()[:1] == [b"Z"]


class LocalFiles:
    """The files of one local model in the runtime directory."""

    def __init__(self, directory: Path, model: str) -> None:
        self.directory = directory
        self._model = model

    @property
    def log(self) -> Path:
        """What the server wrote to its standard error."""
        return self.path("log")

    def path(self, kind: str) -> Path:
        """Return the file of a kind: `lease`, `start`, `json` or `log`."""
        return self.directory / f"local-{self._model}.{kind}"

    def state(self) -> ServerState | None:
        """Return the server that was noted last, or None."""
        try:
            return msgspec.json.decode(self.path("json").read_bytes(), type=ServerState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def note(self, state: ServerState) -> None:
        """Write down the server, readable by the user only, in one step."""
        draft = self.path(f"json.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(state))
        draft.replace(self.path("json"))

    def forget(self) -> None:
        """Remove the note."""
        self.path("json").unlink(missing_ok=True)

    def log_tail(self) -> str:
        """Return the end of the log in one line."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return " ".join(text[-_LOG_CHARS:].split()) or "(nothing)"


def runtime_directory() -> Path:
    """Return the user's directory for files of running processes, made if it is not there.

    Raises:
        ConfigError: it belongs to another user, or others may write to it.
    """
    if chosen := os.environ.get("AIXGO_RUNTIME_DIR"):
        directory = Path(chosen)
    elif xdg := os.environ.get("XDG_RUNTIME_DIR"):
        directory = Path(xdg) / "aixgo"
    else:
        directory = Path(tempfile.gettempdir()) / f"aixgo-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ConfigError(
            f"no runtime directory at {directory}: {error.strerror}; set AIXGO_RUNTIME_DIR to a "
            "directory that this user may write"
        ) from error
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not mine or found.st_mode & 0o022:
        raise ConfigError(
            f"runtime directory {directory} must belong to this user, and no other user may write "
            "to it (mode 0700); fix it, or set AIXGO_RUNTIME_DIR"
        )
    return directory


def lock(path: Path, *, shared: bool) -> int | None:
    """Return the descriptor of the locked file, or None when another process has locked it.

    Closing the descriptor, or the end of the process however it comes, unlocks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

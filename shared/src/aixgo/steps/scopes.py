"""Where steps get their paths: the handler itself, or one branch of a gather.

A path must be the same in every execution. Two branches that run at once take their steps in
whatever order they get the processor, so each counts for itself, below its own place.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from aixgo.errors import ConfigError

_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class Scope:
    """Hands out the paths below one place of a run.

    Attributes:
        owner: whose paths they are; another owner's branch means nothing to it.
        dropped: the branch's results are no longer wanted, so what it waits for is cancelled.
    """

    __slots__ = ("_base", "_counts", "_markers", "_used", "dropped", "owner")

    def __init__(self, owner: object, base: str) -> None:
        self.owner, self._base = owner, base
        self._counts: dict[str, int] = {}
        self._used: set[str] = set()
        self._markers: set[str] = set()
        self.dropped = False

    @property
    def used(self) -> bool:
        """Whether a path was handed out."""
        return bool(self._used)

    def path(self, name: str, key: str) -> str:
        """Return the path of the next step called `name`, or of the step named by `key`.

        Raises:
            ConfigError: the key is not allowed, or was used already.
        """
        if key:
            if not _KEY.fullmatch(key):
                raise ConfigError(
                    f"step key {key!r} is not allowed: 1 to 128 characters of A-Z, a-z, 0-9, "
                    "'_', '.', ':' and '-'"
                )
            part = key
        else:
            number = self._counts[name] = self._counts.get(name, 0) + 1
            part = str(number)
        path = f"{self._base}/{name}/{part}" if self._base else f"{name}/{part}"
        if path in self._used:
            raise ConfigError(f"the step {path!r} is used twice; give each step its own `key`")
        self._used.add(path)
        return path

    def marker(self, name: str, key: str) -> str:
        """Return the path of the step `name` named by `key`, which may be taken again.

        Raises:
            ConfigError: the key is not allowed, or another step has it.
        """
        path = f"{self._below}{name}/{key}"
        if path not in self._markers:
            path = self.path(name, key)
            self._markers.add(path)
        return path

    def is_marker(self, step: str, name: str) -> bool:
        """Whether a path is one that `marker` makes for this name."""
        return step.startswith(f"{self._below}{name}/")

    def is_untaken(self, step: str) -> bool:
        """Whether a step is below this place, but neither taken here nor part of one that was."""
        if not step or not step.startswith(self._below):
            return False
        end = len(step)
        while end > len(self._base):
            if step[:end] in self._used:
                return False
            end = step.rfind("/", 0, end)
        return True

    @property
    def _below(self) -> str:
        return f"{self._base}/" if self._base else ""


branch: ContextVar[Scope | None] = ContextVar("aixgo_branch", default=None)
"""The branch that the running task is, if it is one."""

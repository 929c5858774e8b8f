"""What is offered by name: what ships with Aixgo, and what installed packages add.

A package adds a role, a pattern or a model provider with one entry point: its group says the kind,
its name is the name that documents use, and it points to the class or row itself. Nothing is loaded
before it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from aixgo.errors import ConfigError, text_of

T = TypeVar("T")


class Installed(Mapping[str, T]):
    """The things of one kind by name: those that ship first, then the installed ones.

    A name that ships cannot be replaced by a package.

    Args:
        group: group of the entry points, such as `aixgo.roles`.
        kind: what one of them is called in errors, such as "role".
        wanted: what an entry point must point to, for errors; such as "a subclass of aixgo.Role".
        fits: whether what it points to is that.
        shipped: those that need no entry point.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        *,
        wanted: str,
        fits: Callable[[object], bool],
        shipped: Mapping[str, T] | None = None,
    ) -> None:
        self.group, self.kind = group, kind
        self._wanted, self._fits = wanted, fits
        self._shipped = dict(shipped or {})
        self._loaded: dict[str, T] = {}

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point.name not in self._shipped:
                found.setdefault(point.name, []).append(point)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self._shipped
        yield from sorted(self._points)

    def __len__(self) -> int:
        return len(self._shipped) + len(self._points)

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or name in self._points

    def __getitem__(self, name: str) -> T:
        """Return what the name stands for.

        Raises:
            KeyError: nothing has that name.
            ConfigError: a package offers it and is broken, or two packages offer it; says which.
        """
        if name in self._shipped:
            return self._shipped[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self._points[name])
        return self._loaded[name]

    def forget(self) -> None:
        """Look for installed packages again at the next question."""
        self.__dict__.pop("_points", None)
        self._loaded.clear()

    def _load(self, points: list[EntryPoint]) -> T:
        point = points[0]
        if len({one.value for one in points}) > 1:
            raise ConfigError(
                f"{self.kind} {point.name!r} is offered by {len(points)} packages "
                f"({', '.join(sorted(one.value for one in points))}); uninstall all but one"
            )
        try:
            found = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # of any class: it is the package's own code that ran
            raise ConfigError(
                f"{self.kind} {point.name!r} is installed ({point.value}) but cannot be loaded: "
                f"{type(error).__name__}: {text_of(error)}; reinstall its package"
            ) from error
        if not self._fits(found):
            raise ConfigError(
                f"{self.kind} {point.name!r} points to {point.value}, which is not {self._wanted}; "
                "fix the package's entry point"
            )
        return cast(T, found)

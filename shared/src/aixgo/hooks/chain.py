"""The hooks of one agent, ready to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from aixgo.config.hooks import Guard, HookSpecs, Point
from aixgo.errors import ConfigError
from aixgo.hooks.port import HookFunction, NamedHook

POINTS: tuple[Point, ...] = get_args(Point)


class WrongHook(ConfigError):
    """A hook cannot be built.

    Attributes:
        loc: its place below `hooks`: the point and the index.
    """

    def __init__(self, loc: tuple[str, int], text: str) -> None:
        self.loc = loc
        super().__init__(text)


class Hooks:
    """What an agent's hooks are, by point."""

    def __init__(self, at: Mapping[Point, tuple[NamedHook, ...]]) -> None:
        self._at = {point: hooks for point, hooks in at.items() if hooks}

    @staticmethod
    def of(specs: HookSpecs) -> Hooks:
        """Return the hooks that were declared.

        Raises:
            WrongHook: one of them cannot be built; says which.
        """
        found: dict[Point, tuple[NamedHook, ...]] = {}
        for point in POINTS:
            declared: tuple[Any, ...] = getattr(specs, point)
            found[point] = tuple(_named((point, index), one) for index, one in enumerate(declared))
        hooks = Hooks(found)
        return hooks if hooks else NO_HOOKS

    def __bool__(self) -> bool:
        return bool(self._at)

    def at(self, point: Point) -> tuple[NamedHook, ...]:
        """Return the hooks of a point, in order."""
        return self._at.get(point, ())

    @property
    def hold_back(self) -> bool:
        """Whether an answer may change after the model gave it: its tokens are not shown then."""
        return "after_model" in self._at or "after_agent" in self._at


NO_HOOKS = Hooks({})


def _named(loc: tuple[str, int], declared: Any) -> NamedHook:
    if not isinstance(declared, Guard):
        name = (
            f"{declared.__module__}:{declared.__qualname__}"
            if (hasattr(declared, "__qualname__"))
            else type(declared).__name__
        )
        return NamedHook(name=name, look=cast(HookFunction, declared))
    from aixgo.hooks.guards import guard  # and what guards need, only for who declares one

    try:
        return NamedHook(name=declared.guard, look=guard(declared), pure=True)
    except ConfigError as error:
        point, index = loc
        text = f"guard {index + 1} of `hooks.{point}`: {error}"
        raise WrongHook(loc, text) from error

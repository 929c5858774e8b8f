"""What is declared by name, for those who name it."""

from __future__ import annotations

from typing import TypeVar

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError

T = TypeVar("T")


class AlreadyTold(ConfigError):
    """What a declaration names is wrong itself, and that was found already."""


class Named(dict[str, T]):
    """Things that are declared by name.

    Args:
        what: one of them is called in errors, such as "tool".
        section: of the document that declares them.
        around: where a name is looked for that is not here.

    Attributes:
        used: names that were looked up.
        broken: names of what is declared and wrong.
    """

    def __init__(self, what: str, section: str, around: Named[T] | None = None) -> None:
        super().__init__()
        self._what, self._section, self._around = what, section, around
        self.used: set[str] = set()
        self.broken: set[str] = set()

    def find(self, name: str) -> T:
        """Return what has this name.

        Raises:
            AlreadyTold: it is declared, and wrong.
            ConfigError: nothing has it; names the nearest one.
        """
        if name in self:
            self.used.add(name)
            return self[name]
        if name in self.broken:
            raise AlreadyTold(f"the {self._what} {name!r} is declared, and wrong")
        if self._around is not None and self._around.has(name):
            return self._around.find(name)
        near = did_you_mean(name, self._known()) or (
            f"; declare it in `{self._section}:` of the document"
        )
        raise ConfigError(f"no {self._what} is named {name!r}{near}")

    def has(self, name: str) -> bool:
        """Whether something of that name is declared, wrong or not."""
        around = self._around is not None and self._around.has(name)
        return around or name in self or name in self.broken

    @property
    def unused(self) -> list[str]:
        """Names that nothing has looked up."""
        return [name for name in self if name not in self.used]

    def _known(self) -> set[str]:
        around = set() if self._around is None else self._around._known()
        return {*self, *self.broken} | around

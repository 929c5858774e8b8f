"""The extras of the package and whether what they bring is installed, as its metadata says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

PACKAGE = "aixgo"

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([^\]]*)\])?(?:\s*==\s*([^\s,;]+))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True)
class Extra:
    """An extra: what of it is installed, with versions, and what is missing or of another version.

    `others` are sentences.
    """

    name: str
    installed: tuple[str, ...]
    missing: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install '{PACKAGE}[{self.name}]'"


def extras() -> list[Extra]:
    """Return every extra that the installed package offers."""
    names = metadata(PACKAGE).get_all("Provides-Extra") or []
    return [_extra(name) for name in names]


def _extra(name: str) -> Extra:
    installed, missing, others = list[str](), list[str](), list[str]()
    for distribution, pinned in sorted(_brought(PACKAGE, name).items()):
        try:
            found = version(distribution)
        except PackageNotFoundError:
            missing.append(distribution)
            continue
        installed.append(f"{distribution} {found}")
        if pinned not in ("", found):
            others.append(f"{distribution} is {found}, and {pinned} is needed")
    return Extra(name, tuple(installed), tuple(missing), tuple(others))


def _brought(package: str, extra: str) -> dict[str, str]:
    """Return the distributions of an extra, with the version that is needed, if only one is."""
    found: dict[str, str] = {}
    try:
        lines = requires(package) or []
    except PackageNotFoundError:
        return found
    for line in lines:
        marker, requirement = _EXTRA.search(line), _REQUIREMENT.match(line)
        if marker is None or marker[1] != extra or requirement is None:
            continue
        distribution, below, pinned = requirement.groups()
        if distribution != package:
            found[distribution] = found.get(distribution) or pinned or ""
        for one in (below or "").split(","):
            if one.strip():
                found = _brought(distribution, one.strip()) | found
    return found

"""What goes wrong in a simulation: at random from a seed, or at one exact place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from aixgo.errors import ConfigError

Kind = Literal["crash", "outage", "disconnect", "drop", "duplicate", "delay", "slow_model"]
"""What can go wrong; the fields of `Faults` say what each is."""

Strikes = Literal["crash", "outage", "drop"]

BACK_SECONDS = 20.0
"""Longest time after which a process that died comes back."""

OUTAGE_SECONDS = 3.0
"""Longest time after which a server that died is back; questions to it wait up to 5 s."""

SLOW_SECONDS = 25.0
"""Longest answer of a slow model: two heartbeats of a delivery."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How likely each fault is, from 0 to 1, at each occasion for it.

    Attributes:
        crash: a process dies just before or just after an operation (with the broker, of a handler,
            of a model); it comes back up to 20 s later.
        drop: an answer of the broker, an acknowledgement or a live message is lost.
        duplicate: a message is delivered to a second process at once.
        delay: a message is delivered late, sometimes so late that another process has it by then.
        slow_model: a model takes up to 25 s.
        disconnect: a process is cut off at an operation and goes on working; it is connected again
            later, sometimes so late that others have taken over its work.
        outage: the broker dies at an operation and comes back up to 3 s later, without what it kept
            in memory only.
        until: virtual seconds after which nothing goes wrong, so that everything can finish.
    """

    crash: float = 0.02
    drop: float = 0.02
    duplicate: float = 0.02
    delay: float = 0.05
    slow_model: float = 0.1
    disconnect: float = 0.002
    outage: float = 0.002
    until: float = 90.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "until":
                if value < 0:
                    raise ConfigError(f"until is {value!r} s; it must be 0 s or more")
            elif not 0 <= value <= 1:
                raise ConfigError(
                    f"fault {field.name!r} is {value!r}; it is a probability, so it must be from 0 "
                    "to 1"
                )


NO_FAULTS = Faults(
    crash=0, drop=0, duplicate=0, delay=0, slow_model=0, disconnect=0, outage=0, until=0
)


@dataclass(frozen=True)
class At:
    """One fault at one exact place: the nth operation of a process, once.

    Attributes:
        process: its name, the agent's and a number, such as `writer.1`.
        operation: 1 for its first operation after the start of the system.
        after: when the operation is done, not before it.
        what: the process dies (`crash`), the broker does (`outage`), or the broker's next answers
            to a publication and to an acknowledgement are lost (`drop`).
    """

    process: str
    operation: int
    after: bool = False
    what: Strikes = "crash"


class Chaos(Protocol):
    """Decides what goes wrong; asked at each occasion."""

    chance: random.Random
    """For how long and how late; seeded."""

    def strikes(self, process: str, operation: int, *, after: bool, now: float) -> Kind | None:
        """Return what hits a process at an operation, if anything does."""
        ...

    def happens(self, kind: Kind, now: float) -> bool:
        """Return whether one of the smaller faults happens now."""
        ...


class RandomChaos:
    """Faults at random, all drawn from one seed."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults, self.chance = faults, random.Random(f"faults of seed {seed}")
        self._struck = faults.crash + faults.disconnect + faults.outage

    def strikes(self, process: str, operation: int, *, after: bool, now: float) -> Kind | None:
        """See `Chaos`; half of the strikes come before the operation, half after it."""
        faults = self._faults
        if not self._struck or now >= faults.until:
            return None
        drawn = self.chance.random() * 2
        for kind in ("crash", "disconnect", "outage"):
            drawn -= getattr(faults, kind)
            if drawn < 0:
                return kind
        return None

    def happens(self, kind: Kind, now: float) -> bool:
        """See `Chaos`."""
        rate: float = getattr(self._faults, kind)
        return rate > 0 and now < self._faults.until and self.chance.random() < rate


class ExactChaos:
    """Faults at exact places and nowhere else."""

    def __init__(self, places: Sequence[At], seed: int) -> None:
        self._places, self.chance = list(places), random.Random(f"faults of seed {seed}")

    def strikes(self, process: str, operation: int, *, after: bool, now: float) -> Kind | None:
        """See `Chaos`."""
        for place in self._places:
            if (place.process, place.operation, place.after) == (process, operation, after):
                self._places.remove(place)
                return place.what
        return None

    def happens(self, kind: Kind, now: float) -> bool:
        """See `Chaos`."""
        return False

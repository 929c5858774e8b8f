"""How long results are kept: the `retention:` section of a document."""

from __future__ import annotations

from pydantic import Field, model_validator

from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration

RESULTS_BYTES = 1024**3
"""Room for about 800,000 small results, or half a minute of 10,000 calls a second and more."""


KEEP_SECONDS, KEEP_IN_MEMORY_SECONDS = 86_400.0, 600.0
"""On a server a day, because people look that late; in the memory of a process only minutes: no
other process can look there, and one that calls a few agents a second must stay small."""


class Retention(Options):
    """How long the results of runs that are over are kept; those of other runs always are."""

    keep: PositiveDuration | None = None
    """Time for which they stay while there is room: to be asked for again, shown and forked.
    Without it `24h`, and `10m` on the memory broker."""
    keep_at_least: PositiveDuration = 30.0
    """Time for which they stay when room is short too; the oldest go first. Not below the time
    after which an unanswered call goes to another process."""
    max_bytes: int = Field(default=RESULTS_BYTES, ge=65_536)
    """Room for all results, in bytes; a server reserves it. Results of runs that are not over need
    room as well: when they take 85 % of it new runs are refused, and the rest is for those."""

    @model_validator(mode="after")
    def _ordered(self) -> Retention:
        if self.keep is not None and self.keep_at_least > self.keep:
            raise ValueError(
                f"keep_at_least {self.keep_at_least:g} s is over keep {self.keep:g} s; raise keep "
                "or lower keep_at_least"
            )
        return self

    def seconds(self, *, in_process: bool) -> float:
        """Return how long they stay on a server, or in a broker that lives in this process."""
        if self.keep is not None:
            return self.keep
        usual = KEEP_IN_MEMORY_SECONDS if in_process else KEEP_SECONDS
        return max(usual, self.keep_at_least)

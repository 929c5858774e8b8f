"""Cron expressions: when an agent's firings are due.

The only module that knows cronsim. A firing is named by its moment, and every instance must name it
the same, so all moments come from counting forwards: around a change of the clocks cronsim counts
backwards differently.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_BACK_SECONDS = 2 * 3600.0
"""By which counting backwards may be wrong: a change of the clocks, and that again."""


class Cron:
    """A schedule: five fields as of cron, or six with seconds first, or a word such as `@daily`.

    Clocks that change follow Debian's cron: what is due at an hour that is left out fires right
    after it, and what is due at an hour that comes twice fires once; a schedule of every hour or
    minute does not notice.

    Raises:
        ValueError: it is not an expression; says what is wrong, or that it never fires.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        text = expression.strip()
        self._text, self._zone = _MACROS.get(text.lower(), text), zone
        try:
            next(self._count(0.0))
        except CronSimError as error:
            known = ", ".join(_MACROS)
            said = str(error)
            raise ValueError(
                f"{expression!r:.80} is not a cron expression ({said[:1].lower()}{said[1:]}); "
                "write minute, hour, day of the month, month and day of the week, such as "
                f"'0 9 * * 1-5', or one of {known}"
            ) from None
        except StopIteration:
            raise ValueError(f"{expression!r:.80} never fires; there is no such day") from None

    def after(self, moment: float) -> float:
        """Return the first firing after a moment; both Unix seconds."""
        return next(self._count(moment)).timestamp()

    def newest(self, since: float, until: float, most: int) -> tuple[list[float], bool]:
        """Return the firings after one moment up to another, at most so many, the newest ones.

        Also whether there are older ones that were left out. The work is bounded by `most`, not by
        the time between.
        """
        start = since
        backwards = CronSim(self._text, self._at(until), reverse=True)
        for number, found in enumerate(backwards):
            moment = found.timestamp() - _BACK_SECONDS
            if moment <= since:
                break
            if number == most:  # the first one that is left out
                start = moment
                break
        kept: deque[float] = deque(maxlen=most)
        left_out = False
        for found in self._count(start):
            firing = found.timestamp()
            if firing > until:
                break
            left_out = left_out or len(kept) == most
            kept.append(firing)
        return list(kept), left_out

    def _count(self, moment: float) -> Iterator[datetime]:
        return iter(CronSim(self._text, self._at(moment)))

    def _at(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, UTC).astimezone(self._zone)

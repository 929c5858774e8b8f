"""The message ids that a stream remembers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from aixgo.broker.headers import MSG_ID
from aixgo.broker.port import Record


class SeenIds:
    """Message ids of the last `window` seconds with their sequences.

    Scope is the stream, not the subject, and an id outlives its record: that is what makes the
    repetition of a call that was already done harmless.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self._sequences: dict[str, int] = {}
        self._order: deque[tuple[float, str]] = deque()

    def find(self, msg_id: str, now: float) -> int | None:
        """Return the sequence under which the id was stored, or None."""
        order, oldest = self._order, now - self.window
        while order and order[0][0] <= oldest:
            del self._sequences[order.popleft()[1]]
        return self._sequences.get(msg_id)

    def remember(self, msg_id: str, sequence: int, now: float) -> None:
        """Keep an id that `find` did not know."""
        self._sequences[msg_id] = sequence
        self._order.append((now, msg_id))

    def rebuild(self, records: Iterable[Record], now: float) -> None:
        """Know only the ids of these records: what a server finds on its disk when it starts."""
        self._sequences.clear()
        self._order.clear()
        for record in records:
            msg_id = record.headers.get(MSG_ID)
            if msg_id and record.time > now - self.window and msg_id not in self._sequences:
                self.remember(msg_id, record.sequence, record.time)

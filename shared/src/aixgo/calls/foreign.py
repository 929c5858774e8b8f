"""Records that no part of Aixgo wrote, or that cannot be read: skipped, counted and named.

Any program that is connected can publish under any subject that its permissions allow. What people
ask for, and what keeps a namespace in order, must not stop at such a record, and must not hide it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from aixgo.broker.port import Record

log = logging.getLogger("aixgo.calls")

_NAMED = 1_000
"""Records that are remembered by name; a flood of them must not fill the memory."""


class Foreign:
    """The unreadable records that one process has met in a namespace.

    Attributes:
        count: of them, each counted once as long as it is remembered.
    """

    __slots__ = ("_seen", "count")

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], None] = {}
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        """Yield their names, such as `aixgo.default.timer.echo (7)`: subject and sequence."""
        for subject, sequence in self._seen:
            yield f"{subject} ({sequence})"

    def add(self, record: Record) -> None:
        """Take note of a record that was skipped."""
        key = (record.subject, record.sequence)
        if key in self._seen:
            return
        self.count += 1
        self._seen[key] = None
        if len(self._seen) > _NAMED:
            del self._seen[next(iter(self._seen))]
        log.warning(
            "record.unreadable",
            extra={"subject": record.subject[:200], "sequence": record.sequence},
        )

"""The records of one stream: by sequence, by subject, by filter."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from aixgo.broker.memory import headers
from aixgo.broker.memory.matching import SubjectTree, is_wild, matches
from aixgo.broker.port import Record

OVERHEAD_BYTES = 30
"""What a record takes beside its subject, body and headers; about what nats-server counts."""

SHORT_SCAN = 256
"""Sequences that are cheaper to look at one by one than to find through the index of subjects."""


def size_of(record: Record) -> int:
    """Return the bytes that a record counts against `max_bytes`."""
    size = OVERHEAD_BYTES + len(record.subject) + len(record.data)
    return size + headers.stored_size(record.headers) if record.headers else size


class Records:
    """What a stream keeps. `last` is the newest sequence ever given, kept or not."""

    __slots__ = ("_fresh", "_sizes", "_subjects", "_tree", "by_sequence", "bytes", "first", "last")

    def __init__(self) -> None:
        self.by_sequence: dict[int, Record] = {}
        self._sizes: dict[int, int] = {}
        # most subjects have one record, so one sequence is kept bare; more of them in a deque
        self._subjects: dict[str, int | deque[int]] = {}
        self._tree: SubjectTree | None = None
        self._fresh: list[str] = []
        self.first, self.last, self.bytes = 1, 0, 0

    def __len__(self) -> int:
        return len(self.by_sequence)

    def add(self, record: Record, size: int) -> None:
        """Keep a record whose sequence is the newest; `size` is that of `size_of`."""
        sequence, subject = record.sequence, record.subject
        self.last = sequence
        self.by_sequence[sequence] = record
        self._sizes[sequence] = size
        self.bytes += size
        held = self._subjects.get(subject)
        if held is None:
            self._subjects[subject] = sequence
            if self._tree is not None:
                self._fresh.append(subject)
        elif isinstance(held, int):
            self._subjects[subject] = deque((held, sequence))
        else:
            held.append(sequence)

    def remove(self, sequence: int) -> Record | None:
        """Forget a record and return it; None if it was not there."""
        record = self.by_sequence.pop(sequence, None)
        if record is None:
            return None
        self.bytes -= self._sizes.pop(sequence)
        held = self._subjects[record.subject]
        if isinstance(held, int) or len(held) == 1:
            del self._subjects[record.subject]
        elif held[0] == sequence:
            held.popleft()
        else:
            held.remove(sequence)
        if sequence == self.first:
            self._advance()
        return record

    def _advance(self) -> None:
        by_sequence, first, last = self.by_sequence, self.first, self.last
        if not by_sequence:
            first = last + 1
        while first <= last and first not in by_sequence:
            first += 1
        self.first = first

    def clear(self) -> int:
        """Forget everything and return how many records that were."""
        count = len(self.by_sequence)
        self.by_sequence.clear()
        self._sizes.clear()
        self._subjects.clear()
        self._tree, self._fresh = None, []
        self.bytes, self.first = 0, self.last + 1
        return count

    # -- by subject ----------------------------------------------------------------------------

    def count_of(self, subject: str) -> int:
        """Return how many records the subject has."""
        held = self._subjects.get(subject)
        if held is None:
            return 0
        return 1 if isinstance(held, int) else len(held)

    def first_of(self, subject: str) -> int:
        """Return the oldest sequence of the subject, 0 if it has none."""
        held = self._subjects.get(subject, 0)
        return held if isinstance(held, int) else held[0]

    def last_of(self, subject: str) -> int:
        """Return the newest sequence of the subject, 0 if it has none."""
        held = self._subjects.get(subject, 0)
        return held if isinstance(held, int) else held[-1]

    def newest(self, pattern: str) -> int:
        """Return the newest sequence that matches the filter, 0 if none does."""
        if not is_wild(pattern):
            return self.last_of(pattern)
        if pattern == ">" and self.last in self.by_sequence:
            return self.last
        return max(map(self.last_of, self.subjects(pattern)), default=0)

    def subjects(self, pattern: str) -> Iterable[str]:
        """Return the subjects with records that match the filter, in no order."""
        if not is_wild(pattern):
            return (pattern,) if pattern in self._subjects else ()
        if pattern == ">":
            return list(self._subjects)
        return [subject for subject in self._indexed().match(pattern) if subject in self._subjects]

    def _indexed(self) -> SubjectTree:
        """Return the index of subjects, brought up to date.

        Appending must stay cheap, so it is built on demand; subjects that are gone stay in
        it until they are most of it.
        """
        tree, known = self._tree, len(self._subjects)
        if tree is None or tree.size + len(self._fresh) > 2 * known + SHORT_SCAN:
            tree = self._tree = SubjectTree()
            self._fresh = list(self._subjects)
        for subject in self._fresh:
            tree.add(subject)
        self._fresh = []
        return tree

    # -- by filter -----------------------------------------------------------------------------

    def select(self, pattern: str, start: int, limit: int = 0) -> list[Record]:
        """Return the records from `start` on that match the filter, in order, at most `limit`."""
        start = max(start, self.first)
        if start > self.last:
            return []
        if not is_wild(pattern):
            sequences: Iterable[int] = self._of_subject(pattern, start)
        elif pattern == ">" or self.last - start < SHORT_SCAN:
            return list(islice(self._scan(pattern, start), limit or None))
        else:
            found = [self._of_subject(subject, start) for subject in self.subjects(pattern)]
            sequences = sorted(sequence for each in found for sequence in each)
        by_sequence = self.by_sequence
        return [by_sequence[sequence] for sequence in islice(sequences, limit or None)]

    def _of_subject(self, subject: str, start: int) -> Iterable[int]:
        held = self._subjects.get(subject, 0)
        if isinstance(held, int):
            return (held,) if held >= start else ()
        return islice(held, bisect_left(held, start), None) if held[0] < start else held

    def _scan(self, pattern: str, start: int) -> Iterator[Record]:
        by_sequence = self.by_sequence
        if self.last - start > 4 * len(by_sequence):  # mostly gaps, as in an old work queue
            for record in by_sequence.values():
                if record.sequence >= start and matches(pattern, record.subject):
                    yield record
            return
        for sequence in range(start, self.last + 1):
            found = by_sequence.get(sequence)
            if found is not None and matches(pattern, found.subject):
                yield found

"""What travels over a broker, and what a stream keeps of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Headers = Mapping[str, str]
"""Headers of a message, by name."""
NO_HEADERS: Headers = {}


class BusMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that a subscription received."""

    subject: str
    data: bytes
    reply: str = ""
    headers: Headers = NO_HEADERS


class Record(msgspec.Struct, frozen=True, gc=False):
    """A message as a stream keeps it; `time` is Unix seconds."""

    stream: str
    subject: str
    sequence: int
    data: bytes
    time: float = 0.0
    headers: Headers = NO_HEADERS


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The broker's word that a stream keeps a message.

    `duplicate` says that it kept one with the same message id already.
    """

    stream: str
    sequence: int
    duplicate: bool = False


class Expect(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The condition of an append (compare-and-set).

    Attributes:
        subject_sequence: sequence of the newest record of the subject; 0: there must be none.
        subject_filter: look at this filter (wildcards allowed) instead of the message's own
            subject.
    """

    subject_sequence: int
    subject_filter: str = ""

"""The session port: conversations that only grow, one for each agent and session.

What an adapter promises is `aixgo.testing.session_checks`, one function a promise. A conversation
is a log of entries; nothing in it is ever changed. Going back to an earlier point is an entry too,
so it is as durable as what it takes back, and readers fold the log (`Conversation.standing`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from aixgo.errors import BodyTooLarge, InvalidPayload, SessionOfAnother
from aixgo.models.messages import ChatMessage

SESSION, USER = "session", "user"
"""Keys of a run's metadata: the session that it belongs to, and for whom it works."""

NAME_CHARS = 256
"""Longest name of a session or a user, in characters."""

MAX_ENTRY_BYTES = 64 * 1024 * 1024
"""Of an entry as JSON, the same as of a payload: it is held in memory whole."""

SLACK_SECONDS = 3_600.0
"""For which an expired conversation is still kept for runs that saw it before it expired."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Kind = Literal["messages", "checkpoint", "restored", "summary"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is added to a conversation at once: all of it, or nothing.

    Attributes:
        id: unique in the conversation; the same entry again changes nothing.
        at: Unix seconds.
        kind: `messages`; a `checkpoint`, which gives a point a `name`; `restored`: the conversation
            is again what it was right after the entry `to` (from its beginning on, if that is
            empty); or a `summary` of everything up to the entry `to`.
        run: that added it.
    """

    id: str
    at: float
    kind: Kind = "messages"
    messages: tuple[ChatMessage, ...] = ()
    name: str = ""
    to: str = ""
    run: str = ""


class Stored(NamedTuple):
    """An entry at its place: positions of a conversation grow, and what stands at one stays."""

    position: int
    entry: Entry


class Key(NamedTuple):
    """Which conversation: its agent (an orchestration is one) and its session."""

    agent: str
    session: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without its entries; times are Unix seconds.

    Attributes:
        user: whose it is; empty for none.
        began, used: `at` of its first and of its latest entry.
        expires: when it is forgotten, unless an entry is added before; 0 for never.
    """

    agent: str
    session: str
    user: str = ""
    began: float = 0.0
    used: float = 0.0
    expires: float = 0.0

    @property
    def key(self) -> Key:
        """Which conversation it is."""
        return Key(self.agent, self.session)

    def over(self, moment: float) -> bool:
        """Whether it has expired."""
        return 0.0 < self.expires <= moment

    def check(self, user: str) -> None:
        """Refuse another user than the one whose it is.

        Raises:
            SessionOfAnother: it belongs to another user.
        """
        if self.user != user:
            raise SessionOfAnother(self.agent, self.session)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as it was read.

    Attributes:
        entries: every one that was ever added, in order, what was taken back included.
    """

    summary: Summary
    entries: Sequence[Stored] = ()

    @property
    def position(self) -> int:
        """Position of the last entry; 0 when there is none."""
        return self.entries[-1].position if self.entries else 0

    def standing(self) -> list[Entry]:
        """Return the entries that count: without what was taken back."""
        before: dict[str, tuple[Entry, str]] = {}
        last = ""
        for _, entry in self.entries:
            if entry.kind == "restored":
                last = entry.to
            else:
                before[entry.id] = (entry, last)
                last = entry.id
        found = []
        while last in before:
            entry, last = before[last]
            found.append(entry)
        found.reverse()
        return found

    def messages(self) -> list[ChatMessage]:
        """Return the messages that count, oldest first; summaries are not among them."""
        return [message for message, _ in self.placed()]

    def placed(self, *, summarised: bool = False, pinned: int = 0) -> list[tuple[ChatMessage, str]]:
        """Return the messages that count, each with the id of its entry.

        Args:
            summarised: put the newest summary in the place of what it is a summary of; its id is
                that of the last entry that it stands for.
            pinned: messages at the beginning that are not replaced.
        """
        standing = self.standing()
        found = [
            (message, entry.id)
            for entry in standing
            if entry.kind == "messages"
            for message in entry.messages
        ]
        summary = next((one for one in reversed(standing) if one.kind == "summary"), None)
        if not summarised or summary is None:
            return found
        covered = [index for index, (_, id_) in enumerate(found) if id_ == summary.to]
        if not covered:
            return found
        after = max(covered[-1] + 1, pinned)
        said = [(message, summary.to) for message in summary.messages]
        return [*found[:pinned], *said, *found[after:]]

    def digest(self) -> str:
        """Return what is equal for equal conversations: a digest of the ids of their entries."""
        ids = "\n".join(stored.entry.id for stored in self.entries)
        return blake2b(ids.encode(), digest_size=15).hexdigest()


class SessionStore(Protocol):
    """Keeps conversations; promises what `aixgo.testing.session_checks` checks.

    Entries of one conversation have one order, the same for every reader, and a reader sees every
    entry whose `append` has returned. Processes may append at once; no entry is lost. No exception
    of a client library leaves an adapter.
    """

    async def append(self, key: Key, entry: Entry, *, user: str = "", expires: float = 0.0) -> None:
        """Add an entry to a conversation, which begins with its first; the same id only once.

        Args:
            user: whose conversation it is.
            expires: Unix seconds after which the whole conversation is forgotten; 0 for never.

        Raises:
            SessionOfAnother: the conversation is another user's.
            BodyTooLarge: the entry is over `MAX_ENTRY_BYTES`.
        """
        ...

    async def read(self, key: Key, *, upto: int | None = None) -> Conversation:
        """Return a conversation; one that does not exist, or has expired, is empty.

        Args:
            upto: position of the last entry that is wanted, as it was read before. It is returned
                for `SLACK_SECONDS` after the conversation has expired, too, unless another has
                begun in its place.
        """
        ...

    async def find(self, *, agent: str = "", user: str = "") -> Sequence[Summary]:
        """Return the conversations of an agent and of a user, or of all; the last used first."""
        ...

    async def delete(self, key: Key) -> bool:
        """Remove a conversation with all its entries; False if there was none."""
        ...

    async def sweep(self) -> int:
        """Remove what expired more than `SLACK_SECONDS` ago; returns how many conversations."""
        ...


def empty(key: Key) -> Conversation:
    """Return a conversation that does not exist."""
    return Conversation(summary=Summary(agent=key.agent, session=key.session))


def encoded(key: Key, entry: Entry) -> bytes:
    """Return an entry as it is kept.

    Raises:
        BodyTooLarge: it is over `MAX_ENTRY_BYTES`.
    """
    body = msgspec.json.encode(entry)
    if len(body) > MAX_ENTRY_BYTES:
        what = f"an entry in session {key.session!r} of agent {key.agent!r}"
        raise BodyTooLarge(what, len(body), MAX_ENTRY_BYTES)
    return body


decoded = msgspec.json.Decoder(Entry).decode
"""Returns an entry from what `encoded` returned."""


def in_order(found: Iterable[Summary], moment: float) -> list[Summary]:
    """Return the conversations that have not expired, the last used first."""
    return sorted(
        (one for one in found if not one.over(moment)), key=lambda one: (-one.used, one.key)
    )


def checked(value: Any, what: str) -> str:
    """Return the name of a session or a user.

    Raises:
        InvalidPayload: it is not a text of 1 to `NAME_CHARS` printable characters.
    """
    if not isinstance(value, str) or not value or len(value) > NAME_CHARS:
        said = f"{len(value):,} characters" if isinstance(value, str) else type(value).__name__
        raise InvalidPayload(
            f"the {what} is {said}; give a text of 1 to {NAME_CHARS} characters, such as 'u-17'"
        )
    if bad := _UNPRINTABLE.search(value):
        raise InvalidPayload(
            f"the {what} {value[:40]!r} has the character U+{ord(bad[0]):04X}; use printable "
            "characters only"
        )
    return value

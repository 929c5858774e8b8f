"""What people and programs do with conversations: look, go back, try another way, remove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from aixgo.clock import now
from aixgo.errors import InvalidPayload, NoSession, SessionExists
from aixgo.stores.sessions.port import (
    SESSION,
    USER,
    Conversation,
    Entry,
    Key,
    Kind,
    SessionStore,
    Stored,
    Summary,
    checked,
)


class Sessions:
    """The sessions of a namespace: `Client.sessions`.

    A place in a conversation is the number of an entry, counted from 1 over all that were ever
    added, or the name of a checkpoint, or the id of an entry.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def list(self, *, agent: str = "", user: str = "") -> Sequence[Summary]:
        """Return the conversations of an agent and of a user, or of all; the last used first."""
        return await self._store.find(agent=agent, user=user)

    async def get(self, agent: str, session: str) -> Conversation:
        """Return a conversation with its entries.

        Raises:
            NoSession: there is none.
        """
        found = await self._store.read(Key(agent, checked(session, SESSION)))
        if not found.entries:
            raise NoSession(agent, session)
        return found

    async def checkpoint(self, agent: str, session: str, name: str) -> None:
        """Give the end of a conversation a name, to go back to; the newest of a name counts.

        Raises:
            NoSession: there is none.
            InvalidPayload: the name is a number, or too long.
        """
        if checked(name, "name of the checkpoint").isdigit():
            raise InvalidPayload(
                f"{name!r} cannot be the name of a checkpoint: a number means an entry; add a word"
            )
        await self._add(await self.get(agent, session), "checkpoint", name=name)

    async def restore(self, agent: str, session: str, to: int | str) -> None:
        """Let a conversation be again what it was right after an entry; it goes on from there.

        What is taken back stays in the log, so it can be restored itself. A run that began before
        still adds what it says.

        Args:
            to: a place in it; 0 takes back everything.

        Raises:
            NoSession: there is no such conversation, or no such place in it.
        """
        found = await self.get(agent, session)
        entry = "" if to == 0 else _place(found, to).entry.id
        await self._add(found, "restored", to=entry)

    async def fork(
        self, agent: str, session: str, new: str, *, at: int | str | None = None
    ) -> Conversation:
        """Begin another session of the same agent and user with what this one has.

        The two know nothing of each other after that.

        Args:
            new: its name.
            at: a place in it, after which nothing is taken over; its end without it.

        Raises:
            NoSession: there is no such conversation, or no such place in it.
            SessionExists: there is a session of the new name.
        """
        found, key = await self.get(agent, session), Key(agent, checked(new, SESSION))
        if at is not None:
            last = _place(found, at).position
            kept = [stored for stored in found.entries if stored.position <= last]
            found = Conversation(summary=found.summary, entries=kept)
        if (await self._store.read(key)).entries:
            raise SessionExists(*key)
        summary = found.summary
        for entry in found.standing():
            await self._store.append(key, entry, user=summary.user, expires=summary.expires)
        return await self._store.read(key)

    async def delete(self, agent: str, session: str) -> bool:
        """Remove a conversation for ever; False if there was none."""
        return await self._store.delete(Key(agent, checked(session, SESSION)))

    async def delete_user(self, user: str) -> int:
        """Remove every conversation of a user for ever; returns how many there were."""
        found = await self._store.find(user=checked(user, USER))
        return sum([await self._store.delete(one.key) for one in found])

    async def _add(self, found: Conversation, kind: Kind, **fields: Any) -> None:
        entry = Entry(id=f"{kind}.{os.urandom(8).hex()}", at=now(), kind=kind, **fields)
        summary = found.summary
        await self._store.append(summary.key, entry, user=summary.user, expires=summary.expires)


def _place(found: Conversation, wanted: int | str) -> Stored:
    """Return the entry that a number, a checkpoint or an id means.

    Raises:
        NoSession: there is none.
    """
    entries = found.entries
    if isinstance(wanted, int):
        if 1 <= wanted <= len(entries):
            return entries[wanted - 1]
    else:
        for stored in reversed(entries):
            if wanted in (stored.entry.id, stored.entry.name):
                return stored
    raise NoSession(*found.summary.key, str(wanted))

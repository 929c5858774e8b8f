"""`ctx.session`: the conversation of an agent in the session that a call names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.clock import now
from aixgo.errors import SessionChanged
from aixgo.models.messages import ChatMessage
from aixgo.stores.sessions.port import SESSION, USER, Conversation, Entry, Key, checked, empty
from aixgo.subjects import step_token

if TYPE_CHECKING:
    from aixgo.config.agents import SessionSpec
    from aixgo.steps.execution import Execution
    from aixgo.stores.sessions.port import SessionStore


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a run saw first, as it is recorded: up to which entry, and a digest of them."""

    upto: int
    digest: str


class SessionSteps:
    """What an agent remembers of a session; both verbs are durable steps.

    A call without a session, or to an agent that keeps none (`session: {keep: false}`), has an
    empty `id`: its history is empty, and what is appended is kept nowhere. So a handler need not
    ask.
    """

    def __init__(self, execution: Execution, store: SessionStore, settings: SessionSpec) -> None:
        self._execution, self._store, self._settings = execution, store, settings
        meta = execution.meta
        named = settings.keep and meta.get(SESSION) is not None
        self.id = checked(meta[SESSION], SESSION) if named else ""
        owned = named and meta.get(USER) is not None
        self.user = checked(meta[USER], USER) if owned else ""
        self._key = Key(execution.agent, self.id)
        self._places: list[str] = []

    def __bool__(self) -> bool:
        """Whether the call belongs to a session that the agent remembers."""
        return bool(self.id)

    async def history(
        self, *, summarised: bool = False, pinned: int = 0, key: str = ""
    ) -> list[ChatMessage]:
        """Return the conversation up to now, oldest message first; a durable step.

        Which entries a run saw first is recorded, so a repeated execution sees the same,
        whatever was added meanwhile.

        Args:
            summarised: with the newest summary in the place of what it stands for.
            pinned: messages at the beginning that no summary replaces.
            key: names the step, instead of the order of use.

        Raises:
            SessionOfAnother: the session is another user's.
            SessionChanged: this is a repeated execution, and what the first one saw was removed.
        """
        if not self.id:
            return []
        found = await self._first_seen(key)
        placed = found.placed(summarised=summarised, pinned=pinned)
        self._places = [place for _, place in placed]
        return [message for message, _ in placed]

    async def _first_seen(self, key: str) -> Conversation:
        """Return the conversation as this run saw it first."""
        execution = self._execution
        path = execution.place("session", key)
        seen = await execution.decided(path, Seen)
        if seen is None:
            found = await self._store.read(self._key)
            if found.entries:
                found.summary.check(self.user)
            own = _seen(found)
            seen = await execution.decide(path, own)
            if seen == own:
                return found
        if not seen.upto:
            return empty(self._key)
        found = await self._store.read(self._key, upto=seen.upto)
        if _seen(found) != seen:
            raise SessionChanged(execution.run_id, *self._key)
        return found

    async def append(self, *messages: ChatMessage, key: str = "") -> None:
        """Add messages to the conversation, all or none of them, exactly once; a durable step.

        Raises:
            SessionOfAnother: the session is another user's.
            BodyTooLarge: they are over 64 MiB together.
        """
        if self.id and messages:
            await self._add(key, messages=messages)

    async def summarise(self, summary: ChatMessage, last: int, *, key: str = "") -> None:
        """Let a message stand for the history up to a message of it; a durable step.

        The next `history(summarised=True)` begins with it; nothing is lost for other readers. It is
        not kept when an entry would be cut in two.

        Args:
            last: index in what `history` returned.
        """
        places = self._places
        if not self.id or not 0 <= last < len(places):
            return
        if last + 1 < len(places) and places[last] == places[last + 1]:
            return
        await self._add(key, kind="summary", messages=(summary,), to=places[last])

    async def _add(self, key: str, **fields: Any) -> None:
        execution = self._execution
        path = execution.place("session", key)
        if await execution.decided(path, str) is not None:
            return
        moment, ttl = now(), self._settings.ttl
        entry = Entry(
            # the same in every execution, so that it is added once, also if this one ends here
            id=f"{execution.run_id}.{step_token(path)}",
            at=moment,
            run=execution.run_id,
            **fields,
        )
        await self._store.append(
            self._key, entry, user=self.user, expires=0.0 if ttl is None else moment + ttl
        )
        await execution.decide(path, entry.id)


def _seen(found: Conversation) -> Seen:
    return Seen(upto=found.position, digest=found.digest())

"""`ctx.session`: the conversation of an agent in the session that a call names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aixgo.clock import now
from aixgo.errors import SessionChanged
from aixgo.models.messages import ChatMessage
from aixgo.stores.sessions.port import SESSION, USER, Conversation, Entry, Key, checked
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

    def __bool__(self) -> bool:
        """Whether the call belongs to a session that the agent remembers."""
        return bool(self.id)

    async def history(self, *, key: str = "") -> list[ChatMessage]:
        """Return the conversation up to now, oldest message first; a durable step.

        Which entries a run saw first is recorded, so a repeated execution sees the same,
        whatever was added meanwhile.

        Args:
            key: names the step, instead of the order of use.

        Raises:
            SessionOfAnother: the session is another user's.
            SessionChanged: this is a repeated execution, and what the first one saw was removed.
        """
        if not self.id:
            return []
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
                return found.messages()
        if not seen.upto:
            return []
        found = await self._store.read(self._key, upto=seen.upto)
        if _seen(found) != seen:
            raise SessionChanged(execution.run_id, *self._key)
        return found.messages()

    async def append(self, *messages: ChatMessage, key: str = "") -> None:
        """Add messages to the conversation, all or none of them, exactly once; a durable step.

        Raises:
            SessionOfAnother: the session is another user's.
            BodyTooLarge: they are over 64 MiB together.
        """
        if not self.id or not messages:
            return
        execution = self._execution
        path = execution.place("session", key)
        if await execution.decided(path, str) is not None:
            return
        moment, ttl = now(), self._settings.ttl
        entry = Entry(
            # the same in every execution, so that it is added once, also if this one ends here
            id=f"{execution.run_id}.{step_token(path)}",
            at=moment,
            messages=messages,
            run=execution.run_id,
        )
        await self._store.append(
            self._key, entry, user=self.user, expires=0.0 if ttl is None else moment + ttl
        )
        await execution.decide(path, entry.id)


def _seen(found: Conversation) -> Seen:
    return Seen(upto=found.position, digest=found.digest())

"""Sessions in Redis (or Valkey): a hash, a list and a set for each conversation.

Scripts run whole or not at all, one after another, so an append needs no lock. What expires goes by
the server's own clock; a sweep only tidies the list of conversations.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from aixgo.clock import now
from aixgo.errors import SessionOfAnother, StoreError, StoreUnavailable
from aixgo.stores.sessions.port import (
    SLACK_SECONDS,
    Conversation,
    Entry,
    Key,
    Stored,
    Summary,
    decoded,
    empty,
    encoded,
    in_order,
)
from aixgo.subjects import session_id

SECONDS = 30.0
"""For a connection, and for a command."""

_BATCH = 500
"""Conversations that are asked for at once."""

_APPEND = """
local now, user, at, expires, gone = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local head = redis.call('HMGET', KEYS[1], 'user', 'expires', 'base', 'used')
local base = 0
if head[1] and tonumber(head[2]) > 0 and tonumber(head[2]) <= tonumber(now) then
  base = tonumber(head[3]) + redis.call('LLEN', KEYS[2])
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  head[1] = false
end
if not head[1] then
  redis.call('HSET', KEYS[1], 'agent', ARGV[8], 'session', ARGV[9], 'user', user, 'began', at,
    'used', at, 'expires', expires, 'base', base)
  head = {user, expires, base, at}
elseif head[1] ~= user then
  return 0
end
redis.call('SADD', KEYS[4], ARGV[10])
if redis.call('SADD', KEYS[3], ARGV[6]) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[7])
  redis.call('HSET', KEYS[1], 'expires', expires)
  if tonumber(at) > tonumber(head[4]) then redis.call('HSET', KEYS[1], 'used', at) end
  for i = 1, 3 do
    if tonumber(gone) > 0 then redis.call('EXPIREAT', KEYS[i], gone)
    else redis.call('PERSIST', KEYS[i]) end
  end
end
return 1
"""

_REMOVE = """
local there = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('SREM', KEYS[4], ARGV[1])
return there
"""

_TIDY = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('SREM', KEYS[2], ARGV[1])
"""


class RedisSessions:
    """The conversations of a namespace in a Redis server that is not a cluster."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client = client
        self._prefix = f"aixgo:{namespace}:ses"
        self._append, self._remove, self._tidy = map(
            client.register_script, (_APPEND, _REMOVE, _TIDY)
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, namespace: str) -> AsyncGenerator[RedisSessions, None]:
        """Connect for the length of a block.

        Raises:
            StoreUnavailable: the server cannot be reached.
            StoreError: it refuses the user.
        """
        client = Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
        try:
            with _errors():
                await client.ping()
            yield cls(client, namespace)
        finally:
            await client.aclose()

    async def append(self, key: Key, entry: Entry, *, user: str = "", expires: float = 0.0) -> None:
        """Add an entry; see `SessionStore.append`."""
        body, member = encoded(key, entry), session_id(*key)
        gone = math.ceil(expires + SLACK_SECONDS) if expires else 0
        with _errors():
            added = await self._append(
                keys=[*self._keys(member), self._prefix],
                args=[
                    repr(now()),
                    user,
                    repr(float(entry.at)),
                    repr(float(expires)),
                    gone,
                    entry.id,
                    body,
                    key.agent,
                    key.session,
                    member,
                ],
            )
        if not added:
            raise SessionOfAnother(*key)

    async def read(self, key: Key, *, upto: int | None = None) -> Conversation:
        """Return a conversation; see `SessionStore.read`."""
        head, log, _ = self._keys(session_id(*key))
        with _errors():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hgetall(head)
                pipeline.lrange(log, 0, -1)
                said, bodies = await pipeline.execute()
        if not said:
            return empty(key)
        summary, base = _summary(said), int(said[b"base"])
        if upto is None and summary.over(now()):
            return empty(key)
        entries = [
            Stored(position, decoded(body))
            for position, body in enumerate(bodies, start=base + 1)
            if upto is None or position <= upto
        ]
        return Conversation(summary=summary, entries=entries)

    async def find(self, *, agent: str = "", user: str = "") -> Sequence[Summary]:
        """Return summaries; see `SessionStore.find`."""
        members = await self._members()
        wanted = [one for one in members if not agent or one.rpartition(".")[0] == agent]
        found: list[Summary] = []
        for start in range(0, len(wanted), _BATCH):
            with _errors():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for member in wanted[start : start + _BATCH]:
                        pipeline.hgetall(self._keys(member)[0])
                    found += [_summary(said) for said in await pipeline.execute() if said]
        return in_order((one for one in found if user in ("", one.user)), now())

    async def delete(self, key: Key) -> bool:
        """Remove a conversation; see `SessionStore.delete`."""
        member = session_id(*key)
        with _errors():
            there = await self._remove(keys=[*self._keys(member), self._prefix], args=[member])
        return bool(there)

    async def sweep(self) -> int:
        """Forget what has expired; see `SessionStore.sweep`."""
        removed = 0
        for member in await self._members():
            with _errors():
                keys = [self._keys(member)[0], self._prefix]
                removed += await self._tidy(keys=keys, args=[member])
        return removed

    async def _members(self) -> list[str]:
        with _errors():
            found: Iterable[bytes] = await self._client.smembers(self._prefix)
        return sorted(one.decode() for one in found)

    def _keys(self, member: str) -> tuple[str, str, str]:
        """Return the keys of a conversation: its summary, its entries, and their ids."""
        base = f"{self._prefix}:{member}"
        return f"{base}:head", f"{base}:log", f"{base}:ids"


def _summary(said: dict[bytes, bytes]) -> Summary:
    text = {name.decode(): value.decode() for name, value in said.items()}
    return Summary(
        agent=text["agent"],
        session=text["session"],
        user=text["user"],
        began=float(text["began"]),
        used=float(text["used"]),
        expires=float(text["expires"]),
    )


@contextmanager
def _errors() -> Generator[None, None, None]:
    """Translate what the client library raises.

    Raises:
        StoreUnavailable, StoreError: instead.
    """
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise StoreError(f"the Redis server of `sessions` refuses the user: {error}") from error
    except (OSError, TimeoutError, exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise StoreUnavailable(
            f"the Redis server of `sessions` cannot be reached: {error}; is it up, and is `url` "
            "right?"
        ) from error
    except exceptions.RedisError as error:
        raise StoreError(
            f"the Redis server of `sessions` refused: {error}; check the user's rights"
        ) from error

"""Sessions in PostgreSQL: one row for each conversation, one for each entry.

An append locks the row of its conversation for the length of one short transaction, so positions
are given in the order in which they become visible; a sequence of the database would not do that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from aixgo.clock import now
from aixgo.errors import StoreError, StoreUnavailable
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

CONNECTIONS = 8
"""Of one process at most; they are made when they are needed."""

SECONDS = 30.0
"""For a connection, and for a command."""

_TABLES = """
CREATE TABLE IF NOT EXISTS aixgo_sessions (
    namespace text NOT NULL,
    agent text NOT NULL,
    session text NOT NULL,
    owner text NOT NULL,
    began double precision NOT NULL,
    used double precision NOT NULL,
    expires double precision NOT NULL,
    newest bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, agent, session)
);
CREATE INDEX IF NOT EXISTS aixgo_sessions_owner ON aixgo_sessions (namespace, owner);
CREATE TABLE IF NOT EXISTS aixgo_session_entries (
    namespace text NOT NULL,
    agent text NOT NULL,
    session text NOT NULL,
    position bigint NOT NULL,
    id text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (namespace, agent, session, position),
    UNIQUE (namespace, agent, session, id),
    FOREIGN KEY (namespace, agent, session) REFERENCES aixgo_sessions ON DELETE CASCADE
);
"""
_THERE = "SELECT to_regclass('aixgo_sessions') IS NOT NULL AND to_regclass('aixgo_session_entries') IS NOT NULL"  # noqa: E501
_LOCK = 5_472_104_993
"""Of those that make the tables at once; any number that no other program takes."""

_ONE = "namespace = $1 AND agent = $2 AND session = $3"
_COLUMNS = "agent, session, owner, began, used, expires, newest"


class PostgresSessions:
    """The conversations of a namespace in a PostgreSQL database."""

    def __init__(self, pool: Any, namespace: str) -> None:
        self._pool, self._namespace = pool, namespace

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, namespace: str) -> AsyncGenerator[PostgresSessions, None]:
        """Connect for the length of a block; makes the tables if they are not there.

        Raises:
            StoreUnavailable: the server cannot be reached.
            StoreError: it refuses the user, or to make the tables.
        """
        with _errors():
            pool = await asyncpg.create_pool(
                url, min_size=0, max_size=CONNECTIONS, timeout=SECONDS, command_timeout=SECONDS
            )
        try:
            with _errors():
                if not await pool.fetchval(_THERE):
                    async with pool.acquire() as connection, connection.transaction():
                        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                        await connection.execute(_TABLES)
            yield cls(pool, namespace)
        finally:
            pool.terminate()  # nothing is under way, and `close` would wait for it

    async def append(self, key: Key, entry: Entry, *, user: str = "", expires: float = 0.0) -> None:
        """Add an entry; see `SessionStore.append`."""
        body, where = encoded(key, entry), (self._namespace, *key)
        with _errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO aixgo_sessions VALUES ($1, $2, $3, $4, $5, $5, $6)"
                    " ON CONFLICT DO NOTHING",
                    *where,
                    user,
                    entry.at,
                    expires,
                )
                row = await connection.fetchrow(
                    f"SELECT {_COLUMNS} FROM aixgo_sessions WHERE {_ONE} FOR UPDATE", *where
                )
                if _summary(row).over(now()):
                    await connection.execute(
                        f"DELETE FROM aixgo_session_entries WHERE {_ONE}", *where
                    )
                    await connection.execute(
                        "UPDATE aixgo_sessions SET owner = $4, began = $5, used = $5, expires = $6"
                        f" WHERE {_ONE}",
                        *where,
                        user,
                        entry.at,
                        expires,
                    )
                else:
                    _summary(row).check(user)
                position = row["newest"] + 1
                added = await connection.fetchval(
                    "INSERT INTO aixgo_session_entries VALUES ($1, $2, $3, $4, $5, $6)"
                    " ON CONFLICT DO NOTHING RETURNING position",
                    *where,
                    position,
                    entry.id,
                    body,
                )
                if added is not None:
                    await connection.execute(
                        "UPDATE aixgo_sessions SET newest = $4, used = greatest(used, $5),"
                        f" expires = $6 WHERE {_ONE}",
                        *where,
                        position,
                        entry.at,
                        expires,
                    )

    async def read(self, key: Key, *, upto: int | None = None) -> Conversation:
        """Return a conversation; see `SessionStore.read`."""
        where = (self._namespace, *key)
        with _errors():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                row = await connection.fetchrow(
                    f"SELECT {_COLUMNS} FROM aixgo_sessions WHERE {_ONE}", *where
                )
                if row is None or (upto is None and _summary(row).over(now())):
                    return empty(key)
                rows = await connection.fetch(
                    f"SELECT position, body FROM aixgo_session_entries WHERE {_ONE}"
                    " AND position <= $4 ORDER BY position",
                    *where,
                    row["newest"] if upto is None else upto,
                )
        entries = [Stored(one["position"], decoded(one["body"])) for one in rows]
        return Conversation(summary=_summary(row), entries=entries)

    async def find(self, *, agent: str = "", user: str = "") -> Sequence[Summary]:
        """Return summaries; see `SessionStore.find`."""
        with _errors():
            rows = await self._pool.fetch(
                f"SELECT {_COLUMNS} FROM aixgo_sessions WHERE namespace = $1"
                " AND ($2 = '' OR agent = $2) AND ($3 = '' OR owner = $3)",
                self._namespace,
                agent,
                user,
            )
        return in_order(map(_summary, rows), now())

    async def delete(self, key: Key) -> bool:
        """Remove a conversation; see `SessionStore.delete`."""
        with _errors():
            done = await self._pool.execute(
                f"DELETE FROM aixgo_sessions WHERE {_ONE}", self._namespace, *key
            )
        return _count(done) > 0

    async def sweep(self) -> int:
        """Remove what has expired; see `SessionStore.sweep`."""
        with _errors():
            done = await self._pool.execute(
                "DELETE FROM aixgo_sessions WHERE namespace = $1 AND expires > 0 AND expires <= $2",
                self._namespace,
                now() - SLACK_SECONDS,
            )
        return _count(done)


def _summary(row: Any) -> Summary:
    return Summary(
        agent=row["agent"],
        session=row["session"],
        user=row["owner"],
        began=row["began"],
        used=row["used"],
        expires=row["expires"],
    )


def _count(done: str) -> int:
    """Return the number of rows in what the server says, such as `DELETE 3`."""
    return int(done.rpartition(" ")[2])


@contextmanager
def _errors() -> Generator[None, None, None]:
    """Translate what the client library raises.

    Raises:
        StoreUnavailable, StoreError: instead.
    """
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
    ) as error:
        raise StoreUnavailable(
            f"the PostgreSQL server of `sessions` cannot be reached: {error or 'no answer in time'}"
            "; is it up, and is `url` right?"
        ) from error
    except asyncpg.PostgresError as error:
        raise StoreError(
            f"the PostgreSQL server of `sessions` refused: {error}; check the user's rights, and "
            "that its tables are those of this version"
        ) from error

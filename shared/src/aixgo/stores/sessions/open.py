"""From settings to a session store; its client library is loaded here and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aixgo.config.sessions import SessionSettings
from aixgo.errors import MissingExtra
from aixgo.stores.sessions.port import SessionStore
from aixgo.subjects import Names


@asynccontextmanager
async def open_sessions(
    settings: SessionSettings, names: Names
) -> AsyncGenerator[SessionStore | None, None]:
    """Open the store for the length of a block; None for the one in the broker, which is open.

    Raises:
        MissingExtra: its client library is not installed.
        StoreUnavailable: its server cannot be reached.
        StoreError: the server refuses the user, or to make the tables.
    """
    url = settings.url.get_secret_value()
    if settings.store == "redis":
        try:
            from aixgo.stores.sessions.redis import RedisSessions
        except ImportError as error:
            raise MissingExtra("keeping sessions in Redis", "redis") from error
        async with RedisSessions.open(url, names.namespace) as redis:
            yield redis
    elif settings.store == "postgres":
        try:
            from aixgo.stores.sessions.postgres import PostgresSessions
        except ImportError as error:
            raise MissingExtra("keeping sessions in PostgreSQL", "postgres") from error
        async with PostgresSessions.open(url, names.namespace) as postgres:
            yield postgres
    else:
        yield None

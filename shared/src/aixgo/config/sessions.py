"""Where sessions are kept: the `sessions:` section of a document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from aixgo.config.agents import Options
from aixgo.errors import ConfigError

SCHEMES = {
    "redis": "redis",
    "rediss": "redis",
    "postgres": "postgres",
    "postgresql": "postgres",
}
"""Store by the scheme of its URL."""

_SHOWN = {
    "redis": "redis://localhost:6379/0",
    "postgres": "postgresql://user:password@localhost/database",
}


class SessionSettings(Options):
    """Where conversations are kept."""

    store: Literal["broker", "redis", "postgres"] = "broker"
    """`broker`: beside everything else. `redis` (one server, no cluster; needs the extra `redis`)
    and `postgres` (its tables are made when they are not there; needs the extra `postgres`) are
    for sessions that other programs read, or that outlive the broker."""
    url: SecretStr = Field(default=SecretStr(""))
    """Address of the Redis or PostgreSQL server, with user and password where it wants them."""

    @model_validator(mode="after")
    def _fits(self) -> SessionSettings:
        url = self.url.get_secret_value()
        if self.store == "broker":
            if url:
                raise ValueError("`url` is the address of another store; add `store: postgres`")
        elif SCHEMES.get(url.partition("://")[0]) != self.store:
            raise ValueError(
                f"`url` must be the address of a {self.store} server, such as "
                f"{_SHOWN[self.store]}" + ("" if url else "; it is missing")
            )
        return self

    @classmethod
    def at(cls, url: str) -> SessionSettings:
        """Return the settings of the store at an address; of the broker for an empty one.

        Raises:
            ConfigError: no store has such an address.
        """
        if not url:
            return cls()
        scheme = url.partition("://")[0]
        store = SCHEMES.get(scheme)
        if store is None:
            raise ConfigError(
                f"an address of a session store begins with {'://, '.join(SCHEMES)}://, not "
                f"{scheme[:20]!r}"
            )
        return cls.model_validate({"store": store, "url": url})

"""Addresses of NATS servers, and how one signs in there: from addresses, documents, variables.

Where sign-in is given several times, the nearest counts as a whole: an argument of a function, then
the address, then the document's `deployment.access`, then the environment. So does TLS. Secrets are
read when one connects, and never shown.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, model_validator

from aixgo.config.agents import Options
from aixgo.errors import ConfigError

ENVIRONMENT = "AIXGO_NATS_"
"""What the variables of this module begin with; they are listed in docs/reference/configuration.md.
"""

_SCHEMES = ("nats://", "tls://")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNESCAPED = "@/#?[]"
_NEXT_SERVER = re.compile(r",\s*(?=(?:nats|tls)://)")


@dataclass(frozen=True, kw_only=True)
class Servers:
    """A parsed address.

    Attributes:
        urls: of each server, without credentials.
        sign_in: `user` and `password`, or `token`, as options of a connect; empty without.
    """

    urls: tuple[str, ...]
    sign_in: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse_servers(address: str) -> Servers:
    """Return the servers of an address.

    Raises:
        ConfigError: it is not `nats://host:port` or `tls://host:port`, several separated by commas;
            or a password in it has characters that must be escaped.
    """
    urls: list[str] = []
    sign_in: dict[str, str] = {}
    for part in _parts(address):
        scheme, separator, rest = part.partition("://")
        user_info, at, host = rest.rpartition("@")
        url = f"{scheme}{separator}{host}"
        try:
            parts = urlsplit(url)
            valid = (
                f"{scheme}{separator}" in _SCHEMES
                and bool(parts.hostname)
                and parts.port != 0
                and parts.path in ("", "/")
                and not (parts.query or parts.fragment)
                and not any(character.isspace() for character in part)
            )
        except ValueError:
            valid = False
        if not valid:
            raise ConfigError(_no_address(address))
        urls.append(url.rstrip("/"))
        if at:
            found = _sign_in(user_info)
            if sign_in and found != sign_in:
                raise ConfigError(
                    "the servers of an address have different users or passwords; one client "
                    "signs in to all of a cluster's servers the same way, so write them once"
                )
            sign_in = found
    return Servers(urls=tuple(urls), sign_in=sign_in)


def _parts(address: str) -> list[str]:
    """Return the servers of an address; one without a scheme has that of the first."""
    found: list[str] = []
    for piece in _NEXT_SERVER.split(address.strip()):
        before_host, at, hosts = piece.rpartition("@")
        first, *others = hosts.split(",")
        scheme = piece.partition("://")[0]
        found.append(f"{before_host}{at}{first}".strip())
        found += [
            other.strip() if "://" in other else f"{scheme}://{other.strip()}" for other in others
        ]
    return found


def _sign_in(user_info: str) -> dict[str, str]:
    user, colon, password = user_info.partition(":")
    strange = {mark for mark in _UNESCAPED if mark in user_info}
    if _ESCAPE.search(user_info):
        strange.add("%")
    if strange:
        escapes = ", ".join(f"%{ord(mark):02X} for {mark}" for mark in sorted(strange))
        raise ConfigError(
            "the user or password in the broker's address has characters that mean something else "
            f"there; write {escapes}, or leave both out of the address and set {ENVIRONMENT}USER "
            f"and {ENVIRONMENT}PASSWORD"
        )
    if colon:
        return {"user": unquote(user), "password": unquote(password)}
    return {"token": unquote(user)}


def _no_address(address: str) -> str:
    text = (
        f"{shown(address)!r} is not an address of a NATS server; write nats://host:4222 or "
        "tls://host:4222, several separated by commas"
    )
    if "@" in address:
        text += "; in a user or password write %40 for @, %2F for /, %23 for #, %2C for a comma"
    return text


def shown(address: str) -> str:
    """Return an address that may be shown: without anything that may belong to a password."""
    pieces = []
    for piece in _NEXT_SERVER.split(address.strip()):
        scheme, separator, rest = piece.partition("://")
        if not separator:
            scheme, rest = "", piece
        _, at, hosts = rest.rpartition("@")
        # without a host to tell, what stands there may be half of a password
        whole = hosts if not at or re.fullmatch(r"[\w.\-:\[\],/]*", hosts) else "…"
        pieces.append(f"{scheme}{separator}{whole}")
    return ",".join(pieces)


class Tls(Options):
    """Certificates for a server that speaks TLS."""

    ca: str | None = None
    """File with the authorities that sign the servers' certificates, if not the system's."""
    cert: str | None = None
    """File with this client's certificate."""
    key: str | None = None
    """File with the key of that certificate."""
    hostname: str | None = None
    """Name to expect in the server's certificate, if not the address's."""

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both files")
        return self

    def context(self) -> ssl.SSLContext:
        """Return the settings of a connection.

        Raises:
            ConfigError: a file cannot be read, or is not a certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the file {self.ca!r} with authorities cannot be used: {_why(error)}; give the "
                "path of certificates in PEM form"
            ) from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"the certificate {self.cert!r} with the key {self.key!r} cannot be used: "
                    f"{_why(error)}; give the paths of both in PEM form, and the key that belongs "
                    "to the certificate"
                ) from error
        return context


class Access(Options):
    """How clients sign in to the NATS server; one way of these, or none."""

    user: str | None = None
    """Name of the user; with a password."""
    password: SecretStr | None = None
    """Password of the user; better left to the environment, or written as `${VAR}`."""
    password_file: str | None = None
    """File with the password."""
    token: SecretStr | None = None
    """A token instead of user and password."""
    token_file: str | None = None
    """File with the token."""
    nkey: SecretStr | None = None
    """Seed of an nkey (`SU…`)."""
    nkey_file: str | None = None
    """File with the seed of an nkey."""
    credentials: str | None = None
    """File with a user's JWT and its seed (`.creds`)."""
    inbox: str | None = None
    """What answers to this client begin with, on a server whose permissions give each user an inbox
    of its own; `_INBOX` if not given."""
    tls: Tls = Field(default_factory=Tls)
    """Certificates; not needed when the system knows the server's authority."""

    @model_validator(mode="after")
    def _one_way(self) -> Access:
        for name in ("password", "token", "nkey"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"both {name} and {name}_file are given; give one of them")
        has_password = self.password is not None or self.password_file is not None
        if (self.user is not None) != has_password:
            raise ValueError("user and password belong together; give both, or neither")
        ways = [
            name
            for name, given in {
                "user": self.user,
                "token": self.token or self.token_file,
                "nkey": self.nkey or self.nkey_file,
                "credentials": self.credentials,
            }.items()
            if given is not None
        ]
        if len(ways) > 1:
            raise ValueError(
                f"{' and '.join(ways)} are given, but a client signs in one way; keep one"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return what the variables `AIXGO_NATS_…` say.

        Raises:
            ConfigError: they contradict each other.
        """
        environment = os.environ if environment is None else environment

        def fields(model: type[Options], prefix: str) -> dict[str, str]:
            return {
                name: value
                for name in model.model_fields
                if name != "tls" and (value := environment.get(f"{prefix}{name.upper()}", ""))
            }

        found: dict[str, Any] = fields(cls, ENVIRONMENT)
        try:
            return cls(**found, tls=Tls(**fields(Tls, f"{ENVIRONMENT}TLS_")))
        except ValueError as error:
            reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
            raise ConfigError(f"variables {ENVIRONMENT}… of the environment: {reason}") from None

    def or_else(self, other: Access) -> Access:
        """Return this, with the other's sign-in or certificates where this has none."""
        mine, tls = self._sign_in(), self.tls
        base = self if mine else other
        return base.model_copy(
            update={
                "tls": other.tls if tls == Tls() else tls,
                "inbox": self.inbox or other.inbox,
            }
        )

    def _sign_in(self) -> dict[str, Any]:
        return self.model_dump(exclude={"tls", "inbox"}, exclude_none=True)

    def options(self) -> dict[str, Any]:
        """Return the options of a connect; reads the files.

        Raises:
            ConfigError: a file cannot be read.
        """
        password, token = self._secret("password"), self._secret("token")
        nkey = self._secret("nkey")
        options: dict[str, Any] = {
            "user": self.user,
            "password": password,
            "token": token,
            "nkeys_seed": nkey,
            "credentials": self.credentials,
            "inbox_prefix": self.inbox,
        }
        if self.tls != Tls():
            options["tls"] = self.tls.context()
            options["tls_hostname"] = self.tls.hostname
        return {name: value for name, value in options.items() if value is not None}

    def _secret(self, name: str) -> str | None:
        given: SecretStr | None = getattr(self, name)
        if given is not None:
            return given.get_secret_value().strip()
        path: str | None = getattr(self, f"{name}_file")
        if path is None:
            return None
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the file {path!r} with the {name} cannot be read: {_why(error)}; give the path "
                "of a text file that this user may read"
            ) from error
        if not text:
            raise ConfigError(f"the file {path!r} with the {name} is empty; write the {name} in it")
        return text


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

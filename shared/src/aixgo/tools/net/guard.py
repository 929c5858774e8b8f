"""Which addresses tools may connect to: public ones, and what their declaration opens (SSRF).

A name is resolved once for each connection. All of its addresses are checked, and the connection
goes to one that was checked, so a name cannot mean something else a moment later.

Source of the ranges: the IANA special-purpose address registries (RFC 6890 and its updates). They
are listed here because what Python calls private differs between its releases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from aixgo.errors import AddressBlocked, ConfigError

Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google Cloud, and others
            "169.254.170.2",  # tasks of AWS ECS
            "fd00:ec2::254",  # AWS
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure; looks like a public address
            "192.0.0.192",  # Oracle Cloud
        ),
    )
)

_V4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "private"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # Teredo, which hides an IPv4 address, and experiments
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "reserved"),  # 6to4, which hides an IPv4 address
        ("3fff::/20", "reserved"),
    )
)
_V6_PUBLIC = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

_OPENED = frozenset({"private", "loopback"})
"""What `allow_private` opens."""

_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE | re.ASCII)


def kind_of(address: Address) -> str:
    """Return why an address is not a public one, such as `private`; empty for a public one.

    An IPv6 address that stands for an IPv4 address is judged by that.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return kind_of(inner)
    if address in _METADATA:
        return "metadata"
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), "")
    kind = next((kind for network, kind in _V6 if address in network), "")
    return kind or ("" if address in _V6_PUBLIC else "reserved")


class Guard:
    """Says which hosts and addresses one tool may connect to.

    Args:
        what: it is for, in errors, such as "tool 'weather'".
        allow_hosts: names, addresses and networks that are allowed whatever kind of address they
            are; those of clouds' metadata included, so name them with care.
        allow_private: whether private and loopback addresses are allowed too.

    Raises:
        ConfigError: one of the hosts is not a name, an address or a network.
    """

    def __init__(
        self, what: str, *, allow_hosts: Iterable[str] = (), allow_private: bool = False
    ) -> None:
        self._what = what
        self._allow_private = allow_private
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for given in allow_hosts:
            self._allow(given.strip())

    def _allow(self, given: str) -> None:
        try:
            self._networks.append(ip_network(given.strip("[]"), strict=False))
            return
        except ValueError:
            pass
        try:
            name = _plain(given.encode("idna").decode())
        except UnicodeError:
            name = ""
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(
                f"{self._what}: allow_hosts: {given!r:.80} is not a host; write a name such as "
                "'api.internal', an address or a network such as '10.1.0.0/16', without scheme, "
                "port and path"
            )
        self._names.add(name)

    def check_host(self, host: str) -> None:
        """Refuse a host of a URL that is written as an address which is not allowed.

        Raises:
            AddressBlocked: it is one, or a spelling of one that programs read in different ways.
        """
        name = _plain(host)
        try:
            address = ip_address(name)
        except ValueError:
            if not name or "%" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):
                raise AddressBlocked(
                    host,
                    f"{self._what} may not connect to {host!r:.80}: it is neither a name nor an "
                    "address in its usual form, such as 192.0.2.1",
                ) from None
            return
        self._check(host, address)

    def check_addresses(self, host: str, addresses: Iterable[str]) -> None:
        """Refuse a name if one of its addresses is not allowed.

        Raises:
            AddressBlocked: as it says.
        """
        if _plain(host) in self._names:
            return
        for text in addresses:
            self._check(host, ip_address(text.partition("%")[0]))

    def allows(self, host: str, address: str) -> bool:
        """Whether a connection for a host may go to an address."""
        try:
            self.check_addresses(host, [address])
        except AddressBlocked:
            return False
        return True

    def _check(self, host: str, address: Address) -> None:
        kind = kind_of(address)
        if not kind or (self._allow_private and kind in _OPENED):
            return
        if any(address in network for network in self._networks):
            return
        # the address of a name is not told: a model reads this
        fix = "add the host to `allow_hosts`"
        if kind in _OPENED:
            fix += ", or set `allow_private: true`"
        raise AddressBlocked(
            host,
            f"{self._what} may not connect to {host!r:.80}, which is a {kind} address; if it is "
            f"meant to, {fix}",
        )


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()

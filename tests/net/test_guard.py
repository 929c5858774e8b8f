"""Which addresses tools may connect to, and that a name cannot mean two things (SSRF)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aixgo.errors import AddressBlocked, ConfigError, ToolNotDone, ToolUnavailable
from aixgo.testing.waiting import PATIENCE_SECONDS
from aixgo.tools.net.exchange import Call, Reply
from aixgo.tools.net.guard import Guard, kind_of
from aixgo.tools.net.resolver import Lookup, only_connected
from aixgo.tools.net.web import Web

from ._site import Site, answer, built, running_site, use

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "2606:4700:4700::1111",
    "2a00:1450:4001:829::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]

NOT_PUBLIC = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "fc00::1": "private",
    "fdff::1": "private",
    "fec0::1": "private",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "169.254.1.1": "link-local",
    "fe80::1": "link-local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "fd00:ec2::254": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "ff02::1": "multicast",
    "192.0.0.8": "reserved",
    "192.0.2.1": "reserved",
    "198.18.0.1": "reserved",
    "198.51.100.1": "reserved",
    "203.0.113.1": "reserved",
    "192.88.99.1": "reserved",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "2001:db8::1": "reserved",
    "100::1": "reserved",
    "5f00::1": "reserved",
    # an IPv4 address inside of an IPv6 address
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "metadata",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b:1::127.0.0.1": "reserved",
    "::127.0.0.1": "reserved",
    "2002:7f00:1::1": "reserved",
    "2002:a9fe:a9fe::": "reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert kind_of(ip_address(address)) == ""
    Guard("tool 't'").check_addresses("api.example.com", [address])
    Guard("tool 't'").check_host(address)


@pytest.mark.parametrize(("address", "kind"), NOT_PUBLIC.items())
def test_every_other_address_is_refused_with_its_kind(address: str, kind: str) -> None:
    assert kind_of(ip_address(address)) == kind
    guard = Guard("tool 't'")
    with pytest.raises(AddressBlocked, match=f"'h.example', which is a {kind} address"):
        guard.check_addresses("h.example", ["8.8.8.8", address])
    with pytest.raises(AddressBlocked, match=f"which is a {kind} address"):
        guard.check_host(address)
    assert not guard.allows("h.example", address)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "127.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "1.2.3.4.5",
        "host.1",
        "256.256.256.256",
        "%31%32%37.0.0.1",
        "",
    ],
)
def test_a_spelling_that_programs_read_in_different_ways_is_refused(host: str) -> None:
    with pytest.raises(AddressBlocked, match="neither a name nor an address in its usual form"):
        Guard("tool 't'", allow_private=True).check_host(host)


def test_what_is_opened_is_open_and_nothing_else() -> None:
    private = Guard("tool 't'", allow_private=True)
    for address in ("127.0.0.1", "10.0.0.1", "::1", "fc00::1", "::ffff:127.0.0.1", "100.64.0.1"):
        assert private.allows("h", address)
    for address in ("169.254.169.254", "169.254.0.1", "fd00:ec2::254", "0.0.0.0", "224.0.0.1"):
        assert not private.allows("h", address)
    hosts = Guard("tool 't'", allow_hosts=["API.internal.", "10.1.0.0/16", "fd00::5"])
    assert hosts.allows("api.internal", "10.200.0.1")
    assert hosts.allows("other", "10.1.200.3")
    assert hosts.allows("other", "fd00::5")
    assert not hosts.allows("other", "10.2.0.1")
    assert not hosts.allows("x.api.internal", "10.200.0.1")
    hosts.check_host("10.1.0.7")


@pytest.mark.parametrize(
    "host", ["http://api", "api:80", "a/b", "", "*.internal", "a..b", "x" * 64]
)
def test_what_is_not_a_host_cannot_be_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match="is not a host; write a name"):
        Guard("tool 't'", allow_hosts=[host])


def test_a_refusal_does_not_tell_a_model_the_address_of_a_name() -> None:
    with pytest.raises(AddressBlocked) as caught:
        Guard("tool 't'").check_addresses("db.internal", ["10.9.8.7"])
    assert "10.9.8.7" not in str(caught.value)
    assert "allow_private: true" in str(caught.value)
    assert caught.value.host == "db.internal"
    assert not caught.value.retryable


# -- names ---------------------------------------------------------------------------------------


class Names:
    """A resolver whose answers are programmed: one list of addresses for each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def client(guard: Guard, lookup: Lookup, **more: Any) -> Web:
    known: dict[str, Any] = {"once": False, "max_body": 10_000, "connect_timeout": 20.0}
    return Web("tool 't'", guard, lookup=lookup, **known | more)


async def get(web_: Web, url: str) -> Reply:
    return await web_.send(Call(method="GET", url=url), remaining=PATIENCE_SECONDS, follow=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


def port_of(site: Site) -> str:
    return site.url.rpartition(":")[2]


async def test_a_name_is_resolved_once_for_a_connection_that_goes_to_what_was_checked(
    site: Site,
) -> None:
    first = Guard("tool 't'", allow_hosts=["127.0.0.1/32"])
    # what a second question would be answered: another loopback address, with a secret
    async with running_site("127.0.0.2", int(port_of(site))) as secret:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        web_ = client(first, names)
        reply = await get(web_, f"http://rebind.test:{port_of(site)}/")
        assert reply.status == 200
        assert names.asked == 1
        with pytest.raises(AddressBlocked, match=r"'rebind\.test', which is a loopback address"):
            await get(web_, f"http://rebind.test:{port_of(site)}/")
        assert names.asked == 2
        assert len(site.seen) == 1
        assert secret.seen == []


async def test_a_name_with_one_address_that_is_not_allowed_is_refused_as_a_whole(
    site: Site,
) -> None:
    web_ = client(Guard("tool 't'"), Names(["93.184.216.34", "127.0.0.1"]))
    with pytest.raises(AddressBlocked):
        await get(web_, f"http://mixed.test:{port_of(site)}/")
    assert site.seen == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_loopback_is_refused_in_every_form(site: Site, host: str) -> None:
    tool = built(url=f"http://{host}:{port_of(site)}/")
    with pytest.raises(AddressBlocked, match="loopback address; if it is meant to, add the host"):
        await use(tool)
    assert site.seen == []


async def test_what_the_declaration_opens_is_connected_to(site: Site) -> None:
    for more in ({"allow_private": True}, {"allow_hosts": ["localhost"]}):
        tool = built(url=f"http://localhost:{port_of(site)}/", **more)
        assert await use(tool) == {"ok": True}
    tool = built(url=site.url, allow_hosts=["127.0.0.0/8"])
    assert await use(tool) == {"ok": True}


async def test_a_name_without_an_address_is_unavailable() -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ToolUnavailable, match=r"no address of 'nowhere\.test' was found"):
        await get(client(Guard("tool 't'"), nothing), "http://nowhere.test/")


async def test_a_resolver_that_hangs_is_given_up_before_anything_is_sent() -> None:
    async def hanging(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    web_ = client(Guard("tool 't'"), hanging, connect_timeout=0.05)
    with pytest.raises(ToolUnavailable, match="no connection in time"):
        await get(web_, "http://slow.test/")


def test_a_socket_is_never_made_for_a_name() -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        only_connected((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("localhost", 80)))


# -- redirects -----------------------------------------------------------------------------------


async def test_a_redirect_at_the_same_origin_is_followed(site: Site) -> None:
    site.will(answer("", status=307, Location="/there?x=1#part"))
    assert await use(built(url=f"{site.url}/here", allow_private=True)) == {"ok": True}
    assert [one.target for one in site.seen] == ["/here", "/there?x=1"]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:1/",
        "//127.0.0.2/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user@{host}/",
        "http://[/",
    ],
)
async def test_a_redirect_to_elsewhere_is_not_followed(site: Site, location: str) -> None:
    host = site.url.removeprefix("http://")
    site.will(answer("", status=302, Location=location.replace("{host}", host)))
    tool = built(url=site.url, allow_private=True)
    with pytest.raises(ToolNotDone, match="answered 302; redirects are followed at the same"):
        await use(tool)
    assert len(site.seen) == 1


async def test_redirects_end_somewhere(site: Site) -> None:
    site.will(*(answer("", status=302, Location="/") for _ in range(9)))
    with pytest.raises(Exception, match=r"redirected 6 times; the limit is 5"):
        await use(built(url=site.url, allow_private=True))
    assert len(site.seen) == 6


async def test_no_redirect_is_followed_where_none_is_wanted(site: Site) -> None:
    site.will(answer("", status=307, Location="/there"))
    with pytest.raises(ToolNotDone, match="answered 307"):
        await use(built(url=site.url, allow_private=True, follow="never"))
    assert len(site.seen) == 1


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            *("-days", "2", "-subj", "/CN=right.test", "-addext", "subjectAltName=DNS:right.test"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


async def test_a_certificate_is_checked_by_name_although_the_address_is_pinned(
    certificate: Path,
) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    async def hello(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="hello")

    runner = web.ServerRunner(web.Server(hello))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served).start()
    port = runner.addresses[0][1]
    try:
        guard = Guard("tool 't'", allow_private=True)
        web_ = client(guard, Names(["127.0.0.1"]), tls=trusted)
        assert (await get(web_, f"https://right.test:{port}/")).body == b"hello"
        with pytest.raises(ToolNotDone, match="no certificate that can be trusted") as caught:
            await get(web_, f"https://wrong.test:{port}/")
        assert not caught.value.retryable
        with pytest.raises(ToolNotDone, match="self-signed certificate"):
            await get(client(guard, Names(["127.0.0.1"])), f"https://right.test:{port}/")
    finally:
        await runner.cleanup()


async def test_a_server_without_tls_is_told(site: Site) -> None:
    tool = built(url=site.url.replace("http", "https"), method="POST", allow_private=True)
    with pytest.raises(ToolNotDone, match=r"no secure connection .* does it speak TLS\?") as caught:
        await use(tool)
    assert not caught.value.retryable
    assert site.seen == []

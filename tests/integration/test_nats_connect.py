"""What connecting says when it cannot work; and that it works with every kind of credentials."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from pydantic import SecretStr

from aixgo import App
from aixgo.broker.nats import NatsBroker
from aixgo.broker.open import open_broker
from aixgo.config.servers import Access
from aixgo.errors import (
    AuthenticationFailed,
    ConfigError,
    JetStreamDisabled,
    ServerTooOld,
    Unreachable,
)
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.nats

USERS = "authorization { timeout: 60, users: [ { user: ann, password: secret } ] }"


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def works(broker: NatsBroker) -> None:
    async with broker:
        assert broker.connected
        await broker.flush()
        assert await broker.stream_names() == []


async def test_where_nobody_listens_the_error_comes_at_once_and_hides_the_password() -> None:
    port = free_port()
    begun = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        await NatsBroker.connect(
            f"nats://ann:secret@127.0.0.1:{port}", connect_timeout=PATIENCE_SECONDS
        )
    assert time.monotonic() - begun < SOON_SECONDS
    assert f"nats://127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_server_that_comes_later_is_waited_for_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with NatsServer() as server:
        server.kill()
        connecting = asyncio.create_task(NatsBroker.connect(server.url, wait=PATIENCE_SECONDS))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "broker.awaited" not in caplog.text:  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.01)
        server.spawn()
        await works(await asyncio.wait_for(connecting, PATIENCE_SECONDS))


async def test_nobody_waits_for_a_server_that_refuses_the_client() -> None:
    with NatsServer(USERS) as server:
        begun = time.monotonic()
        with pytest.raises(AuthenticationFailed):
            await NatsBroker.connect(
                server.url, user="ann", password="wrong", wait=PATIENCE_SECONDS
            )
        assert time.monotonic() - begun < SOON_SECONDS


async def test_waiting_for_a_server_has_an_end() -> None:
    with pytest.raises(Unreachable, match=r"It was waited for 0\.3 s"):
        await NatsBroker.connect(f"nats://127.0.0.1:{free_port()}", wait=0.3)
    with pytest.raises(ConfigError, match="wait is -1 s"):
        await NatsBroker.connect("nats://127.0.0.1:4222", wait=-1)


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"nats://no-such-host\.invalid:4222"):
        await NatsBroker.connect("nats://no-such-host.invalid:4222", connect_timeout=2.0)


@asynccontextmanager
async def speaking(
    greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object] | None,
) -> AsyncGenerator[str, None]:
    """A server on loopback that says whatever `greet` says."""
    over = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greet is not None:
            greet(reader, writer)
        await over.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()


async def test_a_server_that_says_nothing_is_given_up_after_the_connect_timeout() -> None:
    async with speaking(None) as url:
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=r"within 0\.3 s"):
            await NatsBroker.connect(url, connect_timeout=0.3)
        assert 0.25 < time.monotonic() - begun < SOON_SECONDS


async def test_something_else_than_nats_is_unreachable() -> None:
    def http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with speaking(http) as url:
        with pytest.raises(Unreachable, match="no NATS server answered at"):
            await NatsBroker.connect(url, connect_timeout=PATIENCE_SECONDS)


async def test_a_client_that_was_too_slow_to_sign_in_is_not_refused_for_good() -> None:
    def hurries(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\n-ERR 'Authentication Timeout'\r\n")

    async with speaking(hurries) as url:
        with pytest.raises(Unreachable, match="Authentication Timeout"):
            await NatsBroker.connect(url, connect_timeout=1.0)


async def test_a_server_below_the_supported_version_is_refused_by_name() -> None:
    answers: set[asyncio.Task[None]] = set()

    def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"X","version":"2.9.10","headers":true,"jetstream":true,'
            b'"max_payload":1048576}\r\n'
        )

        async def pong() -> None:
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")

        answers.add(asyncio.ensure_future(pong()))

    async with speaking(old) as url:
        with pytest.raises(ServerTooOld) as caught:
            await NatsBroker.connect(url)
    await asyncio.gather(*answers)
    assert "2.9.10" in str(caught.value)
    assert "2.12" in str(caught.value)


async def test_a_server_without_jetstream_says_how_to_switch_it_on() -> None:
    with (
        NatsServer(jetstream=False) as server,
        pytest.raises(JetStreamDisabled, match="nats-server -js"),
    ):
        await NatsBroker.connect(server.url)


@pytest.mark.parametrize(
    "credentials",
    [{"user": "ann", "password": "wrong"}, {"token": "wrong"}, {}],
    ids=["wrong password", "token instead of user", "nothing"],
)
async def test_wrong_credentials_are_refused_at_once(credentials: dict[str, Any]) -> None:
    with NatsServer(USERS) as server:
        begun = time.monotonic()
        with pytest.raises(AuthenticationFailed) as caught:
            await NatsBroker.connect(server.url, connect_timeout=PATIENCE_SECONDS, **credentials)
        assert time.monotonic() - begun < SOON_SECONDS
        assert "wrong" not in str(caught.value)


async def test_user_and_password_work_as_options_and_in_the_address() -> None:
    with NatsServer(USERS) as server:
        await works(await NatsBroker.connect(server.url, user="ann", password="secret"))
        await works(await NatsBroker.connect(server.url_of("ann", "secret")))


async def test_a_token_works_as_option_and_in_the_address() -> None:
    with NatsServer('authorization { timeout: 60, token: "t0ken" }') as server:
        await works(await NatsBroker.connect(server.url, token="t0ken"))
        await works(await NatsBroker.connect(server.url.replace("//", "//t0ken@")))


async def test_a_password_in_the_address_is_decoded(fast: bool) -> None:
    password = "pa@ss/w:rd#1,%?"
    user = json.dumps({"user": "u", "password": password})
    with NatsServer(f"authorization {{ timeout: 60, users: [ {user} ] }}") as server:
        host = server.url.removeprefix("nats://")
        await works(
            await NatsBroker.connect(f"nats://u:{quote(password, safe='')}@{host}", fast=fast)
        )
        with pytest.raises(ConfigError, match="write %23 for #, %40 for @") as caught:
            await NatsBroker.connect(f"nats://u:pa@ss#{host}@{host}", fast=fast)
        assert "ss#" not in str(caught.value)


async def test_what_signs_in_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret-w0rd\n")
    users = 'authorization { timeout: 60, users: [ { user: "u", password: "s3cret-w0rd" } ] }'
    with NatsServer(users) as server:
        with pytest.raises(AuthenticationFailed):
            async with open_broker(server.url):
                pass
        monkeypatch.setenv("AIXGO_NATS_USER", "u")
        monkeypatch.setenv("AIXGO_NATS_PASSWORD_FILE", str(secret))
        async with open_broker(server.url) as broker:
            await broker.flush()
        # a document counts more than the environment, and an address more than a document
        wrong = Access(token=SecretStr("no"))
        with pytest.raises(AuthenticationFailed) as caught:
            async with open_broker(server.url, access=wrong):
                pass
        assert "s3cret" not in str(caught.value)
        address = server.url.replace("//", "//u:s3cret-w0rd@")
        async with open_broker(address, access=wrong) as broker:
            await broker.flush()
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("given", [True, False], ids=["given", "of the document"])
async def test_a_system_signs_in_as_its_document_says(tmp_path: Path, given: bool) -> None:
    (tmp_path / "agents.yaml").write_text(
        "version: 2\n"
        "deployment: {access: {user: ann, password: secret}}\n"
        "agents: [{name: journal, role: logger}]\n"
    )
    app = App.from_file(tmp_path / "agents.yaml")
    with NatsServer(USERS) as server:
        if given:
            wrong = Access(user="ann", password=SecretStr("other"))
            with pytest.raises(AuthenticationFailed):
                async with app.running(server.url, access=wrong):
                    pytest.fail("it signed in as the document says")
        else:
            async with app.running(server.url) as system:
                assert (await system.call("journal", "hi", timeout=30)).text == "hi"


async def test_certificates_come_from_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with NatsServer(authority.server_config) as server:
        address = server.url.replace("nats:", "tls:")
        with pytest.raises(AuthenticationFailed):
            async with open_broker(address):
                pass
        monkeypatch.setenv("AIXGO_NATS_TLS_CA", str(authority.ca))
        async with open_broker(address) as broker:
            await broker.flush()


async def test_certificates_for_a_server_without_tls_are_an_error(authority: Authority) -> None:
    with NatsServer() as server, pytest.raises(AuthenticationFailed, match="does not speak TLS"):
        await NatsBroker.connect(server.url, tls=authority.context)


async def test_an_nkey_works_as_seed_and_as_file(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    seed: bytes = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    path = tmp_path / "user.nk"
    path.write_bytes(seed)
    with NatsServer(f"authorization {{ timeout: 60, users: [ {{ nkey: {public} }} ] }}") as server:
        await works(await NatsBroker.connect(server.url, nkeys_seed=seed.decode()))
        await works(await NatsBroker.connect(server.url, nkeys_seed=path))
        with pytest.raises(AuthenticationFailed):
            await NatsBroker.connect(server.url)


async def test_of_several_addresses_one_that_answers_is_enough() -> None:
    with NatsServer() as server:
        dead = f"nats://127.0.0.1:{free_port()}"
        for address in (f"{dead},{server.url}", f"{server.url}, {dead}"):
            await works(await NatsBroker.connect(address))


@pytest.mark.parametrize(
    "address",
    ["localhost", "http://localhost:4222", "nats://", "nats://host:port", "nats://a,http://b", ""],
)
async def test_an_address_that_is_none_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigError, match="nats://host:4222"):
        await NatsBroker.connect(address)


async def test_a_connect_timeout_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="connect_timeout is 0 s"):
        await NatsBroker.connect("nats://localhost:4222", connect_timeout=0)


async def test_a_seed_that_is_none_is_refused() -> None:
    pytest.importorskip("nkeys")
    with NatsServer(USERS) as server, pytest.raises(ConfigError, match="cannot be used"):
        await NatsBroker.connect(server.url, nkeys_seed="SUnonsense")


@pytest.mark.parametrize("option", ["nkeys_seed", "credentials"])
async def test_a_file_of_credentials_that_is_not_there_is_named(
    option: str, tmp_path: Path
) -> None:
    pytest.importorskip("nkeys")
    missing: dict[str, Any] = {option: tmp_path / "missing.creds"}
    with (
        NatsServer('authorization { timeout: 60, token: "t0ken" }') as server,
        pytest.raises(ConfigError, match=r"missing\.creds"),
    ):
        await NatsBroker.connect(server.url, **missing)


# -- TLS -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate authority and a server certificate signed by it."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def server_config(self) -> str:
        return f'tls {{ timeout: 60, cert_file: "{self.certificate}", key_file: "{self.key}" }}'

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    made = Authority(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    ca = trustme.CA()  # with the key identifiers that Python demands from 3.13 on
    server = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(made.ca)
    server.cert_chain_pems[0].write_to_path(made.certificate)
    server.private_key_pem.write_to_path(made.key)
    return made


async def test_tls_with_a_known_authority_works(authority: Authority, fast: bool) -> None:
    with NatsServer(authority.server_config) as server:
        address = server.url.replace("nats:", "tls:")
        broker = await NatsBroker.connect(address, tls=authority.context, fast=fast)
        await works(broker)


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    with (
        NatsServer(authority.server_config) as server,
        pytest.raises(AuthenticationFailed, match="certificate"),
    ):
        await NatsBroker.connect(server.url.replace("nats:", "tls:"))


async def test_tls_is_never_silently_left_out(authority: Authority) -> None:
    with NatsServer() as server, pytest.raises(AuthenticationFailed, match="does not speak TLS"):
        await NatsBroker.connect(server.url.replace("nats:", "tls:"), tls=authority.context)

"""Addresses and sign-in: what is decoded, what is refused, what counts, and what is never shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from aixgo.config.deployment import Deployment
from aixgo.config.servers import Access, Tls, parse_servers, shown
from aixgo.errors import ConfigError

words = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())


@given(words, words)
def test_any_escaped_user_and_password_is_decoded(user: str, password: str) -> None:
    address = f"nats://{quote(user, safe='')}:{quote(password, safe='')}@host:4222"
    servers = parse_servers(address)
    assert servers.urls == ("nats://host:4222",)
    assert servers.sign_in == {"user": user, "password": password}
    assert "host" in shown(address)


@pytest.mark.parametrize(
    ("address", "urls"),
    [
        ("nats://a", ["nats://a"]),
        ("tls://a:1/", ["tls://a:1"]),
        ("nats://a:1,nats://b:2", ["nats://a:1", "nats://b:2"]),
        ("nats://a:1, b:2", ["nats://a:1", "nats://b:2"]),
        ("nats://u:p@a:1,u@b:2".replace(",u@", ",nats://u:p@"), ["nats://a:1", "nats://b:2"]),
        ("nats://u:p,q@a:1,b:2", ["nats://a:1", "nats://b:2"]),
        ("nats://[::1]:4222", ["nats://[::1]:4222"]),
    ],
)
def test_an_address_is_one_server_or_several(address: str, urls: list[str]) -> None:
    assert list(parse_servers(address).urls) == urls


@pytest.mark.parametrize("password", ["pa@ss", "pa/ss", "pa#ss", "pa?ss", "100%", "a@b/c:d#1"])
def test_a_password_without_escapes_says_what_to_write(password: str) -> None:
    with pytest.raises(ConfigError, match="AIXGO_NATS_PASSWORD") as caught:
        parse_servers(f"nats://u:{password}@host:4222")
    text = str(caught.value)
    for mark in "@/#?%":
        assert (f"%{ord(mark):02X} for {mark}" in text) == (mark in password)
    assert password not in text
    with pytest.raises(ValidationError, match="AIXGO_NATS_PASSWORD"):
        Deployment(broker=f"nats://u:{password}@host:4222")


@pytest.mark.parametrize(
    "address",
    ["host", "http://host", "nats://", "nats://h:port", "nats://h:0", "nats://h/x", "nats://h#x"],
)
def test_what_is_not_an_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigError, match="nats://host:4222"):
        parse_servers(address)


def test_different_users_for_one_cluster_are_refused() -> None:
    with pytest.raises(ConfigError, match="different users"):
        parse_servers("nats://a:1@h,nats://b:2@i")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("nats://u:p@a:1,tls://t@b:2, nats://c:3", "nats://a:1,tls://b:2,nats://c:3"),
        ("nats://u:p/q@a:1", "nats://a:1"),
        ("nats://u:p@q@a:1", "nats://a:1"),
        ("nats://u:p@q#secret", "nats://…"),
    ],
)
def test_credentials_are_cut_out_of_every_address(address: str, wanted: str) -> None:
    assert shown(address) == wanted


# -- sign-in -------------------------------------------------------------------------------------


def test_the_environment_is_read_whole() -> None:
    access = Access.from_environment(
        {
            "AIXGO_NATS_USER": "u",
            "AIXGO_NATS_PASSWORD": "p",
            "AIXGO_NATS_TLS_HOSTNAME": "h",
            "AIXGO_NATS_TOKEN": "",
        }
    )
    assert access == Access(user="u", password=SecretStr("p"), tls=Tls(hostname="h"))
    assert Access.from_environment({}) == Access()


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"USER": "u"}, "user and password belong together"),
        ({"USER": "u", "PASSWORD": "p", "TOKEN": "t"}, "user and token are given"),
        ({"TOKEN": "t", "TOKEN_FILE": "f"}, "token and token_file are given"),
        ({"NKEY": "SU", "CREDENTIALS": "c"}, "nkey and credentials are given"),
        ({"TLS_CERT": "c"}, "cert and key belong together"),
    ],
)
def test_variables_that_contradict_each_other_are_named(
    variables: dict[str, str], fault: str
) -> None:
    environment = {f"AIXGO_NATS_{name}": value for name, value in variables.items()}
    with pytest.raises(ConfigError, match=f"AIXGO_NATS_.*{fault}"):
        Access.from_environment(environment)


def test_the_nearest_counts_as_a_whole() -> None:
    far = Access(user="u", password=SecretStr("p"), tls=Tls(ca="far.crt"))
    assert Access(token=SecretStr("t")).or_else(far) == Access(
        token=SecretStr("t"), tls=Tls(ca="far.crt")
    )
    assert Access(tls=Tls(ca="near.crt")).or_else(far) == Access(
        user="u", password=SecretStr("p"), tls=Tls(ca="near.crt")
    )


def test_secrets_come_from_files_without_their_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t0ken\r\n")
    assert Access(token_file=str(path)).options() == {"token": "t0ken"}


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "seed.nk"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"seed\.nk"):
        Access(nkey_file=str(path)).options()


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.crt"
    nonsense.write_text("nonsense")
    for ca in (nonsense, tmp_path / "missing.crt"):
        with pytest.raises(ConfigError, match=ca.name):
            Access(tls=Tls(ca=str(ca))).options()


def test_no_secret_is_shown() -> None:
    access = Access(user="u", password=SecretStr("s3cret"))
    deployment = Deployment(access=access)
    assert "s3cret" not in f"{access!r} {access} {deployment!r} {access.model_dump_json()}"
    assert "s3cret" not in repr(parse_servers("nats://u:s3cret@h"))

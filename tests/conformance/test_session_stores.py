"""A system whose sessions are kept outside of the broker, by its configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aixgo import Agent, App, ConfigError, Context, Message, connect
from aixgo.config.sessions import SessionSettings
from aixgo.documents import load_document
from aixgo.envelope import new_id
from aixgo.errors import InvalidDocument, MissingExtra
from aixgo.models import ChatMessage
from aixgo.stores.sessions.open import open_sessions
from aixgo.subjects import SESSIONS, Names
from aixgo.testing.nats_server import NatsServer


async def memo(message: Message, ctx: Context) -> int:
    before = await ctx.session.history()
    await ctx.session.append(ChatMessage(role="user", content=message.text))
    return len(before)


@pytest.mark.nats
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.long]),
    ],
)
async def test_agents_remember_in_the_store_that_is_configured(
    kind: str, nats_server: NatsServer, request: pytest.FixtureRequest
) -> None:
    url, space = request.getfixturevalue(f"{kind}_url"), new_id()[-12:]
    settings = SessionSettings.at(url)
    assert settings.store == kind
    app = App([Agent("memo", memo)], sessions=settings, namespace=space)
    for before in range(2):  # it outlives the system
        async with app.running(nats_server.url) as system:
            assert (await system.call("memo", "x", session="s")).data == before
            info = await system.broker.stream_info(system.names.stream(SESSIONS))
            assert info is not None
            assert info.messages == 0
    async with connect(nats_server.url, namespace=space, sessions=url) as client:
        found = await client.sessions.get("memo", "s")
        assert len(found.messages()) == 2


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{store: redis}", "such as redis://localhost:6379/0; it is missing"),
        ("{store: postgres, url: 'redis://h'}", "address of a postgres server"),
        ("{url: 'redis://h'}", "add `store: postgres`"),
        ("{store: mongo}", "store"),
    ],
)
def test_what_does_not_fit_is_a_finding(tmp_path: Path, written: str, problem: str) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(f"version: 2\nsessions: {written}\nagents: [{{name: a, role: react}}]\n")
    with pytest.raises(InvalidDocument, match=problem):
        load_document(file)


def test_a_url_is_never_shown() -> None:
    settings = SessionSettings.at("postgresql://u:secret@h/d")
    assert "secret" not in repr(settings)
    assert "secret" not in settings.model_dump_json()


def test_an_address_of_no_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="begins with redis://, rediss://"):
        SessionSettings.at("mysql://h")


@pytest.mark.parametrize(("kind", "module"), [("redis", "redis"), ("postgres", "asyncpg")])
async def test_a_missing_client_library_names_the_extra(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"aixgo.stores.sessions.{kind}", raising=False)
    url = {"redis": "redis://h", "postgres": "postgresql://h/d"}[kind]
    with pytest.raises(MissingExtra, match=rf"aixgo\[{kind}\]"):
        async with open_sessions(SessionSettings.at(url), Names()):
            pass

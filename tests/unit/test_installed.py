"""What packages add by entry points: shipped names stand, and what is broken says which package."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from aixgo import ConfigError
from aixgo.config import installed
from aixgo.config.installed import Installed


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Installed[object]:
    """A kind whose things are texts: one ships, and packages offer some more."""
    points = [
        EntryPoint("shipped", "string:digits", "test.things"),
        EntryPoint("letters", "string:ascii_letters", "test.things"),
        EntryPoint("twice", "string:digits", "test.things"),
        EntryPoint("twice", "string:punctuation", "test.things"),
        EntryPoint("number", "sys:maxsize", "test.things"),
        EntryPoint("gone", "no_such_module:x", "test.things"),
    ]
    monkeypatch.setattr(
        installed, "entry_points", lambda group: [one for one in points if one.group == group]
    )
    return Installed(
        "test.things",
        "thing",
        wanted="a text",
        fits=lambda found: isinstance(found, str),
        shipped={"shipped": "as it ships"},
    )


def test_the_names_are_known_without_loading_anything(kinds: Installed[object]) -> None:
    assert list(kinds) == ["shipped", "gone", "letters", "number", "twice"]
    assert len(kinds) == 5
    assert "gone" in kinds
    assert "other" not in kinds


def test_a_shipped_name_is_not_replaced(kinds: Installed[object]) -> None:
    assert kinds["shipped"] == "as it ships"


def test_an_installed_one_is_loaded_when_it_is_asked_for(kinds: Installed[object]) -> None:
    assert str(kinds["letters"]).startswith("abc")
    assert kinds.get("other") is None


def test_two_packages_with_one_name_are_an_error_that_names_both(
    kinds: Installed[object],
) -> None:
    with pytest.raises(ConfigError, match=r"'twice'.*string:digits, string:punctuation.*all but"):
        kinds["twice"]


def test_what_is_broken_says_where_it_comes_from(kinds: Installed[object]) -> None:
    with pytest.raises(ConfigError, match=r"'number' points to sys:maxsize.*not a text"):
        kinds["number"]
    with pytest.raises(ConfigError, match=r"'gone' is installed \(no_such_module:x\) but cannot"):
        kinds["gone"]

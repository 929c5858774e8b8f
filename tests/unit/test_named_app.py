"""`module:app` names a system: what is found there, and what that code does wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aixgo.errors import ConfigError
from aixgo.hosting.named import named_app

APP = "from aixgo import Agent, App\nasync def a(message): return 1\n"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    sys.modules.pop("named_shop", None)
    yield
    sys.modules.pop("named_shop", None)


def named(folder: Path, code: str, name: str = "app") -> object:
    (folder / "named_shop.py").write_text(APP + code)
    return named_app(f"named_shop:{name}", folder)


@pytest.mark.parametrize(
    "code",
    [
        "app = App([Agent('a', a)])",
        "def app(): return App([Agent('a', a)])",
        "def app(size=3): return App([Agent('a', a)])",
        "def __getattr__(name): return App([Agent('a', a)])",
    ],
)
def test_an_app_or_a_function_that_returns_one_is_found(code: str, tmp_path: Path) -> None:
    assert list(vars(named(tmp_path, code))["agents"]) == ["a"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def app(): return 3", "'named_shop:app' is a int; name an App"),
        (
            "def app(x): pass",
            "cannot be called without arguments: missing a required argument: 'x'",
        ),
        (
            "def app(): return 1 + 'a'",
            "the function 'named_shop:app' fails: TypeError: unsupported",
        ),
        (
            "def app(): return 1 / 0",
            "fails: ZeroDivisionError: division by zero; mend the function",
        ),
        ("def app(): raise SystemExit(3)", "fails: SystemExit: 3; mend the function"),
        ("def app(): raise KeyboardInterrupt", "fails: KeyboardInterrupt; mend the function"),
        ("def app(): return App([Agent('a b', a)])", "a b"),
        (
            "def __getattr__(name): raise RuntimeError('no ' + name)",
            "'named_shop:app': to read 'app' fails: RuntimeError: no app; mend the module",
        ),
        ("def __getattr__(name): raise SystemExit(4)", "fails: SystemExit: 4; mend the module"),
        ("def __getattr__(name): raise AttributeError(name)", "has no 'app'"),
    ],
)
def test_whatever_that_code_does_is_one_error_that_names_it(
    code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        named(tmp_path, code)
    assert words in str(caught.value)


def test_ctrl_c_in_the_function_is_not_its_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        named(tmp_path, "import signal\ndef app(): signal.raise_signal(signal.SIGINT)")

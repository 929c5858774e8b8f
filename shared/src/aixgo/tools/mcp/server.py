"""`McpServer`: one connection to an MCP server, kept open and found again, for a whole process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from aixgo.errors import ConfigError, OutcomeUnknown, ToolNotDone, ToolUnavailable, text_of
from aixgo.pauses import Pauses
from aixgo.tools.asking import NeedsAnswers
from aixgo.tools.mcp.elicitation import Use, questions_of, responses_of
from aixgo.tools.mcp.options import McpOptions
from aixgo.tools.mcp.program import environment, running
from aixgo.tools.mcp.tool import McpTool
from aixgo.tools.port import ToolContext

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, ErrorData

log = logging.getLogger("aixgo.tools.mcp")

CONNECT_SECONDS = 20.0
"""For a server to be there, and for the first use of its tools to wait for that: a program that is
downloaded first takes longer, and the use is tried again."""

REFRESH_SECONDS = 30.0
"""A connection that is not used is looked at after this time, and the list of tools read again."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 15.0
"""Back-off of a server that cannot be reached."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 1.0
"""Back-off of a use that the server has not finished and asks nothing for."""

MOST_TOOLS = 1_000
"""Of a server; what it has besides is left out, with a warning."""

_NOT_BEGUN = frozenset({-32600, -32601, -32602, -32700})
"""Codes of JSON-RPC for a request that was not understood, of a method or with parameters that are
not there."""

_CLOSED = -32000
"""Code of the SDK's error for a connection that is closed."""


class McpServer:
    """A source of tools (`aixgo.tools.ToolSource`).

    What a server asks its user (elicitation) becomes a question of the run to a person.
    """

    def __init__(self, options: McpOptions) -> None:
        self._options = options
        self._users = 0
        self._running: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._there = asyncio.Event()
        self._gone = asyncio.Event()
        self._tools: dict[str, McpTool] = {}
        self._said: set[tuple[Any, ...]] = set()
        self._why = "it is still being connected to"
        self._uses: set[Use] = set()
        self._alone: asyncio.Lock | None = None
        """Of a server that asks in the middle of uses: only of one use it is known that it asks."""

    @property
    def name(self) -> str:
        """Name of the server."""
        return self._options.name

    @property
    def where(self) -> str:
        """The program or the address, for people."""
        url = self._options.url
        if not url:
            return " ".join(self._options.command)
        parts = urlsplit(url)  # a query or a user may be a secret
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    async def open(self) -> None:
        """See `ToolSource.open`."""
        self._users += 1
        if self._running is None:
            self._there, self._gone = asyncio.Event(), asyncio.Event()
            self._running = asyncio.create_task(self._run(), name=f"MCP server {self.name}")

    async def close(self) -> None:
        """See `ToolSource.close`."""
        self._users = max(0, self._users - 1)
        if self._users or self._running is None:
            return
        running, self._running = self._running, None
        running.cancel()
        await asyncio.wait([running])

    async def tools(self) -> Mapping[str, McpTool]:
        """See `ToolSource.tools`.

        What the server said last holds while it is away; a use finds out.
        """
        if not self._tools:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._there.wait()
            if not self._there.is_set():
                raise self._unavailable()
        return self._tools

    async def call(
        self, tool: str, arguments: dict[str, Any], ctx: ToolContext
    ) -> CallToolResult | NeedsAnswers:
        """See `Connection.call`."""
        import anyio
        from mcp import MCPError

        client = self._client
        if client is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(ctx.remaining, CONNECT_SECONDS)):
                    await self._there.wait()
            client = self._client
        if client is None:
            raise self._unavailable()
        try:
            if client.session.discover_result is None:
                return await self._use_with_handshake(client, tool, arguments, ctx)
            return await self._use(client, tool, arguments, ctx)
        except anyio.ClosedResourceError as error:  # nothing was written
            self._gone.set()
            raise self._unavailable() from error
        except MCPError as error:
            if error.code == _CLOSED:
                self._gone.set()
                raise OutcomeUnknown(
                    f"the connection to the MCP server {self.name!r} ({self.where}) was lost "
                    f"while it worked on {tool!r}: {text_of(error)}"
                ) from error
            said = f"the MCP server {self.name!r} refused {tool!r}: {text_of(error)}"
            if error.code in _NOT_BEGUN:
                raise ToolNotDone(said, retryable=False) from error
            raise OutcomeUnknown(said) from error
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            self._gone.set()
            raise OutcomeUnknown(
                f"the connection to the MCP server {self.name!r} ({self.where}) was lost while it "
                f"worked on {tool!r}: {type(error).__name__} {text_of(error)}"
            ) from error

    async def _use(
        self, client: Client, tool: str, arguments: dict[str, Any], ctx: ToolContext
    ) -> CallToolResult | NeedsAnswers:
        """Use a tool; what the server has to know of people ends the use."""
        from mcp import MCPError
        from mcp_types import CallToolResult

        pauses = Pauses(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        responses, state, anew = responses_of(ctx.answers), ctx.state or None, False
        while True:
            try:
                # the step has a limit of its own, which says more
                result = await client.session.call_tool(
                    tool,
                    arguments,
                    ctx.remaining + 5.0,
                    input_responses=responses,
                    request_state=state,
                    allow_input_required=True,
                )
            except MCPError as error:
                if error.code not in _NOT_BEGUN or state is None or state != ctx.state:
                    raise
                # a process that is no more kept it: from the beginning, with the same answers
                responses, state, anew = None, None, True
                continue
            if isinstance(result, CallToolResult):
                return result
            responses, state = None, result.request_state
            if not result.input_requests:
                await pauses.wait()  # it is not done yet
                continue
            questions = questions_of(tool, result.input_requests)
            if not anew or not questions.keys() <= ctx.answers.keys():
                return NeedsAnswers(questions=questions, state=state or "")
            responses, anew = responses_of({key: ctx.answers[key] for key in questions}), False

    async def _use_with_handshake(
        self, client: Client, tool: str, arguments: dict[str, Any], ctx: ToolContext
    ) -> CallToolResult | NeedsAnswers:
        """Use a tool in the middle of which the server may ask."""
        use = Use(ctx.answers, ctx.state)
        async with self._alone or nullcontext():
            self._uses.add(use)
            try:
                result = await client.session.call_tool(tool, arguments, ctx.remaining + 5.0)
            finally:
                self._uses.discard(use)
        return use.needs or result

    async def _asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        """Answer a server that asks in the middle of a use."""
        from mcp_types import INVALID_REQUEST, ErrorData

        if self._alone is None:
            self._alone = asyncio.Lock()
        if len(self._uses) == 1:
            (use,) = self._uses
            return use.answer(params)
        said = f"{len(self._uses)} uses are under way, and it is not known which of them asks"
        return ErrorData(code=INVALID_REQUEST, message=f"{said}; use the tool again")

    def _unavailable(self) -> ToolUnavailable:
        return ToolUnavailable(
            f"the MCP server {self.name!r} ({self.where}) cannot be reached: {self._why}; start "
            "it, or mend its `command` or `url`"
        )

    # -- the connection ------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, stay until the connection is gone, and begin again."""
        pauses, told = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=True), False
        while True:
            self._gone.clear()
            try:
                async with self._connected() as client:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await self._read_tools(client)
                    self._client = client
                    self._there.set()
                    pauses.reset()
                    told = False
                    log.info(
                        "mcp.connected",
                        extra={
                            "server": self.name,
                            "tools": len(self._tools),
                            "protocol": client.protocol_version,
                        },
                    )
                    async with asyncio.TaskGroup() as group:
                        listening = group.create_task(self._listen(client), name="list changes")
                        await self._until_gone(client)
                        listening.cancel()
                self._why = "its connection was lost"
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                if isinstance(error, SystemExit | KeyboardInterrupt):
                    raise
                self._why = _reason(error)
            finally:
                self._client = None
                self._there.clear()
            if not told:
                told = True
                log.warning("mcp.away", extra={"server": self.name, "error": self._why})
            await pauses.wait()

    async def _until_gone(self, client: Client) -> None:
        """Return when a use or a look has found that the connection is gone."""
        while not self._gone.is_set():
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._read_tools(client)

    async def _listen(self, client: Client) -> None:
        """Read the list again when a server without a handshake says that it has changed.

        One that cannot say so, or no longer does, is asked by `_until_gone`.
        """
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        with suppress(ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError):
            async with client.listen(tools_list_changed=True) as changes:
                await self._read_tools(client)  # it may have changed before the server listened
                async for _ in changes:
                    await self._read_tools(client)

    async def _read_tools(self, client: Client) -> None:
        """Take over the server's list of tools; one that cannot be used is left out and named."""
        found: dict[str, McpTool] = {}
        cursor: str | None = None
        while len(found) < MOST_TOOLS:
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            for described in page.tools:
                try:
                    tool = McpTool(self, self._options, described)
                except ConfigError as error:
                    self._warn("mcp.tool_left_out", error=str(error))
                    continue
                found[tool.spec.name] = tool
            cursor = page.next_cursor
            if not cursor:
                break
        else:
            self._warn("mcp.too_many_tools", most=MOST_TOOLS)
        for unknown in self._options.effects.keys() - {tool.theirs for tool in found.values()}:
            self._warn("mcp.effect_of_no_tool", tool=unknown)
        self._tools = found

    def _warn(self, event: str, **facts: Any) -> None:
        """Say it once in the log, however often the list is read."""
        said = (event, *facts.values())
        if said not in self._said:
            self._said.add(said)
            log.warning(event, extra={"server": self.name, **facts})

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Client, None]:
        """Connect; the program ends with the block."""
        from mcp import Client

        async with AsyncExitStack() as stack:
            if self._options.url:
                transport: Any = await self._over_http(stack)
            else:
                env = {name: value.get_secret_value() for name, value in self._options.env.items()}
                transport = running(
                    self.name,
                    self._options.command,
                    env=environment(env),
                    cwd=self._options.cwd or None,
                    ended=self._gone.set,
                )
            async with asyncio.timeout(CONNECT_SECONDS):
                client = await stack.enter_async_context(
                    Client(
                        transport,
                        message_handler=self._on_message,
                        elicitation_callback=self._asked,
                    )
                )
            yield client

    async def _over_http(self, stack: AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        headers = {name: value.get_secret_value() for name, value in self._options.headers.items()}
        http = await stack.enter_async_context(
            httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(CONNECT_SECONDS, read=None))
        )
        return streamable_http_client(self._options.url, http_client=http)

    async def _on_message(self, message: Any) -> None:
        """Read the list again when the server says that it has changed."""
        kind = getattr(message, "method", "") or getattr(
            getattr(message, "root", None), "method", ""
        )
        client = self._client
        if kind == "notifications/tools/list_changed" and client is not None:
            asyncio.get_running_loop().call_soon(self._refresh, client)

    def _refresh(self, client: Client) -> None:
        task = asyncio.create_task(self._read_tools(client), name=f"MCP server {self.name}: tools")
        task.add_done_callback(self._refreshed)

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._gone.set()


def _reason(error: BaseException) -> str:
    """Return what went wrong, out of the groups that task groups raise."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    text = text_of(error)
    if isinstance(error, TimeoutError) and not text:
        return f"it did not answer within {CONNECT_SECONDS:g} s"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

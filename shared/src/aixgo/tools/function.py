"""Tools from functions: the signature is the schema, the docstring the description."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec
from pydantic import ValidationError

from aixgo.config.agents import Retry
from aixgo.config.durations import no_or_some_time, parse_duration
from aixgo.config.suggest import did_you_mean
from aixgo.config.tools import LONGEST_SECONDS, MIN_RESULT_BYTES
from aixgo.errors import ConfigError
from aixgo.payloads import Shape
from aixgo.tools.port import (
    EFFECTS,
    Arguments,
    Done,
    Effect,
    NotDone,
    Resolution,
    ToolContext,
    ToolSpec,
    Unknown,
)
from aixgo.tools.signature import Input, Signature
from aixgo.tools.threads import threads

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_:-]{1,100}")


class FunctionTool(Generic[T]):
    """A function as a tool (`aixgo.tools.Tool`); made by `tool`. Calling it calls the function."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        description: str,
        effect: Effect,
        timeout: float,
        retry: Retry,
        reconcile: Callable[..., Any] | None,
        cache: float = 0.0,
        concurrency: int = 0,
        max_result: int = 0,
    ) -> None:
        functools.update_wrapper(self, function)
        what = f"tool {name!r}"
        self._function = function
        self._signature = Signature.of(what, function)
        self._input = Input(name, self._signature)
        kind = self._signature.result
        try:
            self._output = None if kind is Any else Shape.of(kind)
        except ConfigError as error:
            raise ConfigError(f"{what}: its result: {error}") from error
        self._reconcile = reconcile
        if reconcile is not None:
            self._hook = Signature.of(f"`reconcile` of {what}", reconcile)
            for parameter in self._hook.kinds.keys() - self._signature.kinds.keys():
                raise ConfigError(
                    f"`reconcile` of {what} takes {parameter!r}, which is not a parameter of the "
                    f"tool{did_you_mean(parameter, self._signature.kinds)}"
                )
        self.spec = ToolSpec(
            name=name,
            description=description,
            effect=effect,
            timeout=timeout,
            retry=retry,
            input_schema=self._input.schema,
            output_schema=self._output.schema if self._output is not None else {},
            cache=cache,
            concurrency=concurrency,
            max_result=max_result,
        )

    def changed(self, **settings: Any) -> FunctionTool[T]:
        """Return a tool of the same function; keywords as of `tool`.

        Raises:
            ConfigError: the settings do not fit.
        """
        spec = self.spec
        known = {
            "name": spec.name,
            "description": spec.description,
            "effect": spec.effect,
            "timeout": spec.timeout,
            "retry": spec.retry,
            "reconcile": self._reconcile,
            "cache": spec.cache,
            "concurrency": spec.concurrency,
            "max_result": spec.max_result,
        }
        return FunctionTool(self._function, **_declared(self._function, known | settings))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself: no step, nothing recorded."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r}, effect={self.spec.effect!r}>"

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        return self._input.decode(payload)

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """See `Tool.execute`."""
        return await _call(self._function, self._signature, arguments, ctx)

    @property
    def reconciles(self) -> bool:
        """Whether it has a `reconcile`."""
        return self._reconcile is not None

    def call(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """Call the function in this thread; returns what it returns, to be awaited perhaps."""
        return _bound(self._function, self._signature, arguments, ctx)()

    def call_reconcile(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """Call the hook in this thread, as `call` does."""
        assert self._reconcile is not None
        return _bound(self._reconcile, self._hook, self._known(arguments), ctx)()

    def _known(self, arguments: Arguments) -> Arguments:
        """Return the arguments that the hook takes."""
        return {name: arguments[name] for name in self._hook.kinds if name in arguments}

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """See `Tool.reconcile`."""
        if self._reconcile is None:
            return Unknown(f"tool {self.spec.name!r} has no `reconcile`")
        answer = await _call(self._reconcile, self._hook, self._known(arguments), ctx)
        if not isinstance(answer, Done | NotDone | Unknown):
            return Unknown(
                f"`reconcile` of tool {self.spec.name!r} returned {answer!r:.200}; it must return "
                "Done(value), NotDone() or Unknown()"
            )
        return answer

    def read(self, body: bytes) -> T:
        """See `Tool.read`."""
        value: T = msgspec.json.decode(body) if self._output is None else self._output.decode(body)
        return value


def _bound(
    function: Callable[..., Any], signature: Signature, arguments: Arguments, ctx: ToolContext
) -> Callable[[], Any]:
    """Return a function with its arguments by name."""
    extra = {signature.context: ctx} if signature.context else {}
    return functools.partial(function, **arguments, **extra)


async def _call(
    function: Callable[..., Any], signature: Signature, arguments: Arguments, ctx: ToolContext
) -> Any:
    """Call a function with its arguments by name; one that is not async in a thread."""
    call = _bound(function, signature, arguments, ctx)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - whether calling it is async
    ):
        return await call()
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    value = await loop.run_in_executor(threads, context.run, call)
    return await value if inspect.isawaitable(value) else value


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> FunctionTool[T]: ...

    @overload
    def __call__(self, function: Callable[..., T], /) -> FunctionTool[T]: ...


@overload
def tool(function: Callable[..., Coroutine[Any, Any, T]], /) -> FunctionTool[T]: ...


@overload
def tool(function: Callable[..., T], /) -> FunctionTool[T]: ...


@overload
def tool(
    *,
    effect: Effect = "once",
    name: str = "",
    description: str = "",
    timeout: float | str = "30s",
    retry: Retry | dict[str, Any] | None = None,
    reconcile: Callable[..., Any] | None = None,
    cache: float | str = 0.0,
    concurrency: int = 0,
    max_result: int = 0,
) -> _Decorator: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "once",
    name: str = "",
    description: str = "",
    timeout: float | str = "30s",
    retry: Retry | dict[str, Any] | None = None,
    reconcile: Callable[..., Any] | None = None,
    cache: float | str = 0.0,
    concurrency: int = 0,
    max_result: int = 0,
) -> Any:
    """Make a tool of a typed function; `ctx.tool` then executes it as a durable step.

    Written `@tool`, or `@tool(effect="read", …)`.

    The annotations are the schema of the arguments, which are checked before anything runs. A
    parameter annotated `ToolContext` gets what the execution knows of its step. A function that is
    not async runs in a thread, which cannot be stopped: when it is cancelled or out of time, the
    step no longer waits for it, but it goes on.

    Args:
        effect: what a second execution does. `read`: nothing. `idempotent`: the same as the first
            alone. `once`: harm, so a step whose end was not seen is never executed again until
            `reconcile` or a person has said that it did not take place. `once` is the default:
            a question too many costs a minute, and a second payment cannot be undone.
        name: instead of the function's name; 1 to 100 characters of A-Z, a-z, 0-9, '_', ':', '-'.
        description: for models and people, instead of the first paragraph of the docstring.
        timeout: for one execution, such as `30s`; at most an hour. A `once` step that is in doubt
            is only resolved when it is over, because its owner may still be at work.
        retry: of executions that failed with an error that may pass; of a `once` tool only those
            that raised `ToolNotDone`.
        reconcile: function of some of the tool's parameters (and a `ToolContext`, if it wants one)
            that finds out whether a `once` execution took place: `Done(value)`, `NotDone()` or
            `Unknown()`. Without it, and when it fails or does not know, a person is asked.
        cache: time such as `5m` for which a value is given again for the same arguments, to the
            same agent and session, by the same process; only of a tool with effect `read`.
        concurrency: executions at once in one process; 0 for no limit.
        max_result: longest value as JSON, in bytes. A longer one is not an error: what `ctx.tool`
            returns is then a text that is cut and says so. 0 for no limit, and for 256 kB where a
            model reads the value.

    Raises:
        ConfigError: the declaration is wrong; says what.
    """

    def decorate(function: Callable[..., Any], /) -> FunctionTool[Any]:
        return FunctionTool(function, **_declared(function, options))

    options: dict[str, Any] = {
        "effect": effect,
        "name": name,
        "description": description,
        "timeout": timeout,
        "retry": retry,
        "reconcile": reconcile,
        "cache": cache,
        "concurrency": concurrency,
        "max_result": max_result,
    }
    return decorate if function is None else decorate(function)


def _declared(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the checked options of a tool.

    Raises:
        ConfigError: one of them is wrong.
    """
    name = given["name"] or getattr(function, "__name__", type(function).__name__)
    what = f"tool {name!r}"
    if not callable(function):
        raise ConfigError(f"{what} is not a function; put @tool(…) on a function")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what}: the name has {len(name)} characters; it must have 1 to 100 of A-Z, a-z, "
            "0-9, '_', ':' and '-'; choose another one with @tool(name=…)"
        )
    if given["effect"] not in EFFECTS:
        near = did_you_mean(str(given["effect"]), EFFECTS)
        raise ConfigError(f"{what}: effect {given['effect']!r} is not one of {EFFECTS}{near}")
    if given["reconcile"] is not None and given["effect"] != "once":
        raise ConfigError(
            f"{what}: a tool with effect {given['effect']!r} is simply executed again, so it needs "
            "no `reconcile`; leave it out, or declare effect='once'"
        )
    return {
        **given,
        "name": name,
        "description": given["description"] or _first_paragraph(function),
        "timeout": _timeout(what, given["timeout"]),
        "retry": _retry(what, given["retry"]),
        "cache": _cache(what, given["cache"]),
        "concurrency": _count(what, "concurrency", given["concurrency"], "executions at once"),
        "max_result": _count(
            what, "max_result", given["max_result"], "bytes", least=MIN_RESULT_BYTES
        ),
    }


def _first_paragraph(function: Callable[..., Any]) -> str:
    text = inspect.getdoc(function) if inspect.isroutine(function) else None
    return " ".join((text or "").partition("\n\n")[0].split())


def _timeout(what: str, given: float | str) -> float:
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise ConfigError(f"{what}: timeout: {error}") from None
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ConfigError(
            f"{what}: timeout {seconds:g} s must be above 0 s and at most {LONGEST_SECONDS:g} s; "
            "let one tool begin what takes longer, and another one look at it"
        )
    return seconds


def _cache(what: str, given: float | str) -> float:
    try:
        return no_or_some_time(given)
    except ValueError as error:
        raise ConfigError(f"{what}: cache: {error}") from None


def _count(what: str, key: str, given: int, unit: str, least: int = 1) -> int:
    whole = isinstance(given, int) and not isinstance(given, bool)
    if not whole or (given != 0 and given < least):
        raise ConfigError(
            f"{what}: {key} {given!r} is not a number of {unit}; give {least:,} or more, or 0 for "
            "no limit"
        )
    return given


def _retry(what: str, given: Retry | dict[str, Any] | None) -> Retry:
    if given is None:
        return Retry()
    try:
        return given if isinstance(given, Retry) else Retry.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(map(str, found["loc"])) or "retry"
        text = found["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{what}: retry: {where}: {text} (got {found['input']!r:.60})") from None

"""Declarations of tools: what is wrong is said when the function is decorated."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from aixgo import Agent, ConfigError, tool
from aixgo.config.agents import Retry
from aixgo.errors import InvalidPayload, UnknownTool
from aixgo.steps.tools.once import SHOWN_CHARS, _answered, _shown
from aixgo.testing.waiting import PATIENCE_SECONDS
from aixgo.tools import Done, NotDone, Resolution, ToolContext, ToolNotDone, Unknown
from aixgo.tools.threads import DaemonThreads
from aixgo.tools.toolbox import Toolbox


class Money(BaseModel):
    amount: int = Field(gt=0)
    currency: str = "EUR"


@dataclass
class Receipt:
    number: int


def context(**changes: Any) -> ToolContext:
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    known: dict[str, Any] = {"run_id": "r", "step": "tool/t/1", "agent": "a", "tool": "t"}
    known |= {"idempotency_key": "r.tool_t_1", "attempt": 1, "deadline": 0.0, "log": log}
    return ToolContext(**known | changes)


async def fine(order: str) -> str:
    """Refund an order.

    Long story.
    """
    return order


# -- declarations ------------------------------------------------------------------------------


def test_a_tool_is_what_its_function_says() -> None:
    refund = tool(effect="idempotent", timeout="1m30s")(fine)
    spec = refund.spec
    assert (spec.name, spec.description) == ("fine", "Refund an order.")
    assert (spec.effect, spec.timeout, spec.retry) == ("idempotent", 90.0, Retry())
    assert spec.input_schema == {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
        "additionalProperties": False,
    }
    assert spec.output_schema == {"type": "string"}
    assert asyncio.run(refund("A1")) == "A1"  # it is still the function
    assert getattr(refund, "__name__", "") == "fine"


def test_what_says_nothing_of_its_effect_is_done_once() -> None:
    assert tool()(fine).spec.effect == "once"


@pytest.mark.parametrize("name", ["x", "x" * 100, "crm:find-user_2"])
def test_names_for_models_are_allowed(name: str) -> None:
    assert tool(name=name)(fine).spec.name == name


def test_a_tool_without_parentheses_acts_once() -> None:
    @tool
    async def pay(order: str) -> str:
        """Pay for an order."""
        return order

    assert pay.spec.name == "pay"
    assert pay.spec.effect == "once"
    with pytest.raises(ConfigError, match="is not a function"):
        tool("pay")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"effect": "onec"}, ["'fine'", "'onec'", "did you mean 'once'"]),
        ({"name": "a b"}, ["'a b'", "1 to 100", "name="]),
        ({"name": "x" * 101}, ["101 characters", "1 to 100"]),
        ({"timeout": "soon"}, ["'fine'", "timeout", "'soon'", "30s"]),
        ({"timeout": 0}, ["timeout 0 s", "above 0 s"]),
        ({"timeout": "2h"}, ["timeout 7200 s", "at most 3600 s"]),
        ({"retry": {"max_attempts": 0}}, ["'fine'", "retry", "max_attempts", "(got 0)"]),
        ({"retry": {"attempts": 2}}, ["retry", "attempts"]),
        ({"effect": "read", "reconcile": fine}, ["'read'", "needs no `reconcile`", "once"]),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(**options)(fine)
    for word in words:
        assert word in str(caught.value)


def untyped(order) -> str:  # type: ignore[no-untyped-def] # that is what is wrong with it
    return str(order)


def several(*orders: str) -> None: ...


def named(**orders: str) -> None: ...


def positional(order: str, /) -> None: ...


def unknown_type(order: Order) -> None: ...  # type: ignore[name-defined] # noqa: F821 - likewise


def twice(one: ToolContext, two: ToolContext) -> None: ...


def unreadable(lock: threading.Event) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (untyped, ["'untyped'", "'order' has no annotation", "order: str"]),
        (several, ["'orders'", "have no name here", "'*'"]),
        (named, ["'orders'", "have no name here", "'**'"]),
        (positional, ["'order'", "have no name here", "'/'"]),
        (unknown_type, ["annotation cannot be resolved", "Order"]),
        (twice, ["ToolContext twice", "one, two"]),
        (unreadable, ["'unreadable'", "Event", "pydantic"]),
        (7, ["'int'", "not a function"]),
    ],
)
def test_a_function_whose_arguments_cannot_be_checked_is_refused(
    function: Callable[..., Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        tool()(function)
    for word in words:
        assert word in str(caught.value)


def test_a_hook_that_asks_for_what_the_tool_does_not_know_is_refused() -> None:
    async def hook(ordre: str) -> Resolution:
        return NotDone()

    with pytest.raises(
        ConfigError, match=r"'ordre'.*not a parameter of the tool; did you mean 'ord"
    ):
        tool(reconcile=hook)(fine)


def test_an_agent_refuses_what_is_no_tool_and_a_name_that_is_taken() -> None:
    async def handler(text: str) -> str:
        return text

    with pytest.raises(ConfigError, match=r"'a': <function fine.* is not a tool; put `@tool"):
        Agent("a", handler, tools=[fine])  # type: ignore[list-item] # a decorator was forgotten
    with pytest.raises(ConfigError, match="'a': has two tools named 'fine'"):
        Agent("a", handler, tools=[tool()(fine), tool()(fine)])
    with pytest.raises(ConfigError, match="'logger' takes no tools; leave `tools`"):
        Agent("a", role="logger", tools=[tool()(fine)])


def test_a_tool_is_found_by_name_or_as_itself_only() -> None:
    one, other = tool(name="one")(fine), tool(name="one")(fine)
    box = Toolbox("clerk", [one])
    assert box.find("one") is box.find(one) is one
    assert [*box] == [one]
    with pytest.raises(UnknownTool, match=r"'clerk' has no tool 'noe'.*; did you mean 'one'"):
        box.find("noe")
    with pytest.raises(UnknownTool, match=r"no tool 'one'"):
        box.find(other)
    with pytest.raises(UnknownTool, match=r"no tool 'one'.*; it has no tools"):
        Toolbox("clerk").find("one")


# -- arguments ---------------------------------------------------------------------------------


@tool(effect="read")
async def mixed(
    money: Money,
    receipts: list[Receipt],
    note: Annotated[str, Field(description="for the customer")] = "thanks",
    *,
    ctx: ToolContext,
    tags: tuple[str, ...] = (),
) -> str:
    return f"{money.amount} {receipts[0].number} {note} {tags} {ctx.tool}"


def test_arguments_have_the_types_of_the_parameters() -> None:
    arguments = mixed.arguments(
        msgspec.Raw(b'{"money": {"amount": 3}, "receipts": [{"number": 7}], "tags": ["x"]}')
    )
    assert arguments["money"] == Money(amount=3)
    assert arguments["receipts"] == [Receipt(7)]
    said = asyncio.run(mixed.execute(arguments, context(tool="mixed")))
    assert said == "3 7 thanks ('x',) mixed"


def test_the_schema_says_what_may_be_left_out_and_nothing_of_the_context() -> None:
    schema = mixed.spec.input_schema
    assert schema["required"] == ["money", "receipts"]
    assert list(schema["properties"]) == ["money", "receipts", "note", "tags"]
    assert schema["properties"]["note"]["default"] == "thanks"
    assert schema["properties"]["note"]["description"] == "for the customer"
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]) == {"Money", "Receipt"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"money": {"amount": 0}, "receipts": []}', ["'mixed'", "money.amount", "greater than"]),
        (b'{"receipts": []}', ["money", "Field required"]),
        (b'{"money": {"amount": 1}, "receipts": [], "tag": []}', ["'tag'", "mean 'tags'"]),
        (b"[]", ["'mixed'", "one JSON object"]),
        (b"\xff", ["one JSON object"]),
    ],
)
def test_arguments_that_do_not_fit_name_the_place(body: bytes, words: list[str]) -> None:
    with pytest.raises(InvalidPayload) as caught:
        mixed.arguments(msgspec.Raw(body))
    for word in words:
        assert word in str(caught.value)


# -- doubts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "done", "value"),
    [
        ("done", True, b"null"),
        ({"done": {"receipt": 7}}, True, b'{"receipt":7}'),
        ("not done", False, b"null"),
        ({"not done": "I looked"}, False, b"null"),
    ],
)
def test_a_persons_answer_is_a_verdict(answer: Any, done: bool, value: bytes) -> None:
    verdict = _answered(msgspec.json.encode(answer), "tool/pay/1")
    assert (verdict.done, bytes(verdict.value), verdict.by) == (done, value, "person")


@pytest.mark.parametrize("answer", ["maybe", 7, None, {}, {"done": 1, "not done": 1}])
def test_an_answer_that_is_none_is_no_verdict(answer: Any) -> None:
    with pytest.raises(InvalidPayload, match="does not answer whether step 'tool/pay/1' was done"):
        _answered(msgspec.json.encode(answer), "tool/pay/1")


def test_long_arguments_are_cut_in_a_question() -> None:
    assert _shown(msgspec.Raw(b'{"order": "A1"}')) == {"order": "A1"}
    shown = _shown(msgspec.Raw(msgspec.json.encode({"text": "ü" * 50_000})))
    assert len(shown) == SHOWN_CHARS + 1
    assert shown.endswith("ü…")


# -- hooks and threads -------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Done(1), NotDone(), Unknown("closed")])
async def test_a_hook_gets_the_arguments_that_it_wants(answer: Resolution) -> None:
    seen: list[Any] = []

    def hook(ctx: ToolContext, order: str) -> Resolution:
        seen.append((order, ctx.attempt))
        return answer

    def refund(order: str, amount: int) -> None: ...

    one = tool(reconcile=hook)(refund)
    arguments = one.arguments(msgspec.Raw(b'{"order": "A1", "amount": 3}'))
    assert await one.reconcile(arguments, context(attempt=2)) == answer
    assert seen == [("A1", 2)]


async def test_a_hook_that_gives_nonsense_knows_nothing() -> None:
    async def hook() -> bool:
        return True

    found = await tool(reconcile=hook)(fine).reconcile({"order": "A1"}, context())
    assert isinstance(found, Unknown)
    assert "returned True; it must return Done" in found.reason


async def test_so_many_threads_and_no_more() -> None:
    threads, gate = DaemonThreads(2), threading.Event()
    try:
        busy = [threads.submit(gate.wait, 30) for _ in range(2)]
        with pytest.raises(ToolNotDone, match="2 synchronous tools already run"):
            threads.submit(gate.wait)
    finally:
        gate.set()
    assert all(one.result(5) for one in busy)
    for _ in range(100):  # a thread is free a moment after its value is there
        try:
            assert threads.submit(lambda: 7).result(5) == 7
            break
        except ToolNotDone:
            await asyncio.sleep(0.01)
    else:
        raise AssertionError("no thread became free")


def test_a_thread_that_is_done_takes_the_next_call() -> None:
    threads = DaemonThreads()
    used = set()
    for _ in range(50):
        used.add(threads.submit(threading.get_ident).result(PATIENCE_SECONDS))
        time.sleep(0.001)  # it is free a moment after its value is there
    assert len(used) < 25


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = (
        "import os, sys\n"
        "from aixgo.tools.threads import threads\n"
        "threads.submit(int).result(30)\n"
        "import time; time.sleep(0.1)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    os._exit(threads.submit(lambda: 7).result(30))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=PATIENCE_SECONDS)
    assert done.returncode == 7


def test_what_a_thread_raises_arrives() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        DaemonThreads().submit(fail).result(5)

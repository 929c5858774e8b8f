"""Sandboxed functions: every limit holds, and whatever dies is an error with its cause.

The processes are real; each test starts one, which takes most of a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aixgo import Agent, Context, Message
from aixgo.documents import parse_document
from aixgo.errors import InvalidDocument, InvalidPayload, RemoteError, ToolError, ToolNotDone
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually
from aixgo.tools import Done, NotDone, ToolContext, Unknown
from aixgo.tools.kinds import Workshop, find_kind
from aixgo.tools.sandbox import SandboxedTool, probe, process
from aixgo.tools.sandbox.child import MAX_OPEN, _leave_network
from aixgo.tools.sandbox.process import KEPT_BYTES, Ended

pytestmark = pytest.mark.long

MODULE = '''
import ctypes, os, signal, socket, subprocess, sys, threading, time
from aixgo import tool
from aixgo.tools import Done, NotDone, ToolContext, ToolNotDone, Unknown

def act(what: str, number: int = 0, place: str = ""):
    """Do what a test wants."""
    return ACTS[what](number, place)

async def later(word: str, ctx: ToolContext) -> str:
    print("working on", word)
    return f"{word} for {ctx.agent} {ctx.idempotency_key} {ctx.attempt} {ctx.remaining > 0}"

def paid(what: str, ctx: ToolContext):
    return {"yes": Done({"paid": 1}), "no": NotDone()}.get(what) or Unknown("not in the books")

@tool(effect="once", timeout="9s", reconcile=paid)
def pay(what: str) -> int:
    """Pay."""
    if what == "refuse":
        raise ToolNotDone("the bank is closed", retryable=False)
    return 1

def fork(number, place):
    if os.fork() == 0:
        os.setpgid(0, 0) if number else None
        open(place, "w").write(str(os.getpid()))
        time.sleep(600)
    while not (os.path.exists(place) and open(place).read()):
        time.sleep(0.01)
    return "the child is there"

def note(number, place):
    open(place, "w").write(str(os.getpid()))
    time.sleep(600)

def hang(number, place):
    fork(0, place)
    time.sleep(600)

def many_files(number, place):
    held = []
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError as error:
        return [len(held), error.strerror]

def threads(number, place):
    begun = 0
    try:
        for _ in range(number):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            begun += 1
    except RuntimeError:
        pass
    return begun

def write(number, place):
    with open("large", "wb") as out:
        out.write(b"x" * number)
    return os.path.getsize("large")

def connect(number, place):
    with socket.create_connection(("127.0.0.1", number), timeout=5) as far:
        far.sendall(b"hi")
    return "sent"

def burn(number, place):
    while True:
        pass

def raises(number, place):
    print("before it failed" + "." * number)
    print("on stderr", file=sys.stderr)
    raise LookupError("no such order")

def junk(number, place):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"{nonsense")
        except OSError:
            pass
    os._exit(0)

ACTS = {
    "fork": fork, "note": note, "hang": hang, "files": many_files, "threads": threads,
    "write": write, "connect": connect, "burn": burn, "raises": raises, "junk": junk,
    "memory": lambda number, place: len(bytearray(number)),
    "text": lambda number, place: "x" * number,
    "object": lambda number, place: object(),
    "exit": lambda number, place: os._exit(number),
    "kill": lambda number, place: os.kill(os.getpid(), number),
    "system exit": lambda number, place: sys.exit(number),
    "crash": lambda number, place: ctypes.string_at(0),
    "facts": lambda number, place: {
        "environment": dict(os.environ), "here": os.getcwd(), "group": os.getpgid(0) == os.getpid(),
        "left": os.listdir(".")},
}
'''


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sandbox")
    (made / "boxed_acts.py").write_text(MODULE)
    return made


Make = Callable[..., SandboxedTool]


@pytest.fixture(scope="module")
def make(directory: Path) -> Make:
    made: dict[str, SandboxedTool] = {}

    def make(function: str = "act", sandbox: Any = True, **options: Any) -> SandboxedTool:
        key = repr((function, sandbox, options))
        if key not in made:
            kind = find_kind("python")
            given = {"type": "python", "function": f"boxed_acts:{function}", "sandbox": sandbox}
            read = kind.options_model.model_validate(given | options)
            tool = kind.build(read, Workshop(directory=directory))
            assert isinstance(tool, SandboxedTool)
            made[key] = tool
        return made[key]

    return make


def context(**changes: Any) -> ToolContext:
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    known: dict[str, Any] = {"run_id": "r", "step": "s", "agent": "desk", "tool": "act", "log": log}
    known |= {"idempotency_key": "r.1", "attempt": 2, "deadline": time.time() + 60}
    return ToolContext(**known | changes)


async def use(tool: SandboxedTool, /, **arguments: Any) -> Any:
    read = tool.arguments(msgspec.Raw(msgspec.json.encode(arguments)))
    return await tool.execute(read, context())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


# -- what it is --------------------------------------------------------------------------------


def test_its_declaration_is_the_functions_and_the_service_never_imports_it(make: Make) -> None:
    act, pay = make(), make("pay", name="settle", retry={"max_attempts": 2})
    assert act.spec.description == "Do what a test wants."
    assert {*act.spec.input_schema["properties"]} == {"what", "number", "place"}
    assert (pay.spec.name, pay.spec.effect, pay.spec.timeout) == ("settle", "once", 9)
    assert pay.spec.retry.max_attempts == 2
    assert "boxed_acts" not in sys.modules
    with pytest.raises(InvalidPayload, match='number: "x" is not of type'):
        act.arguments(msgspec.Raw(b'{"what": "burn", "number": "x"}'))


async def test_it_gets_its_context_and_an_async_function_is_awaited(make: Make) -> None:
    assert await use(make("later"), word="owl") == "owl for desk r.1 2 True"


async def test_its_hook_is_asked_in_a_sandbox_too(make: Make) -> None:
    pay = make("pay")
    found = [await pay.reconcile({"what": what}, context()) for what in ("yes", "no", "?")]
    assert found == [Done({"paid": 1}), NotDone(), Unknown("not in the books")]
    with pytest.raises(ToolNotDone, match="the bank is closed") as refused:
        await use(pay, what="refuse")
    assert not refused.value.retryable


async def test_it_has_no_environment_and_a_directory_that_goes_with_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    facts = await use(make(), what="facts")
    environment = facts["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {"HOME": facts["here"], "TMPDIR": facts["here"]}
    assert facts["here"].startswith(tempfile.gettempdir())
    assert not os.path.exists(facts["here"])  # noqa: ASYNC240
    assert facts["group"]
    assert facts["left"] == []


# -- limits ------------------------------------------------------------------------------------


async def test_processor_time_is_limited(make: Make) -> None:
    with pytest.raises(ToolError, match=r"more than 1 s of processor time .* raise `sandbox\.cpu`"):
        await use(make(sandbox={"cpu": "1s"}), what="burn")


async def test_memory_is_limited(make: Make) -> None:
    assert await use(make(), what="memory", number=2**20) == 2**20
    with pytest.raises(ToolError, match=r"more than 256 MB of memory.* raise `sandbox\.memory`"):
        await use(make(), what="memory", number=2**28)


async def test_the_size_of_files_is_limited(make: Make) -> None:
    tool = make(sandbox={"files": "1MB"})
    assert await use(tool, what="write", number=2**20) == 2**20
    with pytest.raises(ToolError, match=r"OSError in act .*File too large"):
        await use(tool, what="write", number=2**20 + 1)


async def test_the_number_of_open_files_is_limited(make: Make) -> None:
    count, said = await use(make(), what="files")
    assert 0 < count < MAX_OPEN
    assert said == "Too many open files"


@pytest.mark.skipif(os.geteuid() == 0, reason="the kernel does not limit root's processes")
async def test_the_number_of_processes_is_limited(make: Make) -> None:
    assert await use(make(), what="threads", number=200) < 200


async def test_there_is_no_network_unless_it_is_allowed(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ToolError, match="Network is unreachable"):
            await use(make(), what="connect", number=port)
        assert await use(make(sandbox={"network": True}), what="connect", number=port) == "sent"


def test_a_machine_that_cannot_take_the_network_away_says_so(make: Make) -> None:
    class NotAllowed:
        @staticmethod
        def unshare(flags: int) -> int:
            return -1

    assert "does not let this process leave the network" in _leave_network(NotAllowed())
    assert probe() == ""
    with pytest.raises(ToolNotDone, match=r"`sandbox: \{network: true\}`") as refused:
        make()._answer(Ended(answer=bytearray(b'{"refused": "no"}')))
    assert not refused.value.retryable


async def test_the_value_is_limited_and_the_process_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_ANSWER_BYTES", 300_000)
    assert len(await use(make(), what="text", number=200_000)) == 200_000
    with pytest.raises(ToolError, match="it returned more than"):
        await use(make(), what="text", number=400_000)


# -- what dies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "number", "text"),
    [
        (
            "raises",
            0,
            "LookupError in act .*, raises .*: no such order; it wrote: before it failed on stderr",
        ),
        ("exit", 3, "its process ended with status 3 and no value"),
        ("exit", 0, "its process ended with status 0 and no value"),
        ("kill", signal.SIGKILL, "its process was ended by SIGKILL"),
        ("kill", signal.SIGTERM, "its process was ended by SIGTERM"),
        ("system exit", 5, "SystemExit in act .*: 5"),
        ("crash", 0, "memory|SIGSEGV"),
        ("object", 0, "invalid_payload.*: a object cannot be sent as JSON"),
        ("junk", 0, "its process ended with status 0 and no value"),
    ],
)
async def test_whatever_dies_is_an_error_with_its_cause(
    make: Make, what: str, number: int, text: str
) -> None:
    with pytest.raises(ToolError, match=text) as failed:
        await use(make(), what=what, number=number)
    assert not failed.value.retryable


async def test_its_output_is_bounded_and_its_end_is_shown(make: Make) -> None:
    with pytest.raises(ToolError) as failed:
        await use(make(), what="raises", number=10 * KEPT_BYTES)
    text = str(failed.value)
    assert len(text) < 1_500
    assert text.endswith("on stderr")


async def test_a_use_that_is_cancelled_ends_all_processes(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    using = asyncio.ensure_future(use(make(), what="hang", place=str(place)))
    pid = int(await eventually(lambda: place.exists() and place.read_text()))
    assert is_alive(pid)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    await eventually(lambda: not is_alive(pid))


async def test_what_it_started_ends_with_it(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    assert await use(make(), what="fork", place=str(place)) == "the child is there"
    pid = int(place.read_text())
    await eventually(lambda: not is_alive(pid))


async def test_what_left_its_group_is_not_waited_for(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    try:
        assert await use(make(), what="fork", number=1, place=str(place)) == "the child is there"
    finally:
        os.kill(int(place.read_text()), signal.SIGKILL)


SERVICE = """
import asyncio, sys, time
from pathlib import Path
import test_sandbox as here
from aixgo.tools.kinds import Workshop, find_kind
kind = find_kind("python")
options = {"type": "python", "function": "boxed_acts:act", "sandbox": True}
tool = kind.build(kind.options_model.model_validate(options), Workshop(directory=sys.argv[1]))
asyncio.run(tool.execute({"what": "note", "place": sys.argv[2]}, here.context()))
"""


async def test_it_dies_with_its_service(directory: Path, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    service = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVICE,
        str(directory),
        str(place),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    pid = int(await eventually(lambda: place.exists() and place.read_text()))
    assert is_alive(pid)
    service.kill()
    await service.wait()
    await eventually(lambda: not is_alive(pid))


# -- in documents and runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("import nowhere", "No module named 'nowhere'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("def other(): ...", "has no 'go'"),
        ("def go(word): ...", "the parameter 'word' has no annotation"),
        ("import os; os._exit(2)", "in its sandbox: its process ended with status 2"),
        ("while True: pass", "in its sandbox: it used more than 1 s of processor time"),
    ],
)
def test_a_module_that_cannot_be_used_is_a_finding(tmp_path: Path, text: str, finding: str) -> None:
    (tmp_path / "boxed_wrong.py").write_text(text)
    document = (
        "version: 2\n"
        "tools:\n"
        '  go: {type: python, function: "boxed_wrong:go", sandbox: {cpu: 1s}}\n'
        "agents: [{name: a, role: logger}]\n"
    )
    with pytest.raises(InvalidDocument) as refused:
        parse_document(document.encode(), "f.yaml", {}, directory=tmp_path)
    (found,) = refused.value.findings
    assert finding in found.message
    assert found.line == 3


async def test_out_of_time_in_a_run_is_a_failure_of_the_tool(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    tool = await asyncio.to_thread(
        make, effect="read", timeout="3s", retry={"max_attempts": 1}, name="hangs"
    )

    async def desk(message: Message, ctx: Context) -> Any:
        return await ctx.tool("hangs", {"what": "hang", "place": str(place)})

    async with run_local(Agent("desk", desk, tools=[tool])) as system:
        with pytest.raises(RemoteError, match=r"'hangs' did not finish within 3 s"):
            await system.call("desk")
    pid = int(place.read_text())
    await eventually(lambda: not is_alive(pid))

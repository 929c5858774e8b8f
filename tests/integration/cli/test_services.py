"""`provision`, `service`, `call`, `run --broker`, `doctor --broker` and `up`: many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from aixgo.envelope import new_id
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.nats

SYSTEM = """\
version: 2
name: system
namespace: {namespace}
agents:
  - {{name: echo, role: logger, level: debug}}
orchestration: {{name: chain, pattern: sequential, agents: [echo, echo]}}
"""


@pytest.fixture
def document(aixgo: Any) -> str:
    """The name of a file that declares the system in a namespace of its own."""
    name: str = aixgo.write("agents.yaml", SYSTEM.format(namespace=f"t{new_id()[-12:]}"))
    return name


def until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what a process says on stderr until the words come."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} never came:\n{''.join(lines)}")


def test_a_system_of_services_is_provisioned_served_called_and_drained(
    aixgo: Any, started: Any, document: str, nats_server: NatsServer
) -> None:
    broker = ["--broker", nats_server.url]
    namespace = json.loads(aixgo("validate", document, "--json").stdout)["namespace"]

    created = aixgo("provision", document, *broker)
    assert created.returncode == 0, created.stderr
    assert created.stdout.splitlines()[-1].endswith("0 updated, 0 unchanged")
    again = [
        json.loads(x)
        for x in aixgo("provision", document, *broker, "--json").stdout.split("\n")
        if x
    ]
    assert {change["action"] for change in again} == {"unchanged"}

    services = [
        started(["service", *which, "--file", document, *broker, "--health-port", "0"])
        for which in (["chain"], ["--role", "logger"])
    ]
    for process in services:
        until(process, "service.ready")

    ran = aixgo("run", document, *broker, "--input", "hello", "--json")
    assert ran.returncode == 0, ran.stderr
    assert (json.loads(ran.stdout)["text"], ran.stderr) == ("hello", "")

    called = aixgo("call", "echo", "hi", *broker, "--namespace", namespace, "--json")
    assert json.loads(called.stdout)["text"] == "hi"

    well = aixgo("doctor", *broker, "--namespace", namespace, "--json")
    checks = {line["check"]: line["detail"] for line in map(json.loads, well.stdout.splitlines())}
    assert well.returncode == 0
    assert checks["agent echo"] == checks["agent chain"] == "1 instance"
    assert any(name.startswith("server 127.0.0.1") for name in checks)

    for process in services:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(40) for process in services] == [0, 0]


def test_a_service_says_in_one_line_that_its_broker_went_and_came_back(
    aixgo: Any, started: Any, document: str
) -> None:
    with NatsServer() as server:
        broker = ["--broker", server.url]
        assert aixgo("provision", document, *broker).returncode == 0
        process = started(["service", "echo", "--file", document, *broker, "--health-port", "0"])
        until(process, "service.ready")
        server.kill()
        lines = until(process, "broker.disconnected")
        server.start()
        lines += until(process, "broker.reconnected")
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=PATIENCE_SECONDS)
    said = "".join(lines) + rest
    assert said.count("broker.disconnected") == said.count("broker.reconnected") == 1


TYPED = """\
import msgspec

class Order(msgspec.Struct):
    count: int

async def shop(order: Order) -> str:
    return f"{order.count} sold"
"""


def test_a_call_brings_a_json_value_and_tells_when_it_does_not_fit(
    aixgo: Any, started: Any, nats_server: NatsServer
) -> None:
    aixgo.write("shop.py", TYPED)
    namespace = f"t{new_id()[-12:]}"
    file = aixgo.write(
        "shop.yaml",
        f"version: 2\nnamespace: {namespace}\nagents: [{{name: shop, handler: 'shop:shop'}}]\n",
    )
    broker = ["--broker", nats_server.url]
    assert aixgo("provision", file, *broker).returncode == 0
    until(
        started(["service", "shop", "--file", file, *broker, "--health-port", "0"]),
        "service.ready",
    )
    call = ["call", "shop", *broker, "--namespace", namespace, "--json", "--data"]
    assert json.loads(aixgo(*call, '{"count": 2}').stdout)["text"] == "2 sold"
    misfit = aixgo(*call, '{"count": "two"}')
    assert misfit.returncode == 1
    assert "expected Order" in misfit.stdout
    not_json = aixgo(*call, "{")
    assert (not_json.returncode, not_json.stdout) == (2, "")
    assert "--data is not JSON" in not_json.stderr


def test_a_call_of_an_agent_that_nobody_declared_names_those_that_are_served(
    aixgo: Any, document: str, nats_server: NatsServer
) -> None:
    namespace = json.loads(aixgo("validate", document, "--json").stdout)["namespace"]
    aixgo("provision", document, "--broker", nats_server.url)
    done = aixgo("call", "ecko", "hi", "--broker", nats_server.url, "--namespace", namespace)

    assert done.returncode == 1
    assert "no agent named 'ecko'" in done.stdout + done.stderr


def test_a_queue_is_written_behind_from_its_creation_on_or_not_at_all(
    aixgo: Any, document: str, nats_server: NatsServer
) -> None:
    place = ("--broker", nats_server.url, "--namespace", "power")
    assert aixgo("provision", document, *place, "--power-safe").returncode == 0
    again = aixgo("provision", document, *place, "--power-safe")
    otherwise = aixgo("provision", document, *place)

    assert again.returncode == 0
    assert ", 0 updated" in again.stdout
    assert otherwise.returncode == 1
    assert "nats stream rm aixgo-power-CALLS" in (otherwise.stdout + otherwise.stderr)


def test_a_namespace_that_nobody_provisioned_is_said_by_doctor(
    aixgo: Any, nats_server: NatsServer
) -> None:
    done = aixgo("doctor", "--broker", nats_server.url, "--namespace", "nowhere")

    assert done.returncode == 1
    assert "not provisioned: CALLS, RESULTS" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--file", "agents.yaml"], "name the agents to serve (echo, chain), or give --role"),
        (["nobody", "--file", "agents.yaml"], "no agent named 'nobody'"),
        (["--role", "logg", "--file", "agents.yaml"], "no agent of role 'logg'; did you mean"),
        (["echo", "--role", "logger", "--file", "agents.yaml"], "give names or --role, not both"),
        (["echo"], "no system: give --file FILE, set AIXGO_FILE, or name an app as `module:app`"),
        (["no_shop:app"], "there is no module 'no_shop' in '.' or among the installed packages"),
        (["json:dumps"], "cannot be called without arguments: missing a required argument: 'obj'"),
        (["json:JSONDecoder"], "'json:JSONDecoder' is a type; name an App"),
        (["json:dum", "echo"], "the module 'json' has no 'dum'; did you mean 'dump'?"),
        (["echo", "--file", "agents.yaml", "--log-level", "loud"], "log level 'loud' is not known"),
    ],
)
def test_a_service_that_cannot_be_is_refused(
    aixgo: Any, document: str, nats_server: NatsServer, arguments: list[str], reason: str
) -> None:
    done = aixgo("service", *arguments, "--broker", nats_server.url)

    assert done.returncode == 2
    assert reason in done.stderr


def test_a_service_needs_a_server_that_others_reach(aixgo: Any, document: str) -> None:
    done = aixgo("service", "echo", "--file", document)

    assert done.returncode == 2
    assert "needs the address of a server that other processes reach, not 'memory'" in done.stderr


@pytest.mark.long
def test_settings_of_a_service_may_come_from_the_environment(
    aixgo: Any, started: Any, document: str, nats_server: NatsServer
) -> None:
    aixgo("provision", document, "--broker", nats_server.url, "--namespace", "env-test")
    aixgo.environment = {
        "AIXGO_FILE": document,
        "AIXGO_BROKER": nats_server.url,
        "AIXGO_NAMESPACE": "env-test",
        "AIXGO_ROLE": "logger",
        "AIXGO_HEALTH_PORT": "0",
    }
    lines = until(started(["service"]), "service.ready")

    ready = json.loads(lines[-1])
    assert ready["agents"] == ["echo"]
    assert {"timestamp", "level", "logger", "message"} <= ready.keys()


# -- up ------------------------------------------------------------------------------------------


def test_up_runs_a_process_for_each_agent_and_gives_the_same_result_as_run(
    aixgo: Any, document: str
) -> None:
    done = aixgo("up", document, "--input", "hello", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "hello"


def children_of(pid: int) -> dict[str, int]:
    """Return the agents that a process serves in children of its own: name → process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid and b"service" in words:
            found[words[words.index(b"service") + 1].decode()] = int(entry.name)
    return found


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
@pytest.mark.long
def test_up_restarts_a_process_that_was_killed_and_drains_all_on_sigterm(
    aixgo: Any, started: Any, document: str
) -> None:
    process = started(["up", document])
    until(process, "2 agents serve")
    before = children_of(process.pid)
    assert before.keys() == {"echo", "chain"}

    os.kill(before["echo"], signal.SIGKILL)
    lines = until(process, "service.ready")
    after = children_of(process.pid)
    assert any("ended with signal 9; starting it again in 0.5 s" in line for line in lines)
    assert all(line.startswith("echo  │ ") for line in lines)
    assert after["chain"] == before["chain"]
    assert after["echo"] != before["echo"]
    # Ctrl-C reaches a process group: the agents drain when `up` says so, not all at once
    assert os.getpgid(process.pid) not in {os.getpgid(pid) for pid in after.values()}

    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, rest
    assert gone(list(after.values()))


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
@pytest.mark.long
def test_the_processes_of_up_end_when_up_is_killed(aixgo: Any, started: Any, document: str) -> None:
    process = started(["up", document])
    until(process, "2 agents serve")
    children = list(children_of(process.pid).values())

    process.kill()

    assert gone(children)


@pytest.mark.long
def test_an_agent_that_refuses_its_configuration_ends_up_with_2(
    aixgo: Any, nats_server: NatsServer
) -> None:
    # each process takes the port of its health page from here, and both cannot have it
    done = aixgo(
        "up",
        aixgo.write("agents.yaml", SYSTEM.format(namespace="refused")),
        *("--broker", nats_server.url),
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "PYTHONPATH": str(_hidden(aixgo)),
        },
    )

    assert done.returncode == 2
    assert (
        "tracing (OTEL_EXPORTER_OTLP_ENDPOINT is set) needs an optional dependency" in done.stderr
    )


def _hidden(aixgo: Any) -> Path:
    """Return a folder whose `opentelemetry` package cannot be imported: the extra is missing."""
    package = Path(aixgo.folder) / "hidden" / "opentelemetry"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('hidden')\n")
    return package.parent

"""Verbs that need no system: version, subjects, validate, doctor; and what errors look like."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import pytest

from aixgo.agents.role import known_roles
from aixgo.subjects import ALL, BLOBS, BUCKETS

ECHO = "version: 2\nagents: [{name: echo, role: logger}]\n"


def test_help_names_every_verb(aixgo: Any) -> None:
    done = aixgo("--help")

    assert done.returncode == 0
    for verb in [
        "run",
        "up",
        "service",
        "call",
        "runs",
        "dlq",
        "models",
        "validate",
        "provision",
        "doctor",
        "subjects",
        "version",
    ]:
        assert f" {verb} " in done.stdout


def test_version_is_said_for_people_and_for_programs(aixgo: Any) -> None:
    assert aixgo("version").stdout.startswith("aixgo 0.")
    assert json.loads(aixgo("version", "--json").stdout).keys() == {"aixgo", "python"}


def test_version_loads_no_client_library_and_no_document_code() -> None:
    code = (
        "import sys; sys.argv = ['aixgo', 'version']\n"
        "from aixgo.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'nats', 'aiohttp', 'litellm', 'yaml', 'msgspec', 'rich.live', "
        "'aixgo.hosting.app'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_subjects_are_those_of_the_catalogue_in_the_namespace(aixgo: Any) -> None:
    lines = [
        json.loads(line)
        for line in aixgo("subjects", "--namespace", "eu", "--json").stdout.splitlines()
    ]

    assert [line["subject"] for line in lines if "subject" in line] == [
        f"aixgo.eu.{entry.pattern}" for entry in ALL
    ]
    assert [line["bucket"] for line in lines if "bucket" in line] == [
        f"aixgo-eu-{short}" for short in (*BUCKETS, BLOBS)
    ]
    assert "aixgo.eu.call.<agent>.<run>.<step>" in aixgo("subjects", "-n", "eu").stdout


def test_a_document_in_order_is_summed_up(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)

    assert "in order; 'app' with 1 agent\n  echo (logger)" in aixgo("validate", file).stdout
    assert json.loads(aixgo("validate", file, "--json").stdout) == {
        "valid": True,
        "file": "agents.yaml",
        "name": "app",
        "namespace": "default",
        "agents": [{"name": "echo", "role": "logger", "tools": [], "mcp_servers": []}],
        "findings": [],
        "warnings": [],
    }


def test_the_tools_of_agents_are_summed_up_and_unused_ones_are_a_warning(aixgo: Any) -> None:
    file = aixgo.write(
        "agents.yaml",
        "version: 2\n"
        "models: {default: local/smollm2}\n"
        "tools:\n"
        "  ask: {type: agent, agent: echo}\n"
        "  spare: {type: agent, agent: echo}\n"
        "agents: [{name: desk, role: react, tools: [ask]}, {name: echo, role: react}]\n",
    )
    assert aixgo("validate", file).stdout.splitlines()[1:] == [
        "  desk (react) with tools: ask",
        "  echo (react)",
        "warning: agents.yaml:5:3: tools.spare: no agent uses the tool 'spare'; name it in the "
        "`tools` of one, or take it out",
    ]


def test_a_wrong_document_ends_with_2_and_every_finding_on_stderr(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", "version: 2\nextra: 1\nagents: [{name: a, role: lager}]\n")
    done = aixgo("validate", file)

    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        "agents.yaml:2:1",
        "agents.yaml:3:26",
    ]
    found = aixgo("validate", file, "--json")
    assert found.returncode == 2
    assert json.loads(found.stdout)["findings"][1] == {
        "path": "agents.0.role",
        "line": 3,
        "column": 26,
        "message": "no installed package offers the role 'lager'; did you mean 'logger'? "
        f"installed: {', '.join(known_roles())}",
    }


@pytest.mark.parametrize("verb", ["run", "up", "validate", "provision", "service"])
def test_every_verb_refuses_a_wrong_document_with_2_and_without_a_traceback(
    aixgo: Any, verb: str
) -> None:
    file = aixgo.write("agents.yaml", "version: 2\nagents: []\n")
    arguments = ["service", "a", "--file", file] if verb == "service" else [verb, file]
    done = aixgo(*arguments, env={"AIXGO_BROKER": "nats://127.0.0.1:1"} if verb != "up" else {})

    assert done.returncode == 2
    assert done.stderr.startswith("agents.yaml:2:1: agents: needs a list")
    assert "Traceback" not in done.stderr


def test_the_traceback_comes_when_it_is_asked_for(aixgo: Any) -> None:
    done = aixgo("validate", "none.yaml", env={"AIXGO_DEBUG": "1"})

    assert "Traceback" in done.stderr
    assert done.stderr.endswith("none.yaml: no such file; check the path\n")


def test_a_namespace_that_cannot_be_is_refused_with_2(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    for arguments in (["run", file, "-i", "x"], ["subjects"], ["doctor"]):
        done = aixgo(*arguments, "--namespace", "a.b")
        assert done.returncode == 2
        assert done.stderr.startswith("--namespace: namespace 'a.b' cannot be part of a subject")


def test_an_unknown_verb_or_option_ends_with_2(aixgo: Any) -> None:
    assert aixgo("rnu").returncode == 2
    assert aixgo("run", "--colour").returncode == 2


def test_the_schema_is_written_for_editors(aixgo: Any) -> None:
    schema = json.loads(aixgo("validate", "--schema").stdout)

    assert schema["properties"]["version"]["const"] == 2
    assert aixgo("validate").returncode == 2


def test_doctor_says_what_is_there_and_never_a_key(aixgo: Any) -> None:
    done = aixgo("doctor", "--json", env={"OPENAI_API_KEY": "sk-hunter2", "XAI_API_KEY": ""})
    checks = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}

    assert done.returncode == 0
    assert checks["python"]["state"] == "ok"
    assert checks["nats-server"]["detail"].startswith("v2.")
    assert checks["key of openai"] == {
        "check": "key of openai",
        "state": "ok",
        "detail": "OPENAI_API_KEY is set",
    }
    assert checks["key of xai"]["state"] == "missing"
    assert checks["role logger"]["state"] == "ok"
    assert checks["tools python"]["state"] == "ok"
    assert checks["sandbox"]["state"] in ("ok", "missing")
    assert {f"extra {name}" for name in metadata("aixgo").get_all("Provides-Extra") or []} == {
        name for name in checks if name.startswith("extra ")
    }
    assert checks["extra nats"]["detail"].startswith("nats-py ")
    assert "hunter2" not in done.stdout + done.stderr


def test_doctor_says_what_an_extra_lacks_and_what_does_not_fit(
    aixgo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(distribution: str) -> str:
        if distribution == "uvloop":
            raise PackageNotFoundError
        return "1.2.3"

    monkeypatch.setattr("aixgo.cli._extras.version", found)
    done = aixgo("doctor")

    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "– extra uvloop without uvloop; pip install 'aixgo[uvloop]'" in lines
    (wrong,) = (line for line in lines if line.startswith("✗ extra nats "))
    assert wrong.startswith("✗ extra nats nats-py is 1.2.3, and ")
    assert wrong.endswith(" is needed: pip install 'aixgo[nats]'")


def test_doctor_fails_when_the_broker_does_not_answer(aixgo: Any) -> None:
    done = aixgo("doctor", "--broker", "nats://127.0.0.1:1")

    assert done.returncode == 1
    assert "✗ server 127.0.0.1:1" in done.stdout
    assert "no NATS server answered at nats://127.0.0.1:1" in done.stdout

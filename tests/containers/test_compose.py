"""The compose file, checked by docker compose against the specification's schema, and its documented facts."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from .composed import BIN, DOCKER, PASSWORDS, ROOT, compose, composed, dockerfile, written_env
from .engine import commands

SERVICES = {"postgres", "mlflow", "prefect", "worker"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return composed(written_env(tmp_path_factory.mktemp("env")))


def test_the_services_are_there_and_come_back_after_a_fault(model: dict[str, Any]) -> None:
    assert set(model["services"]) == SERVICES
    assert {service["restart"] for service in model["services"].values()} == {"unless-stopped"}
    waits = {name: set(service.get("depends_on", {})) for name, service in model["services"].items()}
    assert waits == {
        "postgres": set(),
        "mlflow": {"postgres"},
        "prefect": {"postgres"},
        "worker": {"postgres", "mlflow", "prefect"},
    }
    for service in model["services"].values():
        assert {dependency["condition"] for dependency in service.get("depends_on", {}).values()} <= {"service_healthy"}
        assert service["logging"]["options"]["max-size"] == "10m"


@pytest.mark.parametrize(
    ("good", "bad"),
    [("restart: unless-stopped", "restat: unless-stopped"), ("ports: [", "port: ["), ("init: true", "init: [1]")],
)
def test_the_schema_would_refuse_it(good: str, bad: str, tmp_path: Path) -> None:
    text = (DOCKER / "compose.yaml").read_text()
    assert good in text
    (path := tmp_path / "compose.yaml").write_text(text.replace(good, bad))
    found = compose(written_env(tmp_path), "config", "--quiet", files=(path,))
    assert found.returncode != 0
    assert "services." in found.stderr


def test_ports_are_on_loopback_only_and_the_database_has_none(model: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in model["services"].items()}
    assert {port["host_ip"] for found in ports.values() for port in found} == {"127.0.0.1"}
    assert {name: [port["target"] for port in found] for name, found in ports.items() if found} == {
        "mlflow": [5000],
        "prefect": [4200],
    }
    networks = {name: set(service["networks"]) for name, service in model["services"].items()}
    assert networks == {
        "postgres": {"databases"},
        "mlflow": {"databases", "default"},
        "prefect": {"databases", "default"},
        "worker": {"databases", "default"},
    }
    assert model["networks"]["databases"]["internal"]
    assert not model["networks"]["default"].get("internal")  # a port of an internal network reaches nobody


def test_without_a_password_nothing_starts(tmp_path: Path) -> None:
    whole = written_env(tmp_path).read_text().splitlines()
    for left_out in PASSWORDS:
        for line in ("", f"{left_out}="):
            kept = [entry for entry in whole if not entry.startswith(left_out)]
            (path := tmp_path / "short.env").write_text("\n".join([*kept, line]))
            found = compose(path, "config", "--quiet")
            assert found.returncode != 0
            assert f"{left_out} is missing a value: set it in docker/.env" in found.stderr


def test_no_secret_is_written_down_and_the_example_has_every_variable() -> None:
    example = (DOCKER / ".env.example").read_text()
    named = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.M))
    assert [named[name] for name in PASSWORDS] == [""] * len(PASSWORDS)
    text = (DOCKER / "compose.yaml").read_text()
    used = re.findall(r"\$\{([A-Z_]+)(:[-?])([^}]*)\}", text)
    assert {name for name, _, _ in used} == set(named) - {"COMPOSE_FILE"}  # which is compose's own
    for name, mark, default in used:
        assert (mark, default) == ((":?", "set it in docker/.env") if "PASSWORD" in name else (":-", named[name]))
    assert "/.env" not in (ROOT / ".dockerignore").read_text()


def mounted(model: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return service, volume and folder of each named volume."""
    return {(name, volume["source"], volume["target"]) for name, service in model["services"].items()
            for volume in service.get("volumes", []) if volume["type"] == "volume"}  # fmt: skip


def test_all_state_is_in_named_volumes(model: dict[str, Any]) -> None:
    assert mounted(model) == {
        ("postgres", "postgres", "/var/lib/postgresql/data"),
        ("mlflow", "mlflow", "/var/lib/mlflow"),
        ("worker", "home", "/var/lib/tapecast"),
    }
    assert set(model["volumes"]) == {"postgres", "mlflow", "home"}
    bound = [
        volume
        for service in model["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert [(volume["source"], volume["target"], volume["read_only"]) for volume in bound] == [
        (str(DOCKER / "databases.sql"), "/docker-entrypoint-initdb.d/databases.sql", True)
    ]
    command = next(volume.value for volume in dockerfile() if "install --directory" in volume.value)
    assert command.endswith("/var/lib/tapecast /var/lib/mlflow")  # else the volume would be root's


def test_our_services_share_one_image_that_one_of_them_builds_and_have_no_privileges(model: dict[str, Any]) -> None:
    ours = {name: model["services"][name] for name in ("mlflow", "prefect", "worker")}
    assert len({service["image"] for service in ours.values()}) == 1
    (built,) = [service["build"] for service in ours.values() if "build" in service]
    assert (built["context"], built["dockerfile"]) == (str(ROOT), "docker/Dockerfile")
    for service in ours.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"]
        assert not {"user", "privileged", "cap_add", "devices"} & set(service)


def test_postgresql_is_one_that_reads_our_file_and_that_the_page_names(model: dict[str, Any]) -> None:
    version = re.fullmatch(r"postgres:(\d+)-[a-z]+", model["services"]["postgres"]["image"])
    assert version
    assert int(version[1]) >= 14  # databases.sql asks for passwords by \\getenv
    assert f"PostgreSQL stays at {version[1]} in `compose.yaml`" in (DOCKER / "README.md").read_text()


def test_two_lines_of_the_environment_file_select_cuda(tmp_path: Path) -> None:
    for name in ("compose.yaml", "compose.cuda.yaml"):
        shutil.copy(DOCKER / name, tmp_path)
    example = (DOCKER / ".env.example").read_text()
    (files,) = re.findall(r"^#COMPOSE_FILE=(.*)$", example, re.M)
    for settings in ({}, {"TORCH_BACKEND": "cu130", "COMPOSE_FILE": files}):
        written_env(tmp_path, **settings)
        found = subprocess.run(
            [BIN / "docker-compose", "config", "--format", "json"],
            cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        worker = json.loads(found.stdout)["services"]["worker"]
        assert worker["build"]["args"] == {"TORCH_BACKEND": settings.get("TORCH_BACKEND", "cpu")}
        assert ("deploy" in worker) == bool(settings)
        assert worker["command"][:2] == ["tapecast", "worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_compose_knows_each_command_of_the_page(words: list[str], model: dict[str, Any]) -> None:
    verb, *rest = words
    helped = subprocess.run(
        [BIN / "docker-compose", verb, "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    flags = itertools.takewhile(lambda word: word.startswith("-"), rest)
    assert [flag for flag in flags if not re.search(rf"(^|\s){flag}\b", helped)] == []


def test_the_page_names_each_volume(model: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+), `([^`]+)`", (DOCKER / "README.md").read_text(), re.M)
    assert set(rows) == {(model["volumes"][volume]["name"], name, target) for name, volume, target in mounted(model)}


def test_addresses_shown_to_people_are_those_that_a_browser_reaches(tmp_path: Path) -> None:
    found = composed(written_env(tmp_path, MLFLOW_PORT=5001, PREFECT_PORT=4201))["services"]
    for name, port in (("mlflow", "5001"), ("prefect", "4201")):
        assert [port_mapping["published"] for port_mapping in found[name]["ports"]] == [port]
    assert found["worker"]["environment"]["TAPECAST_MLFLOW_PAGES"] == "http://127.0.0.1:5001"
    assert found["worker"]["environment"]["PREFECT_UI_URL"] == "http://127.0.0.1:4201"
    assert found["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4201/api"


@pytest.mark.parametrize(
    ("service", "variable", "role"),
    [
        ("mlflow", "MLFLOW_BACKEND_STORE_URI", "mlflow"),
        ("prefect", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "prefect"),
        ("worker", "TAPECAST_LEDGER", "ledger"),
    ],
)
def test_each_service_has_the_address_and_password_of_its_own_database(
    model: dict[str, Any], service: str, variable: str, role: str
) -> None:
    address = make_url(model["services"][service]["environment"][variable])
    assert (address.host, address.port, address.username, address.database) == ("postgres", 5432, role, role)
    assert address.password == model["services"]["postgres"]["environment"][f"{role.upper()}_PASSWORD"]
    assert "--extra postgres" in "".join(instruction.value for instruction in dockerfile())  # its driver

"""The compose file, checked by docker compose against the compose specification's schema, and its promises."""

import re
from pathlib import Path
from typing import Any

import pytest

from .composed import DOCKER, PASSWORDS, ROOT, compose, composed, dockerfile, written_env

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
        "worker": {"mlflow", "prefect"},
    }
    for service in model["services"].values():
        assert {one["condition"] for one in service.get("depends_on", {}).values()} <= {"service_healthy"}
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
    assert {one["host_ip"] for found in ports.values() for one in found} == {"127.0.0.1"}
    assert {name: [one["target"] for one in found] for name, found in ports.items() if found} == {
        "mlflow": [5000],
        "prefect": [4200],
    }
    networks = {name: set(service["networks"]) for name, service in model["services"].items()}
    assert networks["postgres"] == {"databases"}
    assert model["networks"]["databases"]["internal"]
    assert "databases" not in networks["worker"]


def test_without_a_password_nothing_starts(tmp_path: Path) -> None:
    whole = written_env(tmp_path).read_text().splitlines()
    for left_out in PASSWORDS:
        for line in ("", f"{left_out}="):
            kept = [one for one in whole if not one.startswith(left_out)]
            (path := tmp_path / "short.env").write_text("\n".join([*kept, line]))
            found = compose(path, "config", "--quiet")
            assert found.returncode != 0
            assert f"{left_out} is missing a value: set it in docker/.env" in found.stderr


def test_no_secret_is_written_down_and_the_example_has_every_variable() -> None:
    example = (DOCKER / ".env.example").read_text()
    named = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.M))
    assert [named[name] for name in PASSWORDS] == ["", "", ""]
    text = (DOCKER / "compose.yaml").read_text()
    used = re.findall(r"\$\{([A-Z_]+)(:[-?])([^}]*)\}", text)
    assert {name for name, _, _ in used} == set(named)
    for name, mark, default in used:
        assert (mark, default) == ((":?", "set it in docker/.env") if "PASSWORD" in name else (":-", named[name]))
    assert "/.env" not in (ROOT / ".dockerignore").read_text()


def test_all_state_is_in_named_volumes(model: dict[str, Any]) -> None:
    kept = {(name, one["source"], one["target"]) for name, service in model["services"].items()
            for one in service.get("volumes", []) if one["type"] == "volume"}  # fmt: skip
    assert kept == {
        ("postgres", "postgres", "/var/lib/postgresql/data"),
        ("mlflow", "mlflow", "/var/lib/mlflow"),
        ("worker", "home", "/var/lib/tapecast"),
    }
    assert set(model["volumes"]) == {"postgres", "mlflow", "home"}
    bound = [
        one for service in model["services"].values() for one in service.get("volumes", []) if one["type"] == "bind"
    ]
    assert [(Path(one["source"]).name, one["read_only"]) for one in bound] == [("databases.sql", True)]
    made = next(one.value for one in dockerfile() if "install --directory" in one.value)
    assert made.endswith("/var/lib/tapecast /var/lib/mlflow")  # else the volume would be root's


def test_our_services_share_one_image_without_privileges(model: dict[str, Any]) -> None:
    ours = [model["services"][name] for name in ("mlflow", "prefect", "worker")]
    assert len({service["image"] for service in ours}) == 1
    for service in ours:
        assert service["build"]["context"] == str(ROOT)
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"]
        assert "user" not in service


def test_cuda_is_asked_for_by_a_variable_and_a_second_file(tmp_path: Path) -> None:
    found = composed(written_env(tmp_path, TORCH_BACKEND="cu130"), ("compose.yaml", "compose.cuda.yaml"))
    worker = found["services"]["worker"]
    assert worker["build"]["args"] == {"TORCH_BACKEND": "cu130"}
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert worker["command"] == ["sh", "docker/start-worker.sh"]


def test_addresses_shown_to_people_are_those_that_a_browser_reaches(tmp_path: Path) -> None:
    found = composed(written_env(tmp_path, MLFLOW_PORT=5001, PREFECT_PORT=4201))["services"]
    for name, port in (("mlflow", "5001"), ("prefect", "4201")):
        assert [one["published"] for one in found[name]["ports"]] == [port]
    assert found["worker"]["environment"]["TAPECAST_MLFLOW_PAGES"] == "http://127.0.0.1:5001"
    assert found["worker"]["environment"]["PREFECT_UI_URL"] == "http://127.0.0.1:4201"
    assert found["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4201/api"

"""The Dockerfile: accepted by hadolint, and what hadolint does not check."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from .composed import BIN, DOCKER, ROOT, dockerfile, image_environment, image_health_command, last_stage


def linted(path: Path) -> list[str]:
    command = [BIN / "hadolint", "--no-color", "--format", "json", "--no-fail", path]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [load["code"] for load in json.loads(found.stdout)]


def test_hadolint_finds_nothing() -> None:
    assert "hadolint" not in (DOCKER / "Dockerfile").read_text(), "no rule is switched off in the file"
    assert linted(DOCKER / "Dockerfile") == []


@pytest.mark.parametrize(
    ("good", "bad", "code"),
    [
        ("FROM ${PYTHON_IMAGE} AS build", "FROM python:latest AS build", "DL3007"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ('"uv==${UV_VERSION}"', "uv", "DL3013"),
    ],
)
def test_hadolint_would_find_it(good: str, bad: str, code: str, tmp_path: Path) -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert text.count(good) == 1
    (path := tmp_path / "Dockerfile").write_text(text.replace(good, bad))
    assert code in linted(path)


def test_it_is_built_in_stages_and_runs_without_privileges() -> None:
    bases = [instruction.value for instruction in dockerfile() if instruction.name == "FROM"]
    assert bases == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    (image,) = [
        instruction.value for instruction in dockerfile() if instruction.stage == 0 and instruction.name == "ARG"
    ]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+-slim-[a-z]+", image)
    assert last_stage("USER") == ["10001:10001"]
    assert [value for value in last_stage("COPY") if "--from=build" not in value] == []
    installed, prepared = last_stage("RUN")
    assert re.findall(r'"([a-z0-9]+)=', installed) == ["libgomp1"], "what LightGBM needs, and nothing else"
    assert installed.endswith("rm -rf /var/lib/apt/lists/*")
    assert prepared.startswith("groupadd --gid 10001")


def test_the_lock_pins_what_is_installed_and_tools_of_development_stay_out() -> None:
    installs = [
        instruction.value
        for instruction in dockerfile()
        if instruction.name == "RUN" and "pip install" in instruction.value
    ]
    tool, dependencies, project = installs
    assert '"uv==${UV_VERSION}"' in tool
    assert "--no-cache-dir" in tool
    assert "--constraint requirements.lock --requirement pyproject.toml --extra postgres" in dependencies
    assert "--only-binary :all:" in dependencies  # nothing is compiled, so that no compiler is needed
    assert "dev" not in dependencies.split()
    assert "--no-deps --no-build-isolation --offline" in project


def test_cpu_is_the_default_and_cuda_a_build_argument() -> None:
    arguments = [
        instruction.value for instruction in dockerfile() if instruction.name == "ARG" and instruction.stage == 1
    ]
    assert "TORCH_BACKEND=cpu" in arguments  # in the stage that uses it: elsewhere it has no effect
    assert sum('--torch-backend "${TORCH_BACKEND}"' in instruction.value for instruction in dockerfile()) == 1


def test_nothing_secret_or_foreign_is_built_in() -> None:
    for instruction in dockerfile():
        assert instruction.name != "ADD"
        assert not (instruction.name in ("ARG", "ENV") and re.search("PASSWORD|SECRET|TOKEN|KEY", instruction.value))
    text = (DOCKER / "Dockerfile").read_text()
    assert set(re.findall(r"https?://[^\s\"/]+", text)) == {"http://127.0.0.1:8080"}  # no registry's address


def test_its_health_check_asks_what_each_service_names() -> None:
    program, flag, code = image_health_command()
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "HEALTH_URL" in image_environment()


def test_what_the_build_sees_is_what_is_copied_whole_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    seen = {path for path in exclude_paths(str(ROOT), lines) if (ROOT / path).is_file()} - {".dockerignore"}
    copied = [word for instruction in dockerfile() if instruction.name == "COPY" and "--from" not in instruction.value
              for word in instruction.value.split()[:-1]]  # fmt: skip
    found = [
        path for name in copied for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])
    ]
    whole = {str(path.relative_to(ROOT)) for path in found if path.is_file() and "__pycache__" not in path.parts}
    assert seen == whole
    assert {"pipeline/market/data/stocks_wiki_2000_2013.csv.gz", "flows/deployments.py", "prefect.yaml"} <= whole


def first_stage(name: str) -> list[str]:
    return [instruction.value for instruction in dockerfile() if instruction.stage == 1 and instruction.name == name]


def test_the_image_has_code_and_environment_at_the_configured_paths() -> None:
    (home,), (environment,) = first_stage("WORKDIR"), first_stage("ENV")
    venv = dict(word.split("=") for word in environment.split())["VIRTUAL_ENV"]
    assert first_stage("RUN")[0].endswith('uv venv "${VIRTUAL_ENV}"')
    assert set(last_stage("COPY")) == {f"--from=build {path} {path}" for path in (venv, home)}
    assert last_stage("WORKDIR") == [home]
    assert f"PATH={venv}/bin:$PATH" in last_stage("ENV")[0].split()


def test_the_volumes_belong_to_the_user_that_the_image_runs_as() -> None:
    (_, prepared), (user,) = last_stage("RUN"), last_stage("USER")
    uid = re.search(r"useradd --uid (\d+) --gid (\w+) .* (\w+) && install", prepared)
    gid = re.search(r"groupadd --gid (\d+) (\w+)", prepared)
    assert uid
    assert gid
    assert user == f"{uid[1]}:{gid[1]}"
    assert uid[2] == gid[2]
    assert f"install --directory --owner {uid[3]} --group {gid[2]} /var/lib/tapecast /var/lib/mlflow" in prepared


def test_health_is_checked_often_with_a_start_period() -> None:
    (value,) = last_stage("HEALTHCHECK")
    seconds = {name: int(number) for name, number in re.findall(r"--([a-z-]+)=(\d+)s", value)}
    assert seconds["interval"] <= 60
    assert 5 <= seconds["timeout"] <= 30
    assert seconds["start-period"] >= 120  # the worker deploys first, on a cold machine
    assert re.search(r"--retries=[2-9] ", value)


def test_docker_holds_no_python_file() -> None:
    assert list(DOCKER.rglob("*.py")) == []  # the folder would shadow the package that prefect imports

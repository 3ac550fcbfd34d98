"""The files of docker/, read by docker compose itself and, for the Dockerfile, instruction by instruction."""

import json
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
COMPOSE = "compose.yaml"
PASSWORDS = ("POSTGRES_PASSWORD", "MLFLOW_PASSWORD", "PREFECT_PASSWORD", "LEDGER_PASSWORD")


def written_env(folder: Path, **others: object) -> Path:
    """Return a file as a user makes it from .env.example: passwords, and what else is given."""
    values = {name: secrets.token_hex(24) for name in PASSWORDS} | others
    lines = [f"{name}={value}" for name, value in values.items()]
    (path := folder / ".env").write_text("\n".join(lines) + "\n")
    return path


def compose(env_file: Path, *arguments: str, files: tuple[str | Path, ...] = (COMPOSE,)) -> Any:
    """Return how docker compose ends with these arguments; nothing of this process's environment reaches it."""
    named = [word for file in files for word in ("--file", str(DOCKER / file))]
    return subprocess.run(
        [BIN / "docker-compose", "--env-file", env_file, *named, *arguments],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def composed(env_file: Path, files: tuple[str | Path, ...] = (COMPOSE,)) -> dict[str, Any]:
    """Return the whole compose file, anchors and variables resolved; docker compose checks it on the way."""
    found = compose(env_file, "config", "--format", "json", files=files)
    assert found.returncode == 0, found.stderr
    model: dict[str, Any] = json.loads(found.stdout)
    return model


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined, and the stage it is in."""

    stage: int
    name: str
    value: str


def dockerfile() -> list[Instruction]:
    """Return the Dockerfile's instructions in order; stage 0 is before the first FROM."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.M)
    found, stage = [], 0
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, value = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, " ".join(value.split()) if name != "HEALTHCHECK" else value))
    return found


def last_stage(name: str) -> list[str]:
    """Return the values of an instruction in the stage that becomes the image."""
    instructions = dockerfile()
    stage = max(instruction.stage for instruction in instructions)
    return [
        instruction.value for instruction in instructions if instruction.stage == stage and instruction.name == name
    ]


def image_environment() -> Mapping[str, str]:
    """Return what the image puts into the environment of each process, but for PATH."""
    pairs = [word.partition("=") for value in last_stage("ENV") for word in shlex.split(value)]
    return {name: value for name, _, value in pairs if name != "PATH"}


def image_health_command() -> list[str]:
    """Return the command of the image's HEALTHCHECK."""
    (value,) = last_stage("HEALTHCHECK")
    command: list[str] = json.loads(value.partition(" CMD ")[2])
    return command

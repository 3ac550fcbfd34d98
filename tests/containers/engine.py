"""Stands for the command `docker` while the commands of docker/README.md are tried: `compose exec` and `compose run`.

They run their command as in the service's container, as a process here; what starts, stops and builds is noted alone.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .composed import BIN, DOCKER, ROOT
from .place import Place

STATE = "engine.json"
NOTED = "engine.log"


def run_block(block: str, model: Mapping[str, Any], place: Place, folder: Path, seconds: float = 240) -> list[str]:
    """Return the noted commands after a block of README.md ran in a folder, line by line as it stands there.

    `compose stop` stops nothing here, but fails for a service that there is not.
    """
    (folder / STATE).write_text(
        json.dumps({"folder": str(place.folder), "ports": place.ports, "data": str(place.data), "model": model})
    )
    (folder / NOTED).write_text("")
    (stand_in := folder / "docker").write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {BIN / "python"} -m {__name__} "$0" "$@"\n'
    )
    stand_in.chmod(0o755)
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert found.returncode == 0, f"{block}\n{found.stdout[-3000:]}{found.stderr[-3000:]}"
    return (folder / NOTED).read_text().splitlines()


def blocks(heading: str) -> list[str]:
    """Return the blocks of shell commands under a heading of docker/README.md."""
    (section,) = [text for text in (DOCKER / "README.md").read_text().split("\n## ") if text.startswith(f"{heading}\n")]
    return [text.partition("```")[0] for text in section.split("```sh\n")[1:]]


def commands() -> list[list[str]]:
    """Return every `docker compose ...` of README.md, split into words, what is redirected left out."""
    text = (DOCKER / "README.md").read_text().split("## What is tested")[0]
    shown = [line.split("#")[0].strip() for line in text.splitlines() if re.match(r"(    )?docker compose ", line)]
    lines = [*shown, *re.findall(r"`(docker compose [^`]+)`", text)]
    return [shlex.split(re.split(r" [<>] ", line)[0].partition(" --param ")[0])[2:] for line in lines]


def main(stand_in: str, program: str, verb: str, *words: str) -> int:
    """Return the exit status of `docker compose VERB ...`."""
    assert program == "compose", f"docker {program}"
    folder = Path(stand_in).parent
    state = json.loads((folder / STATE).read_text())
    with (folder / NOTED).open("a") as log:
        log.write(f"{shlex.join([verb, *words])}\n")
    if verb not in ("exec", "run"):
        named = [word for word in words if not word.startswith("-")]
        return int(not set(named) <= set(state["model"]["services"]))
    place = Place(Path(state["folder"]), state["ports"], Path(state["data"]))
    name, *command = without_options(words)
    environment = place.environment(state["model"]["services"][name], name)
    return subprocess.call(place.command(command), cwd=ROOT, env=environment)


def without_options(words: Sequence[str]) -> Sequence[str]:
    """Return the words from the service on; none of the options used takes a value."""
    return words[next(index for index, word in enumerate(words) if not word.startswith("-")) :]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

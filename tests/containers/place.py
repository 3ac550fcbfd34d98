"""Where on this machine is what the containers call by name: free loopback ports for addresses, folders for volumes."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .composed import BIN, DOCKER, ROOT, image_environment

PORTS = {"postgres": 5432, "mlflow": 5000, "prefect": 4200, "worker": 8080}
AS_WRITTEN = {"MLFLOW_SERVER_ALLOWED_HOSTS", "NO_PROXY"}
"""Variables that name hosts but connect to none: they reach the process as compose.yaml has them."""


def free_ports(count: int) -> list[int]:
    """Return different ports that nothing listens on just now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def new_place(folder: Path) -> "Place":
    """Return a place with free ports, in a new folder, and an empty folder elsewhere for PostgreSQL's data."""
    folder.mkdir()
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return Place(folder, ports, Path(tempfile.mkdtemp(prefix="tapecast-postgres-")))


@dataclass(frozen=True)
class Place:
    """A folder for everything, a port for each service, and where PostgreSQL keeps its data and its socket.

    PostgreSQL refuses to run as root, and another user cannot look into pytest's folders.
    """

    folder: Path
    ports: Mapping[str, int]
    data: Path

    @property
    def names(self) -> dict[str, str]:
        """What is replaced in a text: volumes, the image's folders, hosts with their ports."""
        found = {
            "/home/tapecast": str(self.folder / "user"),
            "/var/lib/tapecast": str(self.folder / "home"),
            "/var/lib/mlflow": str(self.folder / "mlflow"),
            "/srv/tapecast": str(ROOT),
            "/docker-entrypoint-initdb.d": str(DOCKER),
            "0.0.0.0": "127.0.0.1",  # noqa: S104
        }
        for service, port in PORTS.items():
            for host in (service, "127.0.0.1"):
                found[f"{host}:{port}"] = f"127.0.0.1:{self.ports[service]}"
        return found

    def here(self, text: str) -> str:
        """Return a word of a command, or the value of a variable, as it is on this machine."""
        for service, port in PORTS.items():
            if text == str(port):
                return str(self.ports[service])
            text = text.replace(f"--port {port} ", f"--port {self.ports[service]} ")  # in a shell's line
        for there, here in self.names.items():
            text = text.replace(there, here)
        return text

    def command(self, words: Sequence[str]) -> list[str]:
        """Return a command as it is on this machine."""
        return [self.here(word) for word in words]

    def environment(self, service: Mapping[str, Any], name: str) -> dict[str, str]:
        """Return what a service's processes find: what the image and compose.yaml say, and nothing of this process."""
        variables = {**(image_environment() if of_ours(service) else {}), **(service.get("environment") or {})}
        (home := self.folder / f"user-{name}").mkdir(parents=True, exist_ok=True)
        values = {key: value if key in AS_WRITTEN else self.here(value) for key, value in variables.items()}
        path = os.pathsep.join([str(BIN), *postgresql_path(), "/usr/bin", "/bin"])
        # As in the container of the database alone, its clients find the socket.
        socket_ = {"PGHOST": str(self.data), "PGPORT": str(self.ports["postgres"])} if name == "postgres" else {}
        return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": self.own_tmp(), **values, **socket_}

    def own_tmp(self) -> str:
        """Return the folder that stands for a container's own /tmp."""
        (folder := self.folder / "tmp").mkdir(exist_ok=True)
        return str(folder)


def of_ours(service: Mapping[str, Any]) -> bool:
    """Return whether a service runs from the image of docker/Dockerfile."""
    return str(service["image"]).startswith("tapecast:")


def postgresql_path() -> list[str]:
    """Return the folder of the newest PostgreSQL server, as Debian installs it; empty where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return [str(found[-1].parent)] if found else []


def require_postgresql() -> None:
    """Skip where there is no PostgreSQL; CI installs it, and says that it must be there."""
    if postgresql_path():
        return
    if os.environ.get("TAPECAST_REQUIRE_POSTGRESQL"):
        pytest.fail("no PostgreSQL server under /usr/lib/postgresql although TAPECAST_REQUIRE_POSTGRESQL is set")
    pytest.skip("no PostgreSQL server under /usr/lib/postgresql (Debian's package postgresql)")

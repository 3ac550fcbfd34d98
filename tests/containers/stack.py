"""The services of compose.yaml as processes: started in order, checked for health, ended as docker would."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from .composed import DOCKER, ROOT, image_health_command
from .place import Place

START_SECONDS = 180
STOP_SECONDS = 30
LINGER_SECONDS = 5


@dataclass
class Service:
    """A service that runs: its process and all that this one has ever been seen to start."""

    process: "subprocess.Popen[bytes]"
    log: Path
    sign: signal.Signals = signal.SIGTERM
    seen: set[psutil.Process] = field(default_factory=set)
    stragglers: list[psutil.Process] = field(default_factory=list)
    """What went on after the first process had ended; in a container the engine would end it."""

    def look(self) -> None:
        """Remember the processes beneath this one."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def stop(self) -> int:
        """Return the exit status after ending it as `docker stop` does: a signal to the first process alone."""
        self.look()
        if self.process.poll() is None:
            self.process.send_signal(self.sign)
        try:
            status = self.process.wait(STOP_SECONDS)
            _, self.stragglers = psutil.wait_procs(self.seen, LINGER_SECONDS)
            return status
        finally:
            self.end_leftovers()

    def end_leftovers(self) -> None:
        """End what is left, as the end of a container would."""
        for process in [self.process, *self.seen]:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait(STOP_SECONDS)
        psutil.wait_procs(self.seen, STOP_SECONDS)


class Stack:
    """The services of a compose model at a place."""

    def __init__(self, model: Mapping[str, Any], place: Place) -> None:
        self.services: Mapping[str, Any] = model["services"]
        self.place = place
        self.running: dict[str, Service] = {}

    def start(self, *names: str) -> None:
        """Start services in the order given, each when those before are healthy."""
        for name in names:
            assert set(self.services[name].get("depends_on", {})) <= set(self.running), "started too early"
            if name == "postgres":
                self.make_cluster()
            command = self.place.command(self.services[name]["command"])
            self.launch(name, self.as_server(command) if name == "postgres" else command)
            self.wait_until_healthy(name)

    def launch(self, name: str, command: Sequence[str]) -> None:
        """Start one process with its log next to the volumes."""
        log = self.place.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment(name), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        sign = signal.SIGINT if name == "postgres" else signal.SIGTERM  # STOPSIGNAL of the postgres image
        self.running[name] = Service(process, log, sign)

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's environment."""
        return self.place.environment(self.services[name], name)

    def health_command(self, name: str) -> list[str]:
        """Return the command of a service's health check: that of compose.yaml, else that of the image."""
        kind, *words = self.services[name].get("healthcheck", {}).get("test", ["CMD", *image_health_command()])
        return self.place.command(["sh", "-c", *words] if kind == "CMD-SHELL" else words)

    def healthy(self, name: str) -> bool:
        """Return whether a service's own health check says so."""
        command, environment = self.health_command(name), self.environment(name)
        check = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=30, check=False)
        return check.returncode == 0

    def wait_until_healthy(self, name: str) -> None:
        """Wait for a service that has been started; fails with its log."""
        service, end = self.running[name], time.monotonic() + START_SECONDS
        while not self.healthy(name):
            message = f"{name} is not healthy:\n{service.log.read_text(errors='replace')[-5000:]}"
            assert service.process.poll() is None, message
            assert time.monotonic() < end, message
            time.sleep(1)
        service.look()

    def stop(self, *names: str) -> dict[str, int]:
        """Return the exit statuses of services after ending them in the order given."""
        return {name: self.running.pop(name).stop() for name in names}

    def run(self, name: str, *words: str, seconds: float = 120) -> str:
        """Return the output of a command run as in a service's container."""
        command = [self.place.here(word) for word in words]
        found = subprocess.run(
            command, cwd=ROOT, env=self.environment(name), capture_output=True, text=True, timeout=seconds, check=False
        )
        assert found.returncode == 0, f"{command}:\n{found.stdout}{found.stderr}"
        return found.stdout

    def sql(self, database: str, query: str) -> list[str]:
        """Return the rows that psql prints, as the superuser."""
        words = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username", "postgres", "--dbname", database)
        return self.run("postgres", *words, "--command", query).splitlines()

    def make_cluster(self) -> None:
        """Do what the postgres image does on an empty volume: initdb with the arguments given, then our file."""
        environment = self.environment("postgres")
        (password := self.place.data / "password").write_text(environment["POSTGRES_PASSWORD"])
        if os.geteuid() == 0:
            for path in (self.place.data, password):
                shutil.chown(path, "postgres")
        init = ["initdb", "--username=postgres", f"--pwfile={password}", "--pgdata", str(self.place.data / "data")]
        arguments = environment["POSTGRES_INITDB_ARGS"].split()
        completed = subprocess.run(
            [*as_another_user(), *init, *arguments, "--auth-local=trust", "--no-sync"],
            cwd="/", env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert completed.returncode == 0, completed.stderr
        password.unlink()
        self.launch("postgres", [*self.as_server(["postgres"])[:-1], "listen_addresses="])
        try:
            end = time.monotonic() + START_SECONDS
            while subprocess.run(["pg_isready", "--quiet"], env=environment, timeout=30, check=False).returncode:
                assert time.monotonic() < end, self.running["postgres"].log.read_text()
                time.sleep(0.2)
            assert not self.healthy("postgres"), "healthy before its databases are made"
            once = ("psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--username", "postgres", "--dbname", "postgres")
            self.run("postgres", *once, "-f", str(DOCKER / "databases.sql"))
        finally:
            self.stop("postgres")

    def as_server(self, command: Sequence[str]) -> list[str]:
        """Return the start command with what the image says by environment: its data, and where it listens."""
        data, port = self.place.data, self.place.ports["postgres"]
        where = ["-D", str(data / "data"), "-k", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        return [*as_another_user(), *command, *where]

    def close(self) -> None:
        """End whatever runs, and remove the cluster."""
        for name in reversed(list(self.running)):
            self.running.pop(name).end_leftovers()
        shutil.rmtree(self.place.data, ignore_errors=True)


def as_another_user() -> list[str]:
    """Return what to put before a command that refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def stack_of(model: Mapping[str, Any], place: Place) -> Iterator[Stack]:
    """Yield the services, none started yet; all of them are ended and their database is removed."""
    stack = Stack(model, place)
    try:
        yield stack
    finally:
        stack.close()

"""What a worker ends before it works: runs that no process works on, and no others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.schemas.objects import WorkerStatus

from flows.leftovers import KILLED, UNFINISHED, end_killed, process_tag
from flows.worker import GONE, end_stranded, keep, others_at_work, wait_until_answering
from pipeline.errors import TapecastError
from pipeline.processes import this_process

from .command import TAPECAST, Command
from .servers import wait_for

ROOT = Path(__file__).parents[2]
OURS = "http://127.0.0.1:4200/api"
ONLINE, OFFLINE = WorkerStatus.ONLINE, WorkerStatus.OFFLINE


@dataclass
class Server:
    """Stands for Prefect's client: its workers and unfinished runs, and what was set."""

    workers: dict[str, WorkerStatus]
    runs: list[UUID] = field(default_factory=lambda: [uuid4(), uuid4()])
    crashed: dict[UUID, str] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)

    def read_workers_for_work_pool(self, work_pool_name: str) -> list[Any]:
        assert work_pool_name == "tapecast"
        return [SimpleNamespace(name=name, status=status) for name, status in self.workers.items()]

    def read_flow_runs(self, flow_run_filter: Any, work_pool_filter: Any, limit: int) -> list[Any]:
        assert (work_pool_filter.name.any_, limit) == (["tapecast"], 200)
        assert flow_run_filter.state.type.any_ == UNFINISHED
        return [SimpleNamespace(id=run, name="x", state_name="Running") for run in self.runs]

    def set_flow_run_state(self, flow_run_id: UUID, state: Any, force: bool) -> None:
        assert force, "the server would refuse some, and keep the slot"
        assert state.type == "CRASHED"
        self.crashed[flow_run_id] = state.message


@pytest.mark.parametrize(
    ("workers", "others"),
    [
        ({}, []),
        ({"me": ONLINE}, []),
        ({"me": OFFLINE, "other": OFFLINE}, []),
        ({"me": ONLINE, "other": ONLINE}, ["other"]),
    ],
)
def test_another_worker_that_is_online_may_have_runs_of_its_own(
    workers: dict[str, WorkerStatus], others: list[str]
) -> None:
    server: Any = Server(workers)
    assert others_at_work(server, "me") == others


@contextmanager
def worker_of(name: str, **environment: str) -> Iterator[None]:
    """A process as Prefect's worker of a name; by default on our server."""
    command = [sys.executable, "-c", "input()", "worker", "start", "--pool", "tapecast", "--name", name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.communicate(timeout=10)


def test_a_second_worker_of_a_name_leaves_the_runs_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", OURS)
    server: Any = Server({})
    with worker_of("me"):
        assert others_at_work(server, "me") == ["me"]
        assert others_at_work(server, "m") == others_at_work(server, "you") == []
    assert others_at_work(server, "me") == []


@pytest.mark.parametrize(
    ("environment", "others"),
    [
        ({"PREFECT_API_URL": "http://127.0.0.1:4300/api"}, []),
        ({"PREFECT_API_URL": f"{OURS}/", "TAPECAST_HOME": "/elsewhere"}, ["me"]),
    ],
)
def test_another_installations_worker_of_the_name_counts_only_on_the_same_server(
    environment: dict[str, str], others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", OURS)
    server: Any = Server({})
    with worker_of("me", **environment):
        assert others_at_work(server, "me") == others


def test_what_no_process_works_on_is_crashed() -> None:
    server: Any = Server({})
    assert [run.id for run in end_stranded(server)] == server.runs
    assert server.crashed == dict.fromkeys(server.runs, GONE)


@contextmanager
def process_of(run: UUID) -> Iterator[None]:
    """A process as a worker starts one for a run, and as it may outlive the worker."""
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": str(run)}
    process = subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate(timeout=10)


def test_a_run_whose_process_lives_on_is_left_alone() -> None:
    server: Any = Server({})
    with process_of(server.runs[0]):
        assert [run.id for run in end_stranded(server)] == server.runs[1:]
    assert list(server.crashed) == server.runs[1:]
    end_stranded(server)
    assert list(server.crashed) == server.runs[::-1]


def test_runs_of_killed_commands_are_crashed_and_those_of_living_ones_are_not() -> None:
    gone = json.dumps({**this_process(), "began": 1.0})
    tags = [[gone], [process_tag()], [json.dumps({**this_process(), "host": "elsewhere", "began": 1.0})], ["mine"], []]
    server: Any = Commands(tags)
    assert [run.tags for run in end_killed(server)] == [[gone]]
    assert server.crashed == {server.runs[0]: KILLED}


@dataclass
class Commands:
    """Stands for Prefect's client: the unfinished runs without a deployment, with their tags, and what was set."""

    tags: list[list[str]]
    runs: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(5)])
    crashed: dict[UUID, str] = field(default_factory=dict)

    def read_flow_runs(self, flow_run_filter: Any, limit: int) -> list[Any]:
        assert flow_run_filter.state.type.any_ == UNFINISHED
        assert (flow_run_filter.deployment_id.is_null_, limit) == (True, 200)
        return [SimpleNamespace(id=run, tags=tags) for run, tags in zip(self.runs, self.tags, strict=True)]

    def set_flow_run_state(self, flow_run_id: UUID, state: Any, force: bool) -> None:
        assert force
        self.crashed[flow_run_id] = state.message


RUN = """
import pathlib, signal, sys, time
def close(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "closed").touch()
    sys.exit()
signal.signal(signal.SIGTERM, close)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""
PREFECTS_WORKER = """
import pathlib, signal, subprocess, sys, time
out = pathlib.Path(sys.argv[2])
run = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(out)])
def end(*_):
    (out / "ended").write_text(str((out / "closed").exists()))
    run.kill()
    sys.exit()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
while True:
    time.sleep(1)
"""
KEEPING = """
import sys
from pathlib import Path
from flows.cli.signals import interrupt_on_signals
from flows.worker import keep
interrupt_on_signals()
sys.exit(keep([sys.executable, "-c", *sys.argv[1:]], Path(sys.argv[3], "notes")))
"""


def test_a_stopped_worker_has_its_runs_closed_before_prefects_own_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPING, PREFECTS_WORKER, RUN, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as keeping:
        try:
            assert wait_for((tmp_path / "ready").exists, 30)
            processes = psutil.Process(keeping.pid).children(recursive=True)
            assert len(list((tmp_path / "notes").iterdir())) == 1
            # As a service manager does: everything that the service has started gets it.
            for process in (*processes, psutil.Process(keeping.pid)):
                process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert keeping.wait(timeout=30) == 0
            assert time.monotonic() - began < 5
        finally:
            keeping.kill()
    assert (tmp_path / "ended").read_text() == "True", "the worker ended before its run had closed"
    assert not psutil.wait_procs(processes, 5)[1]
    assert not list((tmp_path / "notes").iterdir())


def test_a_worker_of_prefect_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TapecastError, match="ended by itself with exit status 3"):
        keep([sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_named() -> None:
    silent: Any = SimpleNamespace(api_healthcheck=lambda: OSError("refused"), api_url="http://127.0.0.1:1/api")
    with pytest.raises(TapecastError, match=r"no Prefect server answers at http://127.0.0.1:1/api .*`tapecast ui`"):
        wait_until_answering(silent, 0)


def test_elsewhere_than_in_the_project_it_says_where_to_start_it(tmp_path: Path) -> None:
    found = subprocess.run(
        [TAPECAST, "worker"], env=Command(tmp_path / "home").environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 2
    assert f"no prefect.yaml in {tmp_path}" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("status", [200, 418])
def test_a_server_that_is_not_prefects_is_one_clear_error(status: int, tmp_path: Path) -> None:
    refusing = HTTPServer(("127.0.0.1", 0), type("Answering", (Refusing,), {"status": status}))
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    try:
        environment = {
            **Command(tmp_path / "home").environment,
            "PREFECT_API_URL": f"http://127.0.0.1:{refusing.server_port}/api",
            "PREFECT_CLIENT_MAX_RETRIES": "0",
        }
        found = subprocess.run(
            [TAPECAST, "worker"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
        )
    finally:
        refusing.shutdown()
        refusing.server_close()
    assert found.returncode == 1
    assert "error: Prefect's server did not do what the worker requested" in found.stderr
    assert "Traceback" not in found.stderr


class Refusing(BaseHTTPRequestHandler):
    """Says that it is well, and has nothing to give."""

    status: int

    def do_GET(self) -> None:
        healthy = self.path.endswith("/health")
        self.send_response(200 if healthy else self.status)
        self.send_header("Content-Type", "application/json" if healthy else "text/html")
        self.end_headers()
        self.wfile.write(b"true" if healthy else b"<html>Log in, please</html>")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

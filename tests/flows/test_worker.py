"""What a worker ends before it works: runs that no process works on, and no others."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import WorkerStatus

from flows.worker import GONE, UNFINISHED, end_stranded, others_at_work, wait_until_answering
from pipeline.errors import TapecastError

from .command import TAPECAST, Command

ROOT = Path(__file__).parents[2]
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


def test_a_second_worker_of_a_name_leaves_the_runs_to_the_first() -> None:
    server: Any = Server({})
    first = subprocess.Popen(
        [sys.executable, "-c", "input()", "worker", "start", "--pool", "tapecast", "--name", "me"],
        stdin=subprocess.PIPE,
    )
    try:
        assert others_at_work(server, "me") == ["me"]
        assert others_at_work(server, "m") == others_at_work(server, "you") == []
    finally:
        first.communicate(timeout=10)
    assert others_at_work(server, "me") == []


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

"""Services that a script started in the background, where interrupts are ignored: SIGTERM ends them and their runs."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from .command import TAPECAST, Command
from .servers import free_port, running, wait_for, wait_until_answering

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
IGNORING = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
)
"""What a shell does for `command &` in a script: SIGINT is ignored, and the command inherits that."""


def test_both_services_end_on_sigterm_though_they_were_started_with_sigint_ignored(tmp_path: Path) -> None:
    mlflow_port, prefect_port = free_port(), free_port()
    api = f"http://127.0.0.1:{prefect_port}/api"
    home = tmp_path / "home"
    pages = [*IGNORING, TAPECAST, "ui", "--mlflow-port", str(mlflow_port), "--prefect-port", str(prefect_port)]
    worker = [*IGNORING, TAPECAST, "worker", "--name", "stopping"]
    with running(pages, Command(home).environment, tmp_path / "ui.log") as server:
        wait_until_answering(f"{api}/health")
        environment = Command(home, prefect_api=api).environment
        with running(worker, environment, tmp_path / "worker.log", ROOT) as at_work:
            # It answers on its health port before it handles signals, and calls itself online after.
            wait_until_online(api, "stopping")
            start_run(environment)
            database = home / "mlflow" / "mlflow.db"
            assert wait_for(lambda: statuses_of_runs(database) == {"RUNNING"}, 120)
            assert status_after_sigterm(at_work) == 0
        assert statuses_of_runs(database) == {"KILLED"}
        assert states_of_flow_runs(api) == {"Crashed": "Execution was aborted by a termination signal."}
        assert status_after_sigterm(server) == 0


def start_run(environment: Mapping[str, str]) -> None:
    """Start a run that takes minutes, by hand."""
    experiment = {"source": {"kind": "synthetic", "process": "random_walk", "sessions": 3000, "tickers": 10}}
    command = [PREFECT, "--no-prompt", "deployment", "run", "backtest/backtest", "--param"]
    parameter = f"experiment={json.dumps(experiment | {'workers': 1})}"
    subprocess.run([*command, parameter], env=environment, cwd=ROOT, capture_output=True, timeout=120, check=True)


def statuses_of_runs(path: Path) -> set[str]:
    """Return the statuses of the runs in MLflow's database; none where it is being made."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return {status for (status,) in database.execute("SELECT status FROM runs")}
    except sqlite3.OperationalError:
        return set()


def states_of_flow_runs(api: str) -> dict[str, str]:
    """Return the messages by the states of the flow runs that have begun."""
    begun = {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    listed = httpx.post(f"{api}/flow_runs/filter", json=begun, timeout=10).json()
    return {entry["state_name"]: entry["state"]["message"] for entry in listed}


def wait_until_online(api: str, worker: str, seconds: float = 120) -> None:
    """Wait until Prefect's server lists the worker as online; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = httpx.post(f"{api}/work_pools/tapecast/workers/filter", json={}, timeout=10)
        listed = answer.json() if answer.is_success else []
        if any(entry["name"] == worker and entry["status"] == "ONLINE" for entry in listed):
            return
        time.sleep(0.5)
    raise AssertionError(f"worker {worker!r} was not online within {seconds} s")


def status_after_sigterm(service: "subprocess.Popen[bytes]") -> int:
    """The exit status of a service that gets SIGTERM, which it has to reach within five seconds."""
    service.send_signal(signal.SIGTERM)
    return service.wait(timeout=5)

"""The deployments on a real Prefect server: made, scheduled, run ad hoc with changed parameters, recorded."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .command import TAPECAST, Command
from .servers import free_port, running, wait_until_answering

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")

EXPERIMENT = {
    "source": {"kind": "synthetic", "process": "random_walk", "sessions": 620, "tickers": 2},
    "seeds": 1,
    "horizons": 2,
    "device": "cpu",
    "workers": 1,
    "network": {"hidden_size": 4},
    "training": {"min_steps": 4, "max_steps": 8, "batch_chunks": 4},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Server:
    """A Prefect server with the deployments and a worker."""

    def __init__(self, api: str, environment: dict[str, str]) -> None:
        self.api = api
        self.environment = environment

    def prefect(self, *arguments: str, seconds: int = 240) -> str:
        result = subprocess.run(
            [PREFECT, "--no-prompt", *arguments],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api}{path}", data=data, headers=headers)  # noqa: S310  loopback
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def server_in(folder: Path, **more: str) -> Iterator[Server]:
    """Return a context with a Prefect server, on which nothing is deployed yet; `more` is of its environment."""
    api = f"http://127.0.0.1:{(port := free_port())}/api"
    environment = {
        **Command(folder / "home").environment,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **more,
    }
    start: list[str | Path] = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(start, environment, folder / "server.log"):
        yield Server(api, environment)


@contextmanager
def worker_of(server: Server, log: Path) -> Iterator[None]:
    """Return a context with a worker, which waits for its server and makes the deployments."""
    health = f"http://127.0.0.1:{(health_port := free_port())}/health"
    work: list[str | Path] = [TAPECAST, "worker", "--health-port", str(health_port)]
    with running(work, server.environment, log):
        wait_until_answering(health)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    with server_in(folder) as made, worker_of(made, folder / "worker.log"):
        yield made


def test_deployments_carry_a_typed_form_and_their_schedules(server: Server) -> None:
    deployments = {found["name"]: found for found in server.ask("/deployments/filter", {})}
    checks = {"audit", "sanity", "sine-sanity", "tutorial"}
    assert set(deployments) == {"backtest", "daily", "ingest", "missing", "prune", "tune"} | checks
    assert deployments["prune"]["schedules"][0]["schedule"]["cron"] == "0 9 * * 0"
    assert "ledger_days" in deployments["prune"]["parameter_openapi_schema"]["definitions"]["Lifetimes"]["properties"]
    assert deployments["backtest"]["schedules"][0]["schedule"]["cron"] == "0 9 * * 6"
    daily = deployments["daily"]
    assert daily["schedules"][0]["schedule"]["cron"] == "30 18 * * 1-5"
    assert daily["schedules"][0]["schedule"]["timezone"] == "America/New_York"
    form = daily["parameter_openapi_schema"]["definitions"]
    assert "hidden_size" in form["RecurrentSpec"]["properties"]
    assert form["FilesSource"]["properties"]["path"]["description"]
    assert daily["parameters"]["experiment"]["source"] == {"kind": "yahoo"}
    assert {name: daily["parameters"][name] for name in ("model", "calendar", "delay_minutes")} == {
        "model": "daily",
        "calendar": "XNYS",
        "delay_minutes": 60,
    }
    assert daily["global_concurrency_limit"]["limit"] == 1
    missing = deployments["missing"]
    assert missing["schedules"][0]["schedule"]["cron"] == "30 22 * * *"
    assert missing["parameters"] == {"model": "daily", "calendar": "XNYS", "grace_minutes": 360}


def test_schedules_fire(server: Server) -> None:
    names = set()
    for _ in range(60):  # the server's scheduler comes round within seconds
        scheduled = server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        names = {run["deployment_id"] for run in scheduled if run["auto_scheduled"]}
        if len(names) == 6:
            break
        time.sleep(0.5)
    assert len(names) == 6


def test_an_ad_hoc_run_with_changed_parameters_completes(server: Server) -> None:
    changed = ("--param", f"experiment={json.dumps(EXPERIMENT)}", "--param", "model=null")
    server.prefect("deployment", "run", "daily/daily", *changed, "--watch", "--watch-timeout", "200")
    runs = server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    assert [run["parameters"]["experiment"]["source"]["process"] for run in runs] == ["random_walk"]
    keys = {found["key"]: found for found in server.ask("/artifacts/filter", {})}
    assert [run["state_name"] for run in runs] == ["Partial"]  # made prices end long ago: their forecasts are late
    assert {"daily-synthetic", "forecasts-synthetic", "issued-synthetic"} <= set(keys)
    assert "MLflow run" in keys["daily-synthetic"]["data"]
    assert len(json.loads(keys["forecasts-synthetic"]["data"])) == 2 * 2
    reports = list((Path(server.environment["TAPECAST_HOME"]) / "reports").glob("*/report.html"))
    assert len(reports) == 2  # the backtest of the first version, and the day's


def test_an_unknown_parameter_is_refused(server: Server) -> None:
    result = subprocess.run(
        [PREFECT, "--no-prompt", "deployment", "run", "daily/daily", "--param", 'experiment={"sedes": 1}'],
        env=server.environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert "sedes" in result.stdout + result.stderr

"""compose.yaml at work: its own start commands as processes on a real PostgreSQL, a run, a backup, and an end."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.writing import append
from pipeline.settings import Settings
from pipeline.tuning.storage import storage_for
from pipeline.tuning.study import open_study
from tests.operation.ledger.issued import days, issue
from tests.tuning.small_studies import FIRST, SHARED_SETTINGS, SPACE, run_trials

from .composed import ROOT, composed, written_env
from .engine import blocks, run_block
from .place import Place, new_place, require_postgresql
from .stack import Stack, stack_of

ORDER = ("postgres", "mlflow", "prefect", "worker")
DEPLOYED = {"audit", "backtest", "daily", "ingest", "missing", "prune", "sanity", "sine-sanity", "tune", "tutorial"}

OWN = ("mlflow", "prefect", "ledger")
"""The databases, and the role of each."""
EACH_ITS_OWN = {(name, name) for name in OWN}

LONG = {"source": {"kind": "synthetic", "process": "random_walk", "sessions": 3000, "tickers": 10}, "workers": 1}

SMALL = {
    "source": {"kind": "synthetic", "process": "random_walk", "sessions": 620, "tickers": 2},
    "seeds": 1,
    "horizons": 2,
    "workers": 1,
    "network": {"hidden_size": 4},
    "training": {"min_steps": 4, "max_steps": 8, "batch_chunks": 4},
}
"""An experiment on made prices up to the last session of 2024, as short as the page's."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def described(place: Place) -> dict[str, Any]:
    """Return compose.yaml with new passwords, and with pages on the ports of the place."""
    pages = {"MLFLOW_PORT": place.ports["mlflow"], "PREFECT_PORT": place.ports["prefect"]}
    return composed(written_env(place.folder, **pages))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_postgresql()
    place = new_place(tmp_path_factory.mktemp("stack") / "first")
    with stack_of(described(place), place) as found:
        found.start(*ORDER)
        yield found


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The MLflow run of the flow run that docker/README.md shows."""
    (block,) = blocks("Start")
    run_block(block, {"services": stack.services}, stack.place, tmp_path_factory.mktemp("run"))
    (found,) = runs_of(stack)
    return found


@pytest.fixture(scope="module")
def issued(stack: Stack, run: dict[str, Any]) -> dict[str, Any]:
    """The file of a day that the deployment `daily` issued on made prices, after the run of the page."""
    evening = {"now": "2024-12-31T23:30:00+00:00", "experiment": SMALL, "model": None}
    given = [word for name, value in evening.items() for word in ("--param", f"{name}={json.dumps(value)}")]
    stack.run("worker", "prefect", "deployment", "run", "daily/daily", *given, "--watch", seconds=240)
    (path,) = (stack.place.folder / "home" / "days").rglob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def database(stack: Stack) -> str:
    """MLflow's database with a study in it: begun with two trials, and gone on with to five."""
    uri = stack.place.here(stack.services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"])
    for total in (2, 5):
        with open_study(storage_for(uri, Path("nowhere")), "s", SPACE, SHARED_SETTINGS, FIRST, 0) as study:
            trials = run_trials(study, total)
    assert [trial.number for trial in trials] == list(range(5))
    assert dict(trials[0].values) == FIRST
    return uri


def ask(url: str, body: dict[str, Any] | None = None, host: str | None = None, method: str | None = None) -> bytes:
    """Return what a server on loopback answers; without any proxy."""
    data, headers = (json.dumps(body).encode() if body is not None else None), {"Content-Type": "application/json"}
    headers |= {"Host": host} if host else {}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return bytes(answer.read())


def mlflow(stack: Stack, path: str, body: dict[str, Any] | None = None) -> Any:
    return json.loads(ask(f"http://127.0.0.1:{stack.place.ports['mlflow']}/api/2.0/{path}", body))


def prefect(stack: Stack, path: str, body: dict[str, Any]) -> Any:
    return json.loads(ask(f"http://127.0.0.1:{stack.place.ports['prefect']}/api/{path}", body))


def runs_of(stack: Stack) -> list[dict[str, Any]]:
    """Return the runs in MLflow that are no child of another."""
    (experiment,) = [
        item for item in mlflow(stack, "mlflow/experiments/search", {"max_results": 9})["experiments"]
        if item["name"] == "tapecast"
    ]  # fmt: skip
    query = {"experiment_ids": [experiment["experiment_id"]], "max_results": 100}
    found = mlflow(stack, "mlflow/runs/search", query)["runs"]
    return [item for item in found if "mlflow.parentRunId" not in {tag["key"] for tag in item["data"]["tags"]}]


def artifact(stack: Stack, run_id: str, path: str) -> bytes:
    return ask(f"http://127.0.0.1:{stack.place.ports['mlflow']}/get-artifact?path={quote(path)}&run_uuid={run_id}")


def artifacts(stack: Stack, run_id: str, folder: str = "") -> set[str]:
    """Return the paths of all files of a run, as the server lists them."""
    listed = mlflow(stack, f"mlflow/artifacts/list?run_id={run_id}&path={quote(folder)}").get("files", [])
    below = (artifacts(stack, run_id, entry["path"]) for entry in listed if entry["is_dir"])
    return {entry["path"] for entry in listed if not entry["is_dir"]}.union(*below)


def test_all_services_are_healthy_and_their_pages_answer(stack: Stack) -> None:
    assert set(stack.running) == set(ORDER)
    assert all(stack.healthy(name) for name in ORDER)
    assert b"MLflow" in ask(f"http://127.0.0.1:{stack.place.ports['mlflow']}/")
    pages = f"http://127.0.0.1:{stack.place.ports['prefect']}"
    assert b"Prefect" in ask(f"{pages}/")
    assert json.loads(ask(f"{pages}/ui-settings"))["api_url"] == f"{pages}/api"
    # Prefect writes its pages once more; in the image its own folder is not ours to write.
    assert (stack.place.folder / "user" / "prefect-pages" / "v1" / "index.html").exists()


def test_the_worker_has_deployed_everything(stack: Stack) -> None:
    found = prefect(stack, "deployments/filter", {})
    assert {deployment["name"] for deployment in found} == DEPLOYED
    assert {deployment["work_pool_name"] for deployment in found} == {"tapecast"}
    assert {deployment["name"] for deployment in found if deployment["schedules"]} == {
        "backtest",
        "daily",
        "ingest",
        "missing",
        "prune",
        "sine-sanity",
    }


def test_each_server_has_its_tables_in_a_database_of_its_own(stack: Stack) -> None:
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    for name, table in (("mlflow", "experiments"), ("prefect", "flow_run")):
        assert stack.sql(name, owners) == [name]
        assert stack.sql(name, f"SELECT count(*) FROM pg_tables WHERE tablename = '{table}'") == ["1"]  # noqa: S608
    assert admitted(stack) == EACH_ITS_OWN


def admitted(stack: Stack) -> set[tuple[str, str]]:
    """Return role and database, of those of ours that each may enter with its password; without it, it may enter none.

    As the roles are here: with the passwords of this stack's `.env`.
    """
    passwords = {role: stack.services["postgres"]["environment"][f"{role.upper()}_PASSWORD"] for role in OWN}
    assert not any(may_enter(stack, role, "wrong", role) for role in OWN)
    return {(role, name) for role in OWN for name in OWN if may_enter(stack, role, passwords[role], name)}


def may_enter(stack: Stack, role: str, password: str, database: str) -> bool:
    address = f"postgresql://{role}:{password}@127.0.0.1:{stack.place.ports['postgres']}/{database}"
    command = ["psql", address, "--command", "SELECT 1"]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def test_mlflow_answers_to_the_worker_and_to_this_machine_only(stack: Stack) -> None:
    page = f"http://127.0.0.1:{stack.place.ports['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1"
    for host in ("mlflow:5000", "localhost:5001", "127.0.0.1:5000"):
        assert b"experiments" in ask(page, host=host)
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        ask(page, host="elsewhere.example:5000")
    refused.value.close()


def test_the_run_of_the_page_completes_and_is_recorded_with_its_artifacts(stack: Stack, run: dict[str, Any]) -> None:
    (ran,) = prefect(stack, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    assert ran["parameters"]["experiment"]["source"]["process"] == "random_walk"
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    run_id = run["info"]["run_id"]
    found = artifacts(stack, run_id)
    reports = [path for path in found if path.endswith("report.html")]
    assert any(path.endswith(".safetensors") for path in found)
    assert len(reports) == 1
    assert b"synthetic" in (page := artifact(stack, run_id, reports[0]))
    kept = [path.read_bytes() for path in (stack.place.folder / "mlflow" / "artifacts").rglob("report.html")]
    assert kept == [page]
    data_by_key = {
        prefect_artifact["key"]: prefect_artifact["data"]
        for prefect_artifact in prefect(stack, "artifacts/filter", {})
        if prefect_artifact["key"]
    }
    # The address is one that a browser on this machine can open, not the worker's own.
    assert f"http://127.0.0.1:{stack.place.ports['mlflow']}/#/experiments/" in data_by_key["result-synthetic"]
    assert run_id in data_by_key["result-synthetic"]


def test_a_study_is_stored_next_to_mlflow_in_its_own_schema(stack: Stack, database: str) -> None:
    assert stack.sql("mlflow", "SELECT count(*) FROM optuna.trials") == ["5"]
    versions = "SELECT schemaname FROM pg_tables WHERE tablename = 'alembic_version' ORDER BY 1"
    assert stack.sql("mlflow", versions) == ["optuna", "public"]
    assert stack.healthy("mlflow")
    assert not Path("nowhere").exists()


def verified(stack: Stack) -> dict[str, Any]:
    """Return what `tapecast ledger verify` says in the worker's container; it ends with 0."""
    found: dict[str, Any] = json.loads(
        stack.run("worker", "tapecast", "ledger", "verify", "--model", "synthetic", "--json")
    )
    return found


def test_what_the_worker_issues_is_in_the_ledger_of_postgresql(stack: Stack, issued: dict[str, Any]) -> None:
    (entry,) = issued["ledger"]
    assert issued["issued"][0]["status"] == "on time"
    query = "SELECT sequence, encode(digest, 'hex'), row_count FROM ledger_entries"
    assert stack.sql("ledger", query) == [f"1|{entry['digest']}|{issued['issued'][0]['added']}"]
    assert stack.sql("ledger", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == ["ledger"]
    assert not (stack.place.folder / "home" / "ledger").exists()
    listed = json.loads(stack.run("worker", "tapecast", "ledger", "list", "--model", "synthetic", "--json"))
    assert [it["digest"] for it in listed["entries"]] == [entry["digest"]]
    found = verified(stack)
    assert (found["head"], found["not_compared"], set(found["noted"].values())) == (entry["digest"], None, {1})


def test_a_run_whose_worker_was_killed_is_crashed_by_the_next_and_holds_no_place(stack: Stack) -> None:
    held = "SELECT sum(active_slots) FROM concurrency_limit_v2"
    command = ("prefect", "deployment", "run", "backtest/backtest", "--param", f"experiment={json.dumps(LONG)}")
    stack.run("worker", *command)
    assert wait_for(lambda: runs_in(stack, "RUNNING") != [], 120)
    assert stack.sql("prefect", held) == ["1"]
    (backtest,) = [
        deployment for deployment in prefect(stack, "deployments/filter", {}) if deployment["name"] == "backtest"
    ]
    api = f"http://127.0.0.1:{stack.place.ports['prefect']}/api"
    changed = {"parameters": {"experiment": {"seeds": 7}}, "paused": True}
    ask(f"{api}/deployments/{backtest['id']}", changed, method="PATCH")
    ask(f"{api}/work_pools/tapecast", {"is_paused": True}, method="PATCH")
    # As `docker kill` and a machine that goes down: the worker has no time to close its run.
    killed = stack.running.pop("worker")
    killed.look()
    killed.end_leftovers()
    stack.stop("prefect")
    assert not stack.healthy("worker")
    assert stack.sql("prefect", held) == ["1"]
    # As in a container made anew: the server does not know who holds the slot, only that it is held.
    shutil.rmtree(stack.place.folder / "user-prefect" / ".prefect" / "concurrency_leases")
    stack.start("prefect", "worker")
    (crashed,) = runs_in(stack, "CRASHED")
    assert crashed["parameters"]["experiment"]["source"]["sessions"] == 3000
    assert "Finished fits are kept" in crashed["state"]["message"]
    assert runs_in(stack, "RUNNING", "PENDING") == []
    assert stack.sql("prefect", held) == ["0"]
    found = {deployment["name"]: deployment for deployment in prefect(stack, "deployments/filter", {})}
    assert set(found) == DEPLOYED
    assert found["backtest"]["id"] == backtest["id"]
    # Set back to what prefect.yaml says; the pool stays as it is.
    assert (found["backtest"]["parameters"], found["backtest"]["paused"]) == (backtest["parameters"], False)
    assert json.loads(ask(f"{api}/work_pools/tapecast"))["is_paused"]
    assert found["backtest"]["schedules"][0]["schedule"] == backtest["schedules"][0]["schedule"]


def runs_in(stack: Stack, *types: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prefect(
        stack, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": list(types)}}}}
    )
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.5)
    return condition()


def rows_of(stack: Stack, database: str) -> dict[str, str]:
    """Return a digest of all rows of each table, and of the next value of each sequence."""
    tables = stack.sql(
        database,
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    rows = {
        table: stack.sql(database, f"SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t")[0]  # noqa: S608
        for table in tables
    }
    sequences = stack.sql(database, "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2")
    return rows | {"sequences": "\n".join(sequences)}


def without_containers(noted: list[str]) -> list[str]:
    return [line for line in noted if not line.startswith(("exec ", "run "))]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_backup_is_restored_elsewhere_whole(
    stack: Stack, run: dict[str, Any], database: str, issued: dict[str, Any], tmp_path: Path
) -> None:
    stack.stop(
        *({"worker", "prefect"} & set(stack.running))
    )  # only so that nothing changes between the dump and the comparison
    (block,) = blocks("Back up")
    noted = run_block(block, {"services": stack.services}, stack.place, tmp_path)
    assert without_containers(noted) == ["stop worker", "start worker"]
    expected = {name: rows_of(stack, name) for name in OWN}
    assert {"optuna.trials", "public.runs"} <= set(expected["mlflow"])
    assert "public.flow_run" in expected["prefect"]
    assert expected["ledger"]["public.ledger_forecasts"].startswith(f"{issued['issued'][0]['added']}|")
    place = new_place(tmp_path / "second")
    for volume in ("mlflow", "home"):
        (place.folder / volume).mkdir()
    with stack_of(model := described(place), place) as other:
        assert other.services["postgres"]["environment"] != stack.services["postgres"]["environment"]
        other.start("postgres")
        (block,) = blocks("Restore")
        for times in range(2):  # into an empty database, and over what is there
            noted = without_containers(run_block(block, model, place, tmp_path))
            assert noted == ["build", "stop worker prefect mlflow", "up --detach --wait postgres", "up --detach --wait"]
            for name, rows in expected.items():
                assert rows_of(other, name) == rows, f"{name}, restored {times} times before"
            assert admitted(other) == EACH_ITS_OWN
            # As a newer version would, on the way back from which a backup is restored.
            other.sql("mlflow", "CREATE TABLE newer (run_uuid varchar(32) REFERENCES runs (run_uuid))")
        for volume in ("mlflow", "home"):
            assert files_of(place.folder / volume) == files_of(stack.place.folder / volume)
        assert files_of(place.folder / "mlflow")
        (block,) = blocks("Upgrade")
        noted = run_block(block, model, place, tmp_path)
        before = ["build --pull", "stop worker prefect mlflow", "up --detach --wait postgres"]
        assert without_containers(noted) == [*before, "up --detach --wait"]
        assert [line for line in noted if "mlflow db upgrade" in line] == noted[3:4]
        other.start("mlflow")
        assert run in (restored := runs_of(other))
        assert restored == runs_of(stack)
        assert verified(other) == {**verified(stack), "noted": verified(other)["noted"]}
        assert set(verified(other)["noted"].values()) == {1}
        run_id = run["info"]["run_id"]
        (report,) = [path for path in artifacts(other, run_id) if path.endswith("report.html")]
        assert artifact(other, run_id, report) == artifact(stack, run_id, report)
        assert set(other.stop("mlflow", "postgres").values()) == {0}
    assert not place.data.exists()


def test_an_older_installation_moves_its_ledger(tmp_path: Path) -> None:
    require_postgresql()
    place, given = new_place(tmp_path / "older"), days(3)
    settings = Settings(home=place.folder / "home")
    entries = [append(open_ledger(settings.ledger_url), issue(as_of=day)) for day in given]
    (settings.days / "daily").mkdir(parents=True)
    noted = [{"sequence": entries[-1].sequence, "digest": entries[-1].digest}]
    (settings.days / "daily" / f"{given[-1]}-XNYS.json").write_text(json.dumps({"ledger": noted}))
    with stack_of(model := described(place), place) as older:
        older.start("postgres")
        for statement in ("DROP DATABASE ledger", "DROP ROLE ledger"):  # as its volume was made before there was one
            older.sql("postgres", statement)
        (block,) = blocks("Move the ledger into PostgreSQL")
        for _ in range(2):
            run_block(block, model, place, tmp_path)
        assert admitted(older) == EACH_ITS_OWN
        assert older.sql("ledger", "SELECT count(*) FROM ledger_forecasts") == ["36"]
        found = json.loads(older.run("worker", "tapecast", "ledger", "verify", "--json"))
        assert (found["entries"], found["head"], found["fault"]) == (3, entries[-1].digest, None)
        assert found["noted"][str(settings.root / "ledger" / "ledger.db")] == 1
        older.stop("postgres")


def test_nothing_stays_behind(stack: Stack) -> None:
    seen = {running.process.pid for running in stack.running.values()}
    services = dict(stack.running)
    statuses = stack.stop(*reversed(list(stack.running)))
    assert statuses.pop("prefect", 0) in (0, -signal.SIGTERM)  # Prefect's server says by which signal it ended
    assert {"mlflow", "postgres"} <= set(statuses)
    assert set(statuses.values()) == {0}
    seen |= {running.pid for service in services.values() for running in service.seen}
    assert len(seen) > 5  # PostgreSQL alone has that many
    assert {name: running.stragglers for name, running in services.items() if running.stragglers} == {}
    assert ours(stack.place.folder) == []
    for port in stack.place.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert [name for name in ("mlruns", "mlartifacts", "mlflow", "mlflow.db") if (ROOT / name).exists()] == []


def ours(folder: Path) -> list[psutil.Process]:
    """Return the processes whose environment names the folder: each that a service or a run of the worker started."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in value for value in process.environ().values()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found

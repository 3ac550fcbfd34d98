"""Finished flow runs on a real server: deleted after their lifetime with artifacts and logs; others stay."""

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Running

from flows.flow_runs import FLOW_NAMES, prune_on_named_server
from pipeline.workflow.prune_result import FLOW_RUNS, Removed

from .command import Command

pytestmark = pytest.mark.slow


def run_flow(name: str) -> UUID:
    """The id of a finished run of a flow of this name, which has an artifact and a log."""

    def body() -> str:
        get_run_logger().info("a line")
        create_markdown_artifact("some", key=f"pruned-{name}")
        return str(flow_run.get_id())

    return UUID(flow(name=name, persist_result=False)(body)())


def exists(client: SyncPrefectClient, run_id: UUID) -> bool:
    try:
        client.read_flow_run(run_id)
    except ObjectNotFound:
        return False
    return True


def artifacts(client: SyncPrefectClient, run_id: UUID) -> int:
    return len(
        client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])))
    )


def logs(client: SyncPrefectClient, run_id: UUID) -> int:
    return len(client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))))


def test_old_runs_of_ours_go_with_what_they_left(prefect_server: str) -> None:
    ours, foreign = run_flow("ingest"), run_flow("somebody-elses")
    with get_client(sync_client=True) as client:
        running = client.create_flow_run(flow(name="daily")(lambda: None), state=State(type="RUNNING"))
        client.set_flow_run_state(running.id, Running(), force=True)
        ended = client.read_flow_run(ours).end_time
        assert ended is not None
        assert prune_on_named_server(ended - timedelta(days=1), False).count == 0
        later = datetime.now(UTC) + timedelta(minutes=1)
        would = prune_on_named_server(later, True)
        assert would.count >= 1
        assert exists(client, ours)
        removed = prune_on_named_server(later, False)
        assert (removed.kind, removed.count, removed.problem) == (FLOW_RUNS, would.count, "")
        assert "free for later runs" in removed.note
        assert [exists(client, run) for run in (ours, foreign, running.id)] == [False, True, True]
        assert [artifacts(client, run) for run in (ours, foreign)] == [0, 1]
        assert logs(client, ours) == 0
        assert prune_on_named_server(later, False) == Removed(FLOW_RUNS)
        client.delete_flow_run(running.id)


def test_every_flow_of_ours_is_named() -> None:
    from flows import deployments  # noqa: PLC0415

    made = {getattr(it, "name", "") for it in vars(deployments).values() if hasattr(it, "with_options")}
    assert made == {*FLOW_NAMES}


def test_a_server_that_does_not_answer_is_a_problem_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.flow_runs.NAMED_SECONDS", 0.2)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    found = prune_on_named_server(datetime.now(UTC), False)
    assert found.count == 0
    assert "no Prefect server answered" in found.problem


@pytest.mark.timeout(300)
def test_the_command_prunes_a_home_and_shrinks_its_database(tmp_path: Path) -> None:
    """By hand, where no server runs: the command starts one, and writes the file anew after its end."""
    command = Command(tmp_path / "home")
    assert command("sine", seconds=280).returncode in (0, 1)
    database = tmp_path / "home" / "prefect" / "prefect.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE flow_run SET end_time = '2020-01-01 00:00:00.000000'")
        connection.execute("CREATE TABLE ballast (x)")
        connection.executemany("INSERT INTO ballast VALUES (?)", [("x" * 1000,)] * 3000)
        connection.execute("DROP TABLE ballast")
    for folder in (tmp_path / "home" / "reports").iterdir():
        os.utime(folder, (0, 0))
    status, would = command.json("prune", "--dry-run")
    assert (status, kinds(would)) == (0, {"reports": 1, FLOW_RUNS: 1})
    status, found = command.json("prune")
    assert (status, kinds(found)) == (0, {"reports": 1, FLOW_RUNS: 1})
    assert freed(found, FLOW_RUNS) > 3_000_000
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
    assert kinds(command.json("prune")[1]) == {}


def kinds(printed: dict[str, object]) -> dict[str, int]:
    return {row["kind"]: row["count"] for row in printed["removed"] if row["count"]}  # type: ignore[index, union-attr]


def freed(printed: dict[str, object], kind: str) -> int:
    return sum(row["freed_bytes"] for row in printed["removed"] if row["kind"] == kind)  # type: ignore[misc, union-attr]


def test_a_lifetime_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    command = Command(tmp_path)
    for wrong in ("reports=1", "prices=30", "reports"):
        status, printed = command.json("prune", "--lifetime", wrong)
        assert status == 2, printed
        assert f"found the lifetimes {wrong}, expected KIND=DAYS" in json.dumps(printed)

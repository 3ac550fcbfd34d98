"""Delivery: once, whenever it is killed; in order; and what MLflow refuses holds up nothing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.tracking.delivery import RECORD_TAG, STRANDED, deliver, deliver_left
from pipeline.tracking.metrics import MetricValue
from pipeline.tracking.outbox import Journal
from pipeline.tracking.runs import Record, child_run
from pipeline.tracking.store import Destination, Store, prepare_store

from .conftest import THIRD_PARTY, new_record
from .waiting import waiting_records

pytestmark = THIRD_PARTY
ROOT = Path(__file__).parents[2]
DELIVER_AND_DIE = """
import os, sys
from pathlib import Path
from pipeline.tracking.delivery import deliver_left
from pipeline.tracking.outbox import Journal
from pipeline.tracking.store import Store
Journal.save = lambda journal, delivered: os._exit(9)  # between a call and its note
deliver_left(Store(sys.argv[1], sys.argv[2], experiment="disturbed"), Path(sys.argv[3]), lambda: None)
"""


@pytest.fixture
def own(store: Store, request: pytest.FixtureRequest) -> Store:
    """An MLflow experiment of the test's own."""
    return prepare_store(Destination(store.uri, None, f"delivery {request.node.name}"))


def whole_record(store: Store, outbox: Path, job: str = "") -> Record:
    """A record with a child, params, curves, files and an end, as a run writes it."""
    record = new_record(store, outbox, job)
    record.start("a run", {"mlflow.note.content": "running"})
    record.write([MetricValue("curve", float(step), step) for step in range(3)], {"size": "6"}, {"kind": "run"})
    with child_run(record, "fold 1", {"tapecast.kind": "fold"}) as child:
        child.write([MetricValue("loss", 0.5)])
    with record.files() as folder:
        (folder / "report").mkdir()
        (folder / "report" / "report.html").write_text("a page")
    record.rename("a finished run")
    record.end("FINISHED")
    return record


def runs_of(store: Store) -> dict[str, Run]:
    runs = MlflowClient(store.uri).search_runs([store.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs), "a run was made twice"
    return {run.info.run_name: run for run in runs}


def content(store: Store) -> dict[str, tuple[object, ...]]:
    """Everything that a record leaves in MLflow, without ids and instants."""
    client, found = MlflowClient(store.uri), {}
    for name, run in runs_of(store).items():
        curves = {
            key: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        tags = {key: text for key, text in run.data.tags.items() if key not in (RECORD_TAG, "mlflow.parentRunId")}
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        found[name] = (run.info.status, curves, run.data.params, tags, files, "mlflow.parentRunId" in run.data.tags)
    return found


def test_a_delivery_that_is_killed_anywhere_is_finished_by_the_next_and_nothing_is_there_twice(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = prepare_store(Destination(store.uri, None, "undisturbed"))
    record = whole_record(undisturbed, tmp_path / "undisturbed")
    deliver(undisturbed, record.journal, lambda: None)
    expected, calls = content(undisturbed), record.journal.delivered.calls
    assert expected["a finished run"][0] == "FINISHED"
    disturbed = prepare_store(Destination(store.uri, None, "disturbed"))
    outbox = tmp_path / "disturbed"
    whole_record(disturbed, outbox).journal.release()
    arguments = [disturbed.uri, disturbed.experiment_id, str(outbox)]
    died = subprocess.run(
        [sys.executable, "-c", DELIVER_AND_DIE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert died.returncode == 9, died.stderr
    assert len(runs_of(disturbed)) == 1, "made and not noted"
    for _ in range(calls):
        _killed_before_its_note(disturbed, outbox, monkeypatch)
        _killed_after_its_note(disturbed, outbox)
    deliver_left(disturbed, outbox, lambda: None)
    assert content(disturbed) == expected
    assert waiting_records(outbox) == 0
    assert deliver_left(disturbed, outbox, lambda: None) == 0


class Killed(BaseException):
    """As little as a kill is it handled."""


def _killed_before_its_note(store: Store, outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", killed)
        with pytest.raises(Killed):
            deliver_left(store, outbox, lambda: None)


def _killed_after_its_note(store: Store, outbox: Path) -> None:
    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        deliver_left(store, outbox, killed)


def test_records_are_delivered_in_their_order(own: Store, tmp_path: Path) -> None:
    journals = [whole_record(own, tmp_path).journal for _ in range(3)]
    for journal in journals:
        journal.release()
    assert deliver_left(own, tmp_path, lambda: None) == 3
    runs = MlflowClient(own.uri).search_runs([own.experiment_id], "attributes.run_name = 'a finished run'")
    assert [run.data.tags[RECORD_TAG] for run in reversed(runs)] == [journal.header.id for journal in journals]


def test_the_run_of_a_killed_process_is_killed_and_continued_by_its_own_job_alone(own: Store, tmp_path: Path) -> None:
    record = new_record(own, tmp_path, "a job")
    record.start("a run", {"mlflow.note.content": "running, no results yet"})
    record.child("fold 1").start("fold 1", {}, once=True)
    deliver(own, record.journal, lambda: None)
    record.journal.release()  # as a kill does
    for _ in range(2):
        assert deliver_left(own, tmp_path, lambda: None) in (0, 1)
        runs = runs_of(own)
        assert {run.info.status for run in runs.values()} == {"KILLED"}
        assert runs["a run"].data.tags["tapecast.error"] == STRANDED
        assert f"**Failed:** {STRANDED}" in runs["a run"].data.tags["mlflow.note.content"]
    again = whole_record(own, tmp_path, "a job")
    assert again.id == record.id
    deliver(own, again.journal, lambda: None)
    runs = runs_of(own)
    assert set(runs) == {"a finished run", "fold 1"}
    assert runs["a finished run"].info.status == "FINISHED"
    assert "tapecast.error" not in runs["a finished run"].data.tags
    assert runs["a finished run"].data.tags["mlflow.note.content"] == "running"


@pytest.fixture
def refusing(own: Store, tmp_path: Path) -> Iterator[Journal]:
    record = new_record(own, tmp_path)
    record.start("a run", {})
    record.write(params={"size": "6"})
    record.write(params={"size": "7"})  # MLflow changes no param
    record.child("never started").end("FINISHED")
    record.write(tags={"after": "it"})
    record.end("FINISHED")
    yield record.journal
    record.journal.release()


def test_what_mlflow_refuses_is_named_and_the_rest_is_delivered(own: Store, refusing: Journal) -> None:
    deliver(own, refusing, lambda: None)
    assert refusing.pending == []
    refused, unstarted = refusing.delivered.refused
    assert unstarted == "end: its run was not started"
    assert refused.startswith("log: ")
    assert "size" in refused
    run = runs_of(own)["a run"]
    assert (run.info.status, run.data.params, run.data.tags["after"]) == ("FINISHED", {"size": "6"}, "it")


def test_a_record_whose_runs_are_gone_is_delivered_again_from_its_start(
    store: Store, own: Store, tmp_path: Path
) -> None:
    record = whole_record(own, tmp_path)
    while len(record.journal.pending) > 3:
        _deliver_one(own, record.journal)
    other = prepare_store(Destination(f"sqlite:///{tmp_path / 'new.db'}", None, own.experiment))
    deliver(other, record.journal, lambda: None)  # as after the damaged database was set aside
    assert content(other)["a finished run"][0] == "FINISHED"


def _deliver_one(store: Store, journal: Journal) -> None:
    def stop() -> None:
        raise TrackingError("enough")

    with pytest.raises(TrackingError, match="enough"):
        deliver(store, journal, stop)

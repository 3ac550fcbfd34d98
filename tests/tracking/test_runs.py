"""Runs of every kind and status, runs that fail, and the limits of one request."""

from pathlib import Path
from typing import get_args

import pytest
from mlflow.tracking import MlflowClient

from pipeline.operation.result import CalendarResult
from pipeline.tracking.descriptions import KIND_LABELS, RunKind, failure_note, first_name, first_note, first_tags
from pipeline.tracking.metrics import MAX_PARAM_LENGTH, MetricValue, flat_params
from pipeline.tracking.runs import Record, RunStatus, child_run, start_run
from pipeline.tracking.store import Store
from tests.panels import TINY

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return MlflowClient(tracking_uri=store.uri)


@pytest.fixture
def record(store: Store, outbox: Path, outcome: CalendarResult) -> Record:
    started = new_record(store, outbox)
    start_run(started, "run", outcome.experiment)
    return started


def test_a_failed_run_says_why(store: Store, record: Record, client: MlflowClient) -> None:
    record.end("FAILED", "the source did not answer")
    run = client.get_run(delivered(store, record.journal))
    assert run.info.status == "FAILED"
    assert run.info.end_time >= run.info.start_time
    assert run.data.tags["tapecast.error"] == "the source did not answer"
    assert run.data.tags["mlflow.note.content"].startswith("**Failed:** the source did not answer")


def test_a_child_that_cannot_be_filled_is_failed(store: Store, record: Record, client: MlflowClient) -> None:
    with pytest.raises(KeyboardInterrupt), child_run(record, "fold", {}):
        raise KeyboardInterrupt
    parent = delivered(store, record.journal)
    child = client.get_run(record.journal.delivered.runs["fold"])
    assert child.info.status == "FAILED"
    assert child.data.tags["mlflow.parentRunId"] == parent


def test_more_than_one_request_holds_is_written_whole(store: Store, record: Record, client: MlflowClient) -> None:
    points = [MetricValue("curve", float(step), step) for step in range(2500)]
    record.write(points, {f"p{k}": "x" for k in range(250)}, {f"t{k}": "y" for k in range(130)})
    run_id = delivered(store, record.journal)
    data = client.get_run(run_id).data
    assert [point.value for point in client.get_metric_history(run_id, "curve")] == [float(k) for k in range(2500)]
    assert len([name for name in data.params if name[1:].isdigit()]) == 250
    assert len([name for name in data.tags if name[1:].isdigit()]) == 130


def test_values_that_are_not_finite_are_left_out(store: Store, record: Record, client: MlflowClient) -> None:
    values = {"sine/error": 0.5, "nan": float("nan"), "inf": float("inf")}
    record.write([MetricValue(name, value) for name, value in values.items()])
    assert client.get_run(delivered(store, record.journal)).data.metrics == {"sine/error": 0.5}


def test_params_are_flat_strings_and_long_ones_are_cut() -> None:
    values = {"a": {"b": {"c": 1}, "d": None}, "e": ["x", "y"], "f": [], "g": True, "h": ["T" * 9] * 100}
    params = flat_params(values)
    long = params.pop("h")
    assert params == {"a.b.c": "1", "a.d": "(none given)", "e": "x y", "f": "(none given)", "g": "True"}
    assert len(long) == MAX_PARAM_LENGTH
    assert long.endswith("… (999 characters in all)")


@pytest.mark.parametrize("kind", get_args(RunKind))
def test_every_kind_of_run_has_a_name_tags_and_a_description(kind: RunKind) -> None:
    note = first_note(kind, TINY)
    assert note.startswith(KIND_LABELS[kind].capitalize())
    assert failure_note("no space left", note).endswith("not finished.")
    assert first_name(kind, TINY).startswith(kind)
    assert first_tags(kind, TINY)["tapecast.kind"] == kind


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_every_status_of_a_run(store: Store, record: Record, client: MlflowClient, status: RunStatus) -> None:
    record.end(status)
    assert client.get_run(delivered(store, record.journal)).info.status == status

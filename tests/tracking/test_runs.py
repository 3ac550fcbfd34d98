"""Runs of every kind and status, runs that fail, and the limits of one request."""

from typing import get_args

import pytest
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.operation.result import CalendarResult
from pipeline.tracking.descriptions import KIND_LABELS, RunKind, failure_note, first_name, first_note, first_tags
from pipeline.tracking.metrics import MAX_PARAM_LENGTH, MetricValue, flat_params
from pipeline.tracking.runs import RunStatus, child_run, create_run, finish_run, log_metrics, start_run, write_batches
from pipeline.tracking.store import Store
from tests.panels import TINY

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return MlflowClient(tracking_uri=store.uri)


def test_a_failed_run_says_why(store: Store, outcome: CalendarResult, client: MlflowClient) -> None:
    run_id = start_run(store, "run", outcome.experiment)
    finish_run(store, run_id, "FAILED", "the source did not answer")
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.info.end_time >= run.info.start_time
    assert run.data.tags["tapecast.error"] == "the source did not answer"
    assert run.data.tags["mlflow.note.content"].startswith("**Failed:** the source did not answer")


def test_a_killed_run_is_killed(store: Store, outcome: CalendarResult, client: MlflowClient) -> None:
    run_id = start_run(store, "run", outcome.experiment)
    finish_run(store, run_id, "KILLED")
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_child_that_cannot_be_filled_is_failed(store: Store, outcome: CalendarResult, client: MlflowClient) -> None:
    parent = start_run(store, "run", outcome.experiment)
    with pytest.raises(KeyboardInterrupt), child_run(client, store, parent, "fold", {}) as run_id:
        raise KeyboardInterrupt
    child = client.get_run(run_id)
    assert child.info.status == "FAILED"
    assert child.data.tags["mlflow.parentRunId"] == parent


def test_more_than_one_request_holds_is_written_whole(store: Store, client: MlflowClient) -> None:
    run_id = create_run(client, store, "large", {})
    points = [MetricValue("curve", float(step), step) for step in range(2500)]
    write_batches(client, run_id, points, {f"p{k}": "x" for k in range(250)}, {f"t{k}": "y" for k in range(130)})
    data = client.get_run(run_id).data
    assert [point.value for point in client.get_metric_history(run_id, "curve")] == [float(k) for k in range(2500)]
    assert len([name for name in data.params if name.startswith("p")]) == 250
    assert len([name for name in data.tags if name.startswith("t") and "." not in name]) == 130


def test_values_that_are_not_finite_are_left_out(store: Store, client: MlflowClient) -> None:
    run_id = create_run(client, store, "values", {})
    log_metrics(store, run_id, {"sine/error": 0.5, "nan": float("nan"), "inf": float("inf")})
    assert client.get_run(run_id).data.metrics == {"sine/error": 0.5}


def test_an_unknown_run_is_a_tracking_error(store: Store) -> None:
    with pytest.raises(TrackingError, match="could not end run 0123"):
        finish_run(store, "0123", "FINISHED")


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
def test_every_status_of_a_run(store: Store, client: MlflowClient, status: RunStatus) -> None:
    run_id = start_run(store, "run", TINY)
    finish_run(store, run_id, status)
    assert client.get_run(run_id).info.status == status

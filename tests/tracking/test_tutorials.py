"""Tutorials in MLflow, read back through a client of its own."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.tracking.store import Store
from pipeline.tracking.tutorials import log_tutorial, log_tutorial_table, start_tutorials, tutorial_note
from pipeline.training.cache import read_fitted
from pipeline.tutorials.data import MEASURES, MeasureName
from pipeline.tutorials.run import TutorialResult, tutorial_forecasts
from tests.tutorials.quick import quick_results

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY


@pytest.fixture(scope="module")
def results() -> tuple[TutorialResult, ...]:
    return quick_results()


@pytest.fixture(scope="module")
def parent(store: Store, outbox: Path, results: tuple[TutorialResult, ...]) -> str:
    record = new_record(store, outbox)
    start_tutorials(record, "all", 0)
    for result in results:
        log_tutorial(record, result, (f"{result.tutorial.name}.png", b"\x89PNG"))
    log_tutorial_table(record, results)
    record.end("FINISHED")
    return delivered(store, record.journal)


def children(store: Store, parent: str) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=store.uri)
    runs = client.search_runs([store.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    return {run.info.run_name: run for run in runs}


def read_table(client: MlflowClient, run_id: str, folder: Path) -> pd.DataFrame:
    return pd.read_json(client.download_artifacts(run_id, "tables/results.json", str(folder)), orient="split")


def test_the_run_above_has_the_table_and_says_how_many_passed(
    store: Store, parent: str, results: tuple[TutorialResult, ...], tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    run = client.get_run(parent)
    assert run.data.tags["tapecast.kind"] == "tutorial"
    assert run.data.tags["tapecast.verdict"] == "3 of 4 passed"
    assert run.data.tags["mlflow.note.content"].startswith("**3 of 4 tutorials reached their mark.**")
    assert "| concat-cell &nbsp; | excess nll &nbsp; |" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["elman/found"] == pytest.approx(results[0].found)
    table = read_table(client, parent, tmp_path)
    assert table["tutorial"].tolist() == [result.tutorial.name for result in results]
    assert table["passed"].tolist() == [True, True, False, True]


def test_each_tutorial_is_a_run_with_params_curve_scores_result_and_note(
    store: Store, parent: str, results: tuple[TutorialResult, ...]
) -> None:
    runs = children(store, parent)
    assert set(runs) == {result.tutorial.name for result in results}
    run, result = runs["elman"], results[0]
    assert run.info.status == "FINISHED"
    params, tags = run.data.params, run.data.tags
    assert (params["network.cell"], params["training.optimizer"], params["seeds"]) == ("elman", "sgd", "0")
    assert (tags["tapecast.verdict"], tags["tapecast.measure"]) == ("passed", "mse")
    assert float(tags["tapecast.found"]) == pytest.approx(result.found, rel=1e-5)
    assert run.data.metrics["test/found"] == pytest.approx(result.found)
    assert run.data.metrics["test/rmse_of_climatology"] > 0.5
    assert tags["mlflow.note.content"].startswith("**elman reached its mark: mse")
    curve = MlflowClient(tracking_uri=store.uri).get_metric_history(run.info.run_id, "fit_loss/valid_seed_0")
    assert [(point.step, point.value) for point in curve] == [
        (check.step, pytest.approx(check.valid_loss)) for check in result.fits[0].network.checks
    ]


def test_a_missed_mark_is_a_failed_run_that_says_so(store: Store, parent: str) -> None:
    run = children(store, parent)["concat-cell"]
    assert run.info.status == "FAILED"
    assert run.data.tags["tapecast.verdict"] == "missed"
    assert "MISSED its mark" in run.data.tags["mlflow.note.content"]


def test_figure_forecasts_and_model_are_artifacts_of_the_run(
    store: Store, parent: str, results: tuple[TutorialResult, ...], tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    run_id = children(store, parent)["ohlc one to many"].info.run_id
    folder = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    assert (folder / "figures" / "ohlc one to many.png").read_bytes() == b"\x89PNG"
    rows = pd.read_parquet(folder / "forecasts" / "forecasts.parquet")
    pd.testing.assert_frame_equal(rows, tutorial_forecasts(results[3].fits[0]), check_dtype=False)
    assert rows["horizon"].max() == 5
    assert rows["actual"].between(400, 900).all()  # dollars
    assert read_fitted(folder / "model").forecaster == results[3].tutorial.network


@pytest.mark.parametrize("measure", get_args(MeasureName))
def test_every_measure_is_explained_in_the_note(results: tuple[TutorialResult, ...], measure: MeasureName) -> None:
    result = replace(results[0], tutorial=replace(results[0].tutorial, measure=measure))
    note = tutorial_note(result)
    assert measure in note
    assert MEASURES[measure] in note

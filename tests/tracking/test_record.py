"""A recorded run says what the outcome says, read back through a client of its own."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.evaluation.contribution import share_table, weight_table
from pipeline.evaluation.scores import POOLED, score_table
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasting.backtest import Backtest, build_backtest, forecast_frames
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, CORE_FORECASTERS, NETWORK
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.tracking.record import log_result
from pipeline.tracking.runs import start_run
from pipeline.tracking.store import Store
from pipeline.training.cache import read_fitted
from pipeline.training.jobs import digest_of_rows

from .conftest import FIGURES, SECONDS, THIRD_PARTY, Recorded, delivered, new_record, record
from .outcomes import forecast_only

pytestmark = THIRD_PARTY


def run_of(recorded: Recorded) -> Run:
    return recorded.client.get_run(recorded.run_id)


def children(recorded: Recorded) -> dict[str, Run]:
    query = f"tags.mlflow.parentRunId = '{recorded.run_id}'"
    runs = recorded.client.search_runs([recorded.store.experiment_id], query)
    return {run.info.run_name: run for run in runs}


def downloaded(recorded: Recorded, path: str, folder: Path) -> Path:
    return Path(recorded.client.download_artifacts(recorded.run_id, path, str(folder)))


def table(recorded: Recorded, name: str, folder: Path) -> pd.DataFrame:
    return pd.read_json(downloaded(recorded, f"tables/{name}.json", folder), orient="split")


def test_name_tags_and_description_describe_the_run(recorded: Recorded, outcome: CalendarResult) -> None:
    run = run_of(recorded)
    tags = run.data.tags
    assert outcome.evaluation
    assert run.info.run_name == "run 2023-12-29 · T0 T1 T2 T3"
    assert run.info.status == "FINISHED"
    assert tags["tapecast.kind"] == "run"
    assert tags["tapecast.status"] == "partial"
    assert tags["tapecast.excluded"] == "BAD"
    assert (tags["tapecast.calendar"], tags["tapecast.known_at"]) == ("XNYS", "2026-10-01T22:30:05")
    assert tags["tapecast.stale"] == "T1"
    assert tags["tapecast.tickers"] == "T0 T1 T2 T3"
    assert tags["tapecast.verdict_sentence"] == outcome.evaluation.verdict.sentence
    note = tags["mlflow.note.content"]
    assert note.startswith(f"**{outcome.evaluation.verdict.sentence}**")
    for expected in (
        outcome.source_note,
        *outcome.warnings,
        "**T1** is not up to date, its last bar is 2 sessions old: the source did not answer",
        outcome.excluded[0].reason,
        "climatology",
        "| T3 ",
        "**report**",
        "loss curves",
    ):
        assert expected in note


def test_params_are_the_experiment(recorded: Recorded) -> None:
    params = run_of(recorded).data.params
    assert params["network.hidden_size"] == "6"
    assert params["folds.refit_months"] == "9"
    assert params["source.process"] == "random_walk"
    assert params["features"].split()[:2] == ["log_return", "overnight_gap"]
    assert params["tickers"] == "(none given)"


def test_the_benchmarks_are_those_that_were_fitted_and_the_note_says_why_others_were_not(
    store: Store, outbox: Path, outcome: CalendarResult
) -> None:
    fitted = outcome.experiment.model_copy(update={"benchmarks": (HarSpec(),)})
    requested = fitted.model_copy(update={"benchmarks": (HarSpec(), GarchSpec())})
    reason = "The benchmark garch is dropped: made up."
    record = new_record(store, outbox)
    start_run(record, "run", requested)
    run_id, client = delivered(store, record.journal), MlflowClient(tracking_uri=store.uri)
    assert "benchmarks" not in client.get_run(run_id).data.params
    log_result(record, "run", replace(outcome, experiment=fitted, warnings=(reason,)), {}, None, {})
    delivered(store, record.journal)
    data = client.get_run(run_id).data
    assert json.loads(data.params["benchmarks"]) == HarSpec().model_dump(mode="json")
    assert reason in data.tags["mlflow.note.content"]


def test_metrics_equal_the_scores(recorded: Recorded, outcome: CalendarResult) -> None:
    assert outcome.evaluation
    metrics, scores = run_of(recorded).data.metrics, outcome.evaluation.scores
    pooled = scores[scores["ticker"] == POOLED].set_index(["horizon", "forecaster"])
    for (horizon, forecaster), row in pooled.iterrows():
        assert metrics[f"h{horizon}/{forecaster}/pinball_x1e4"] == pytest.approx(1e4 * row["pinball"], rel=1e-12)
        assert metrics[f"h{horizon}/{forecaster}/coverage_80"] == row["coverage_80"]
    comparisons = outcome.evaluation.comparisons
    for row in comparisons[
        (comparisons["ticker"] == POOLED) & (comparisons["forecaster"] == "calibrated")
    ].itertuples():
        assert metrics[f"h{row.horizon}/dm_p/{row.baseline}"] == row.p_adjusted
        assert metrics[f"h{row.horizon}/skill/{row.baseline}"] == row.skill
    for found in outcome.evaluation.contributions:
        assert metrics[f"h{found.horizon}/network_adds/skill"] == found.skill
        assert metrics[f"h{found.horizon}/network_adds/dm_p"] == found.p
        for member, share in found.shares.items():
            assert metrics[f"h{found.horizon}/share/{member}"] == share
    assert len(outcome.evaluation.contributions) == 2
    assert {stage: metrics[f"seconds/{stage}"] for stage in SECONDS} == SECONDS


def test_what_has_no_value_is_no_metric(recorded: Recorded, outcome: CalendarResult) -> None:
    assert outcome.evaluation
    scores = outcome.evaluation.scores
    assert scores.loc[scores["forecaster"] == "last_close", "directional_accuracy"].isna().all()
    assert "h1/last_close/directional_accuracy" not in run_of(recorded).data.metrics


def test_horizons_are_the_steps_of_a_curve(recorded: Recorded) -> None:
    curve = recorded.client.get_metric_history(recorded.run_id, "by_horizon/network/pinball_x1e4")
    metrics = run_of(recorded).data.metrics
    assert {point.step: point.value for point in curve} == {h: metrics[f"h{h}/network/pinball_x1e4"] for h in (1, 2)}


def test_the_dataset_is_an_input_with_the_digest_of_its_rows(recorded: Recorded, outcome: CalendarResult) -> None:
    (found,) = run_of(recorded).inputs.dataset_inputs
    assert found.dataset.digest == digest_of_rows(outcome.frames)
    assert found.dataset.name == "synthetic: T0 T1 T2 T3"
    profile = json.loads(found.dataset.profile)
    assert profile["num_rows"] == int(np.isfinite(outcome.frames.reference_close).sum())
    assert profile["last_session"] == "2023-12-29"
    assert json.loads(found.dataset.source)["process"] == "random_walk"


def test_every_fold_is_a_child_run(recorded: Recorded, outcome: CalendarResult) -> None:
    runs = children(recorded)
    assert set(runs) == {f"fold {fold.name}" for fold in outcome.folds}
    fold = outcome.folds[-1]
    run = runs[f"fold {fold.name}"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["tapecast.test"].startswith(f"{fold.test.first} to ")
    assert run.data.params["seeds.network"] == "0 1"
    assert run.data.params["sessions.test"] == str(len(fold.test))


def test_loss_curves_of_every_seed_are_whole(recorded: Recorded, outcome: CalendarResult) -> None:
    runs = children(recorded)
    fits = [result for result in outcome.results if result.job.forecaster.kind == NETWORK]
    assert len(fits) == 4
    for result in fits:
        run, seed = runs[f"fold {result.job.fold.name}"], result.job.seed
        assert result.fitted
        for part in ("train", "valid"):
            curve = recorded.client.get_metric_history(run.info.run_id, f"fit_loss/{part}_seed_{seed}")
            expected = {check.step: getattr(check, f"{part}_loss") for check in result.fitted.checks}
            assert {point.step: point.value for point in curve} == expected
        assert run.data.metrics[f"fit_stopped/best_step_seed_{seed}"] == result.fitted.best_step
        assert run.data.metrics[f"fit_seconds/network_seed_{seed}"] == result.fitted.seconds


def test_scores_of_a_fold_are_those_of_a_backtest_of_that_fold_alone(
    recorded: Recorded, outcome: CalendarResult
) -> None:
    for fold in outcome.folds:
        alone: Backtest = build_backtest(outcome.results, (fold,), outcome.frames)
        scores = score_table(alone)
        pooled = scores[scores["ticker"] == POOLED].set_index(["horizon", "forecaster"])
        metrics = children(recorded)[f"fold {fold.name}"].data.metrics
        for key, row in pooled.iterrows():
            horizon, forecaster = key
            assert metrics[f"h{horizon}/{forecaster}/pinball_x1e4"] == pytest.approx(1e4 * row["pinball"], rel=1e-6)
        model = metrics["h1/calibrated/pinball_x1e4"] / 1e4  # it goes on over the folds
        expected = 1 - model / pooled.loc[(1, "ewma"), "pinball"]
        assert metrics["h1/skill/ewma"] == pytest.approx(expected, abs=1e-9)


def test_tables_come_back_as_they_were(recorded: Recorded, outcome: CalendarResult, tmp_path: Path) -> None:
    assert outcome.forecasts is not None
    expected = published_rows(outcome.forecasts)
    found = table(recorded, "forecasts", tmp_path)
    assert list(found["target_session"]) == list(expected["target_session"].dt.strftime("%Y-%m-%d"))
    np.testing.assert_allclose(found["q05"], expected["q05"], rtol=1e-9)
    assert len(table(recorded, "unpublished_forecasts", tmp_path)) == 7 * len(expected)
    assert outcome.evaluation
    assert len(table(recorded, "scores", tmp_path)) == len(outcome.evaluation.scores)
    shares = table(recorded, "weights", tmp_path)
    np.testing.assert_allclose(shares["share"], share_table(outcome.evaluation.backtest)["share"])
    assert len(table(recorded, "contributions", tmp_path)) == 2
    assert outcome.evaluation.backtest.weights is not None
    weights = pd.read_parquet(downloaded(recorded, "backtest/weights.parquet", tmp_path))
    pd.testing.assert_frame_equal(weights, weight_table(outcome.evaluation.backtest), check_dtype=False)
    assert table(recorded, "excluded", tmp_path)["ticker"].tolist() == ["BAD"]
    assert table(recorded, "problems", tmp_path)["expected"].tolist() == ["a positive price"]


def test_the_ui_lists_which_files_are_tables(recorded: Recorded) -> None:
    listed = json.loads(run_of(recorded).data.tags["mlflow.loggedArtifacts"])
    assert {"path": "tables/forecasts.json", "type": "table"} in listed


def test_backtest_forecasts_come_back(recorded: Recorded, outcome: CalendarResult, tmp_path: Path) -> None:
    assert outcome.evaluation
    found = pd.read_parquet(downloaded(recorded, "backtest/forecasts.parquet", tmp_path))
    expected = pd.concat(forecast_frames(outcome.evaluation.backtest), ignore_index=True)
    assert set(found["forecaster"]) == {*CORE_FORECASTERS, COMBINED, CALIBRATED}
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6)


def test_live_forecasts_come_back_exactly(recorded: Recorded, outcome: CalendarResult, tmp_path: Path) -> None:
    found = pd.read_parquet(downloaded(recorded, "forecasts/forecasts.parquet", tmp_path))
    assert outcome.forecasts is not None
    pd.testing.assert_frame_equal(found, outcome.forecasts, check_dtype=False)


def test_the_model_is_the_latest_folds_fits(recorded: Recorded, outcome: CalendarResult, tmp_path: Path) -> None:
    folder = downloaded(recorded, "model", tmp_path)
    facts = json.loads((folder / "model.json").read_text())
    assert facts["fold"] == outcome.folds[-1].name
    latest = {r.job.key: r for r in outcome.results if r.job.fold.name == outcome.folds[-1].name}
    assert set(facts["fits"].values()) == set(latest)
    assert run_of(recorded).data.tags["tapecast.model_keys"].split() == list(facts["fits"].values())
    for name, key in facts["fits"].items():
        fitted, expected = read_fitted(folder / name), latest[key].fitted
        assert expected
        assert fitted.forecaster == expected.forecaster
        assert all(np.array_equal(fitted.arrays[part], expected.arrays[part]) for part in expected.arrays)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_figures_report_and_experiment_come_back(recorded: Recorded, outcome: CalendarResult, tmp_path: Path) -> None:
    figures = downloaded(recorded, "figures", tmp_path)
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == FIGURES
    assert downloaded(recorded, "report/report.html", tmp_path).read_text() == "<h1>The report</h1>"
    text = downloaded(recorded, "experiment.json", tmp_path).read_text()
    assert type(outcome.experiment).model_validate_json(text) == outcome.experiment


def test_a_mere_forecast_has_its_table_and_no_folds(
    store: Store, outbox: Path, outcome: CalendarResult, tmp_path: Path
) -> None:
    recorded = record(store, outbox, forecast_only(outcome), report=None)
    assert children(recorded) == {}
    assert len(table(recorded, "forecasts", tmp_path)) == len(published_rows(outcome.forecasts))
    tags = run_of(recorded).data.tags
    assert tags["tapecast.unseen"] == "T3"
    assert "not trained on T3" in tags["mlflow.note.content"]
    assert "tapecast.verdict" not in tags


def test_nothing_is_written_to_standard_output(
    store: Store, outbox: Path, outcome: CalendarResult, report: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record(store, outbox, outcome, report)
    assert capfd.readouterr().out == ""


def test_no_active_run_and_no_other_tracking_uri_are_left(recorded: Recorded) -> None:
    assert mlflow.active_run() is None
    assert not mlflow.tracking.is_tracking_uri_set()
    assert recorded.store.uri != mlflow.get_tracking_uri()


def test_a_run_under_way_differs_from_a_finished_one(store: Store, outbox: Path, outcome: CalendarResult) -> None:
    record = new_record(store, outbox)
    start_run(record, "backtest", outcome.experiment)
    run = MlflowClient(tracking_uri=store.uri).get_run(delivered(store, record.journal))
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "backtest · synthetic"
    assert "running, no results yet" in run.data.tags["mlflow.note.content"]

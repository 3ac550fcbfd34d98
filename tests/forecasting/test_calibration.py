"""The calibrated network in a backtest and live: one correction per fold, the same in both, without look-ahead."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.evaluation.scores import score_table
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.forecasts import (
    CALIBRATED,
    COMBINED,
    FORECASTER_ORDER,
    NETWORK,
    QUANTILE_COLUMNS,
    fits_of,
    forecasts_by_forecaster,
    price_quantiles,
)
from pipeline.forecasting.live import live_forecasts
from pipeline.forecasting.postprocessing import postprocessed, postprocessing_after, postprocessing_of
from pipeline.forecasting.span import Origins
from pipeline.forecasting.specification import CalibrationSpec, PostprocessingSpec
from pipeline.stages import jobs_of
from pipeline.training.jobs import FitResult
from tests.forecasting.calibrating import calibrated, origins_of
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market, random_rows

Finished = tuple[Frames, tuple[Fold, ...], list[FitResult]]
ADAPTIVE = CalibrationSpec(method="adaptive")
SPLIT = CalibrationSpec(method="split")
OF_NETWORK = {spec.method: PostprocessingSpec("network", spec) for spec in (ADAPTIVE, SPLIT)}
FOLDS = FoldSpec(refit_months=9, validation_months=3, calibration_months=3)
EXPERIMENT = changed(TINY, folds=FOLDS, seeds=2)
KINDS = (NETWORK, "last_close", "ewma")
EVENING = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    frames = frames_from(random_market(800, 3), EXPERIMENT)
    jobs, folds = jobs_for(frames, EXPERIMENT, kinds=KINDS, folds=slice(0, 2))
    assert len(folds) == 2
    assert all(len(fold.calibration) > 50 for fold in folds)
    return frames, folds, fit_jobs(jobs, frames, Path(tmp_path_factory.mktemp("fits")))


def test_the_backtest_has_the_calibrated_network_next_to_what_it_has_without(finished: Finished) -> None:
    frames, folds, results = finished
    plain = build_backtest(results, folds, frames)
    assert list(plain.quantiles) == [NETWORK, "last_close", "ewma"]
    for spec in (ADAPTIVE, SPLIT):
        backtest = build_backtest(results, folds, frames, OF_NETWORK[spec.method])
        assert list(backtest.quantiles) == [NETWORK, COMBINED, CALIBRATED, "last_close", "ewma"]
        for name in plain.quantiles:
            np.testing.assert_array_equal(backtest.quantiles[name], plain.quantiles[name])
        assert np.nanmax(np.abs(backtest.quantiles[CALIBRATED] - backtest.quantiles[NETWORK])) > 1e-4


def learned_outcomes(finished: Finished, fold: Fold, rows: slice) -> np.ndarray:
    """The outcomes of the tickers that a fold's network was trained on: a young one comes in the second fold."""
    frames, _, results = finished
    learned_from = np.isin(frames.tickers, fits_of(results, fold)[0].tickers)
    return np.where(learned_from[:, None, None], frames.future_return[:, rows], np.float32(np.nan))


def test_every_fold_is_split_corrected_from_its_own_calibration_range(finished: Finished) -> None:
    frames, folds, results = finished
    backtest = build_backtest(results, folds, frames, OF_NETWORK["split"])
    for k, fold in enumerate(folds):
        rows = slice(fold.calibration.start, fold.test.stop)
        network = forecasts_by_forecaster(fits_of(results, fold), frames, rows)[NETWORK]
        warm = len(fold.calibration)
        expected = calibrated(network, learned_outcomes(finished, fold, rows), SPLIT, warm)[:, warm:]
        np.testing.assert_allclose(backtest.quantiles[CALIBRATED][:, backtest.fold_of_origin == k], expected, atol=1e-6)


def origins_between(frames: Frames, outcome: np.ndarray, rows: slice) -> Origins:
    return origins_of(outcome, frames.relative_volatility[:, rows], frames.volatility[:, rows])


def test_the_adaptive_correction_goes_on_over_the_folds(finished: Finished) -> None:
    frames, folds, results = finished
    backtest = build_backtest(results, folds, frames, OF_NETWORK["adaptive"])
    first, second = folds
    assert first.test.stop == second.test.start
    parts = [
        forecasts_by_forecaster(fits_of(results, fold), frames, rows)[NETWORK]
        for fold, rows in (
            (first, slice(first.validation.start, first.test.start)),
            (first, slice(first.test.start, first.test.stop)),
            (second, slice(second.test.start, second.test.stop)),
        )
    ]
    start, stop, border = first.validation.start, second.test.stop, first.test.stop
    # An outcome counts at the session at which it becomes known, for the network that is in use then.
    outcome = np.full((len(frames.tickers), stop - start, frames.horizons), np.nan, np.float32)
    for origin, h in np.ndindex(*outcome.shape[1:]):
        known = start + origin + h + 1
        if known < stop:
            fold, at = (first if known < border else second), slice(known - h - 1, known - h)
            outcome[:, origin, h] = learned_outcomes(finished, fold, at)[:, 0, h]
    origins = origins_between(frames, outcome, slice(start, stop))
    expected = calibrated(np.concatenate(parts, axis=1), outcome, ADAPTIVE, origins=origins)
    np.testing.assert_allclose(backtest.quantiles[CALIBRATED], expected[:, first.test.start - start :], atol=1e-6)
    anew = build_backtest(results, [second], frames, OF_NETWORK["adaptive"]).quantiles[CALIBRATED]
    assert np.nanmax(np.abs(backtest.quantiles[CALIBRATED][:, -anew.shape[1] :] - anew)) > 1e-5


def test_the_correction_is_no_baseline_and_has_its_scores(finished: Finished) -> None:
    frames, folds, results = finished
    backtest = build_backtest(results, folds, frames, OF_NETWORK["adaptive"])
    assert backtest.opponents == ("last_close", "ewma")
    assert FORECASTER_ORDER[:3] == (NETWORK, COMBINED, CALIBRATED)
    assert score_table(backtest)["forecaster"].drop_duplicates().tolist() == list(backtest.quantiles)


@pytest.mark.parametrize("spec", [ADAPTIVE, SPLIT], ids=lambda spec: spec.method)
@pytest.mark.parametrize("into_test", [0, 4, 120])
def test_live_says_what_the_backtest_says_of_that_origin(
    finished: Finished, spec: CalibrationSpec, into_test: int
) -> None:
    frames, folds, results = finished
    fold = folds[-1]
    backtest = build_backtest(results, [fold], frames, OF_NETWORK[spec.method])
    stop = fold.test.start + into_test + 1
    lived = frames.until(stop)  # an evening in the midst of the test: nothing later exists
    table = live_forecasts(
        fits_of(results, fold), lived, "XNYS", EVENING, postprocessing_of(fold, OF_NETWORK[spec.method])
    ).table
    assert table["forecaster"].drop_duplicates().tolist() == [NETWORK, COMBINED, CALIBRATED, "last_close", "ewma"]
    expected = price_quantiles(backtest.reference_close[..., None, None], backtest.quantiles[CALIBRATED])
    for row, ticker in enumerate(frames.tickers):
        ticker_rows = table[(table["ticker"] == ticker) & (table["forecaster"] == CALIBRATED)]
        assert set(ticker_rows["as_of"]) == {frames.sessions[stop - 1]}
        ours = np.log(ticker_rows[list(QUANTILE_COLUMNS)].to_numpy())
        np.testing.assert_allclose(ours, np.log(expected[row, into_test]), atol=2e-6)


def test_without_a_correction_live_is_as_it_was(finished: Finished) -> None:
    frames, folds, results = finished
    fits = fits_of(results, folds[-1])
    plain = live_forecasts(fits, frames, "XNYS", EVENING).table
    rule = postprocessing_of(folds[-1], PostprocessingSpec())
    combined = live_forecasts(fits, frames, "XNYS", EVENING, rule).table
    assert plain.equals(combined[combined["forecaster"] != COMBINED].reset_index(drop=True))
    assert set(plain["forecaster"]) == set(KINDS)


def test_bands_before_the_correction_begins_are_the_networks_own(finished: Finished) -> None:
    frames, folds, results = finished
    fits, fold = fits_of(results, folds[-1]), folds[-1]
    start, stop = fold.validation.start - 5, fold.validation.start + 30
    uncorrected = forecasts_by_forecaster(fits, frames, slice(start, stop))
    rule = postprocessing_of(fold, OF_NETWORK["adaptive"])
    found = postprocessed(uncorrected, fits, frames, start, rule).quantiles[CALIBRATED]
    assert found.shape == uncorrected[NETWORK].shape
    bands = np.arange(len(LEVELS)) != MEDIAN
    np.testing.assert_allclose(found[:, :5, :, bands], uncorrected[NETWORK][:, :5, :, bands], rtol=1e-6)
    assert np.nanmax(np.abs(found[:, 10:] - uncorrected[NETWORK][:, 10:])[..., bands]) > 1e-5
    shown = forecasts_by_forecaster(fits, frames, slice(start, start + 4))
    early = postprocessed(shown, fits, frames, start, rule).quantiles[CALIBRATED]
    np.testing.assert_allclose(early[..., bands], shown[NETWORK][..., bands], rtol=1e-6)


def test_no_outcome_of_later_moves_a_calibrated_forecast(finished: Finished) -> None:
    frames, folds, results = finished
    fold = folds[-1]
    at = fold.test.start + 40  # the origin that is forecast
    draws = np.random.default_rng(0)
    known_at = np.arange(len(frames.sessions))[:, None] + np.arange(1, frames.horizons + 1)
    garbage = draws.normal(0, 3, frames.future_return.shape).astype(np.float32)
    other = replace(frames, future_return=np.where(known_at > at, garbage, frames.future_return))
    shown = slice(0, at - fold.test.start + 1)
    for spec in (ADAPTIVE, SPLIT):
        first, second = (
            build_backtest(results, [fold], some_frames, OF_NETWORK[spec.method]).quantiles[CALIBRATED]
            for some_frames in (frames, other)
        )
        assert first[:, shown].tobytes() == second[:, shown].tobytes()
    assert first.tobytes() == second.tobytes()  # split: nothing of the test at all
    adaptive = [
        build_backtest(results, [fold], some_frames, OF_NETWORK["adaptive"]).quantiles[CALIBRATED]
        for some_frames in (frames, other)
    ]
    assert adaptive[0].tobytes() != adaptive[1].tobytes()


def test_a_fold_without_a_calibration_range_begins_with_its_validation_range(tmp_path: Path) -> None:
    frames = frames_from({"T0": random_rows(700, 1)}, TINY)
    jobs, (fold,) = jobs_for(frames, TINY, kinds=(NETWORK, "ewma"), folds=slice(-1, None))
    results = fit_jobs(jobs, frames, tmp_path)
    backtest = build_backtest(results, [fold], frames, OF_NETWORK["adaptive"])
    rows = slice(fold.validation.start, fold.test.stop)
    network = forecasts_by_forecaster(fits_of(results, fold), frames, rows)[NETWORK]
    outcome = frames.future_return[:, rows]
    expected = calibrated(network, outcome, ADAPTIVE, origins=origins_between(frames, outcome, rows))
    found = backtest.quantiles[CALIBRATED]
    np.testing.assert_allclose(found, expected[:, len(fold.validation) :], atol=1e-6)
    assert not np.allclose(found[:, 0], backtest.quantiles[NETWORK][:, 0], rtol=1e-3)


@pytest.mark.parametrize(
    "folds",
    [FOLDS, FoldSpec(), FoldSpec(calibration_months=6), FoldSpec(train_end="2022-06-30", valid_end="2022-12-30")],
)
def test_a_published_model_knows_its_correction_from_the_end_of_its_training(
    finished: Finished, folds: FoldSpec
) -> None:
    frames, _, _ = finished
    experiment = changed(EXPERIMENT, folds=folds)
    _, results = jobs_for(frames, experiment)
    for fold in results:
        spec = OF_NETWORK["adaptive"]
        expected = replace(postprocessing_of(fold, spec), begins=fold.validation.until)
        assert postprocessing_after(fold.validation.until, folds, spec) == expected


def test_split_needs_a_calibration_range() -> None:
    with pytest.raises(ValidationError, match=r"calibration_months = 0.*set calibration_months to at least 3"):
        Experiment(calibration=SPLIT)
    fixed = FoldSpec(train_end="2014-12-31", valid_end="2016-12-31", calibration_months=3)
    with pytest.raises(ValidationError, match=r"fixed split.*which has no calibration range"):
        Experiment(calibration=SPLIT, folds=fixed)
    assert Experiment(calibration=SPLIT, folds=FOLDS).calibration.method == "split"
    assert Experiment(calibration=ADAPTIVE).calibration.method == "adaptive"
    with pytest.raises(ValidationError):
        CalibrationSpec.model_validate({"method": "adaptive", "speed": 1})


def test_the_correction_changes_no_fit(finished: Finished) -> None:
    frames, folds, _ = finished
    keys = [
        [job.key for job in jobs_of(frames, folds, changed(EXPERIMENT, calibration=spec), "cpu")]
        for spec in (CalibrationSpec(method="none"), ADAPTIVE, SPLIT)
    ]
    assert keys[0] == keys[1] == keys[2]


def test_a_ticker_that_was_not_trained_on_teaches_the_others_nothing(tmp_path: Path) -> None:
    rows = random_market(700, 4)
    known = {ticker: correction for ticker, correction in rows.items() if ticker != "T3"}
    experiment = changed(TINY, folds=FOLDS)
    few, more = frames_from(known, experiment), frames_from(rows, experiment)
    jobs, folds = jobs_for(few, experiment, kinds=(NETWORK, "ewma"), folds=slice(-1, None))
    results = fit_jobs(jobs, few, tmp_path)
    alone = build_backtest(results, folds, more.of(few.tickers), OF_NETWORK["adaptive"])  # with the same market means
    joined = build_backtest(results, folds, more, OF_NETWORK["adaptive"])
    np.testing.assert_allclose(joined.quantiles[CALIBRATED][:3], alone.quantiles[CALIBRATED], atol=1e-7)
    assert np.isfinite(joined.quantiles[CALIBRATED][3]).any()
    corrected, plain = joined.quantiles[CALIBRATED][3], joined.quantiles[NETWORK][3]
    assert np.nanmax(np.abs(corrected - plain)) > 1e-4  # it is corrected by what the others taught

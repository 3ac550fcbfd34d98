"""The backtest: each origin forecast by its own fold's fits, means over seeds, and the long table in prices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasting.backtest import build_backtest, forecast_frames
from pipeline.forecasting.forecasts import (
    CORE_FORECASTERS,
    fits_of,
    forecasts_by_forecaster,
    price_quantiles,
)
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

Finished = tuple[Frames, tuple[Fold, ...], list[FitResult]]
FAST = ("network", "climatology", "last_close", "drift", "ewma")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    experiment = changed(TINY, seeds=2)
    frames = frames_from(random_market(700, 3), experiment)
    jobs, folds = jobs_for(frames, experiment, kinds=FAST)
    assert len(folds) == 2
    return frames, folds, fit_jobs(jobs, frames, Path(tmp_path_factory.mktemp("fits")))


def test_each_origin_is_forecast_by_the_fits_of_its_fold(finished: Finished) -> None:
    frames, folds, results = finished
    backtest = build_backtest(results[::-1], folds, frames)  # in whatever order they finished
    rows = [row for fold in folds for row in range(fold.test.start, fold.test.stop)]
    np.testing.assert_array_equal(backtest.sessions, frames.sessions[rows])
    assert backtest.fold_of_origin.tolist() == [k for k, fold in enumerate(folds) for _ in range(len(fold.test))]
    for name in FAST:
        for place, row in list(enumerate(rows))[::37]:
            fold = next(f for f in folds if f.test.start <= row < f.test.stop)
            fold_fits = [r.fitted for r in results if r.job.fold == fold and r.job.forecaster.kind == name]
            assert len(fold_fits) == (2 if name == "network" else 1)
            alone = np.mean([quantiles(f, frames, slice(row, row + 1))[:, 0] for f in fold_fits], axis=0)
            np.testing.assert_allclose(backtest.quantiles[name][:, place], alone, atol=2e-6)
    first, second = (next(r for r in results if r.job.fold == fold).fitted for fold in folds)
    assert first.arrays["network.linear.weight"].tobytes() != second.arrays["network.linear.weight"].tobytes()


def test_outcomes_references_and_targets_belong_to_their_origin(finished: Finished) -> None:
    frames, folds, results = finished
    usable = np.array(frames.usable)
    usable[1, folds[0].test.start : folds[0].test.start + 9] = False
    frames = replace(frames, usable=usable)
    backtest = build_backtest(results, folds, frames)
    rows = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    expected = np.where(usable[:, rows], frames.relative_volatility[:, rows], np.nan)
    np.testing.assert_array_equal(backtest.relative_volatility, expected)
    assert np.isnan(expected[1, :9]).all()
    assert np.nanstd(expected) > 0.1
    for place, row in enumerate(rows):
        expected = np.where(frames.usable[:, row, None], frames.future_return[:, row], np.nan)
        np.testing.assert_array_equal(backtest.realised[:, place], expected)
        np.testing.assert_array_equal(backtest.reference_close[:, place], frames.reference_close[:, row])
        for h in (1, 2):
            ahead = frames.sessions[row + h] if row + h < len(frames.sessions) else np.datetime64("NaT")
            np.testing.assert_array_equal(backtest.target_sessions[place, h - 1], ahead)


def test_seeds_are_averaged_and_forecasters_stay_apart(finished: Finished) -> None:
    frames, folds, results = finished
    fits = fits_of(results, folds[0])
    assert [f.forecaster.kind for f in fits] == ["network", "network", "climatology", "last_close", "drift", "ewma"]
    part = slice(folds[0].test.start, folds[0].test.start + 5)
    found = forecasts_by_forecaster(fits, frames, part)
    each = [quantiles(fitted, frames, part).astype(np.float64) for fitted in fits[:2]]
    np.testing.assert_allclose(found["network"], (each[0] + each[1]) / 2, atol=1e-8)
    assert not np.array_equal(each[0], each[1], equal_nan=True)
    np.testing.assert_array_equal(found["ewma"], quantiles(fits[5], frames, part))
    assert list(found) == [name for name in CORE_FORECASTERS if name != "linear"]


def test_the_long_table_is_in_prices_with_what_was_actual(finished: Finished) -> None:
    frames, folds, results = finished
    backtest = build_backtest(results, folds, frames)
    tables = list(forecast_frames(backtest))
    assert [set(table["forecaster"]) for table in tables] == [{name} for name in backtest.quantiles]
    table = tables[0]
    assert list(table.columns)[-8:] == ["q05", "q10", "q25", "q50", "q75", "q90", "q95", "actual"]
    assert len(table) == backtest.scored.sum()
    for row in table.iloc[::97].to_dict("records"):
        i, t = frames.tickers.index(row["ticker"]), frames.sessions.tolist().index(row["as_of"].date())
        assert row["reference_close"] == frames.reference_close[i, t]
        assert row["target_session"] == pd.Timestamp(frames.sessions[t + row["horizon"]])
        assert row["actual"] == pytest.approx(
            row["reference_close"] * np.exp(float(frames.future_return[i, t, row["horizon"] - 1]))
        )
        assert row["q05"] < row["q50"] < row["q95"]


def test_a_price_quantile_is_the_reference_times_the_exponential() -> None:
    found = price_quantiles(np.array([[100.0]])[..., None, None], np.float32([[[[0.0, 0.1]]]]))
    np.testing.assert_allclose(found, [[[[100.0, 100 * np.exp(0.1)]]]], rtol=1e-6)

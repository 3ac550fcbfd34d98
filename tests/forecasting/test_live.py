"""Live forecasts: dated by the exchange, aged by the clock, stale tickers named, and the same as the backtest's."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS, fits_of, price_quantiles
from pipeline.forecasting.live import left_behind, live_forecasts
from pipeline.forecasting.postprocessing import postprocessing_of
from pipeline.forecasting.specification import CalibrationSpec
from pipeline.market.validation.validate import ValidationTerms, validate
from pipeline.stages import forecasts_of, frames_of
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, jobs_for, random_rows

WEDNESDAY = np.datetime64("2024-11-27")  # the day before Thanksgiving; the Friday after it is a half day
EVENING = datetime(2024, 11, 27, 22, tzinfo=UTC)
EXPERIMENT = changed(TINY, horizons=5)
KINDS = ("network", "last_close", "ewma")
Ready = tuple[Frames, Fold, list[FitResult]]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    rows = {f"T{k}": random_rows(560, k, WEDNESDAY) for k in range(5)}
    rows["T1"] = rows["T1"].iloc[:-3]  # three sessions behind
    rows["T2"] = rows["T2"].iloc[:-10]  # ten: just recent enough
    rows["T3"] = rows["T3"].iloc[:-11]  # eleven: left out
    validated = validate(
        rows, ValidationTerms("actions", has_actions=False, now=EVENING, minimum_sessions=EXPERIMENT.minimum_sessions)
    )
    frames = frames_of(validated.bars, EXPERIMENT)
    jobs, folds = jobs_for(frames, EXPERIMENT, kinds=KINDS, folds=slice(-1, None))
    return frames, folds[-1], fit_jobs(jobs, frames, Path(tmp_path_factory.mktemp("live")))


def forecasts(ready: Ready, now: datetime = EVENING) -> pd.DataFrame:
    frames, fold, results = ready
    return live_forecasts(fits_of(results, fold), frames, "XNYS", now).table


def days(table: pd.DataFrame, ticker: str, column: str) -> list[str]:
    ticker_rows = table[(table["ticker"] == ticker) & (table["forecaster"] == "network")]
    return [str(day.date()) for day in ticker_rows[column]]


def test_targets_are_the_sessions_of_the_exchange(ready: Ready) -> None:
    table = forecasts(ready)
    thanksgiving = ["2024-11-29", "2024-12-02", "2024-12-03", "2024-12-04", "2024-12-05"]
    assert days(table, "T0", "target_session") == thanksgiving
    assert set(days(table, "T0", "as_of")) == {"2024-11-27"}
    assert set(days(table, "T1", "as_of")) == {"2024-11-22"}
    assert days(table, "T1", "target_session") == ["2024-11-25", "2024-11-26", "2024-11-27", "2024-11-29", "2024-12-02"]


def test_the_table_has_a_row_per_ticker_forecaster_and_horizon(ready: Ready) -> None:
    frames, _, _ = ready
    table = forecasts(ready)
    columns = ["ticker", "as_of", "horizon", "target_session", "forecaster", "reference_close", "age_sessions"]
    assert list(table.columns) == [*columns, *QUANTILE_COLUMNS]
    assert all(
        ticker_rows["horizon"].tolist() == [1, 2, 3, 4, 5] for _, ticker_rows in table.groupby(["ticker", "forecaster"])
    )
    assert set(table["ticker"]) == {"T0", "T1", "T2", "T4"}
    assert set(table["forecaster"]) == set(KINDS)
    assert (table[list(QUANTILE_COLUMNS)].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    row = frames.tickers.index("T1")
    assert set(table.loc[table["ticker"] == "T1", "reference_close"]) == {frames.reference_close[row, -4]}


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (datetime(2024, 11, 27, 22, tzinfo=UTC), 0),
        (datetime(2024, 11, 29, 17, 59, tzinfo=UTC), 0),  # the half day ends at 13:00 in New York
        (datetime(2024, 11, 29, 18, 1, tzinfo=UTC), 1),
        (datetime(2024, 12, 2, 12, tzinfo=UTC), 1),
        (datetime(2024, 12, 2, 21, 1, tzinfo=UTC), 2),
    ],
)
def test_the_age_counts_completed_sessions(ready: Ready, now: datetime, age: int) -> None:
    table = forecasts(ready, now)
    ages = table.groupby("ticker")["age_sessions"].agg(["min", "max"])
    assert ages.loc["T0"].tolist() == [age, age]
    assert ages.loc["T1"].tolist() == [age + 3, age + 3]
    assert ages.loc["T2"].tolist() == [age + 10, age + 10]


def test_a_stale_ticker_is_excluded_with_its_reason(ready: Ready) -> None:
    frames, _, _ = ready
    (left,) = left_behind(frames)
    assert left.ticker == "T3"
    assert str(frames.sessions[-12]) in left.reason
    assert "more than 10 sessions before the last one of the panel (2024-11-27)" in left.reason


def test_without_a_recent_origin_there_is_nothing_to_forecast(ready: Ready) -> None:
    frames, fold, results = ready
    stale = replace(frames, usable=np.zeros_like(frames.usable))
    with pytest.raises(NothingUsableError, match="no ticker with a usable bar among the last 10 sessions, expected"):
        live_forecasts(fits_of(results, fold), stale, "XNYS", EVENING)


def test_the_latest_forecasts_are_by_the_latest_fold_and_its_correction(tmp_path: Path) -> None:
    experiment = changed(EXPERIMENT, calibration=CalibrationSpec())
    rows = {f"T{k}": random_rows(700, k, WEDNESDAY) for k in range(2)}
    terms = ValidationTerms("actions", has_actions=False, now=EVENING, minimum_sessions=experiment.minimum_sessions)
    frames = frames_of(validate(rows, terms).bars, experiment)
    jobs, folds = jobs_for(frames, experiment, kinds=KINDS, folds=slice(-2, None))
    results = fit_jobs(jobs, frames, tmp_path)
    expected = live_forecasts(
        fits_of(results, folds[-1]),
        frames,
        "XNYS",
        EVENING,
        postprocessing_of(folds[-1], experiment.postprocessing),
        ("T1",),
    ).table
    for order in (results, results[::-1]):
        rule = postprocessing_of(folds[-1], experiment.postprocessing)
        found = forecasts_of(order, frames, rule, "XNYS", EVENING, ("T1",)).table
        pd.testing.assert_frame_equal(found, expected)
    assert set(expected["ticker"]) == {"T1"}
    assert set(expected["forecaster"]) == {*KINDS, "combined", "calibrated"}
    former = live_forecasts(fits_of(results, folds[0]), frames, "XNYS", EVENING).table
    assert (
        former.query("forecaster == 'network'")["q95"].iloc[-1]
        != expected.query("forecaster == 'network'")["q95"].iloc[-1]
    )


def test_a_live_forecast_is_what_the_backtest_says_of_that_origin(ready: Ready) -> None:
    frames, fold, results = ready
    backtest, table = build_backtest(results, [fold], frames), forecasts(ready)
    assert backtest.sessions[-1] == WEDNESDAY
    for name in KINDS:
        expected = price_quantiles(backtest.reference_close[..., None, None], backtest.quantiles[name])
        for ticker, behind in (("T0", 0), ("T1", 3), ("T2", 10)):
            ticker_rows = table[(table["ticker"] == ticker) & (table["forecaster"] == name)]
            ours = np.log(ticker_rows[list(QUANTILE_COLUMNS)].to_numpy())
            np.testing.assert_allclose(ours, np.log(expected[frames.tickers.index(ticker), -1 - behind]), atol=1e-6)

"""Measures against slow twins, on forecasts made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.scores import score_table
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.tutorials import toy_series
from pipeline.tutorials.data import TutorialData
from pipeline.tutorials.measures import LAST_CLOSE, accuracy, direction_classes, nll, rmse, with_last_close
from pipeline.tutorials.ohlc import OhlcSpec, ohlc_data


def backtest_from(data: TutorialData, error: float) -> Backtest:
    """A backtest whose median misses every value by an error, in the network's units."""
    fold, frames = data.fold, data.frames
    part = slice(fold.test.start, fold.test.stop)
    usable = frames.usable[:, part, None]
    realised = np.where(usable, frames.future_return[:, part], np.float32(np.nan))
    root = np.sqrt(np.arange(1, frames.horizons + 1))
    median = realised + error * root
    values = np.repeat(median[..., None], len(LEVELS), axis=-1) + (np.arange(len(LEVELS)) - MEDIAN) * 0.01
    count = part.stop - part.start
    return Backtest(
        tickers=frames.tickers,
        sessions=frames.sessions[part],
        fold_names=("only",),
        fold_of_origin=np.zeros(count, dtype=np.int64),
        quantiles={NETWORK: values.astype(np.float32)},
        realised=realised,
        reference_close=frames.reference_close[:, part],
        target_sessions=np.full((count, frames.horizons), np.datetime64("NaT")),
    )


def test_the_error_is_in_original_units_at_every_horizon() -> None:
    data = toy_series.number_data(0)
    scores = score_table(backtest_from(data, 0.2))
    assert rmse(scores, data, NETWORK, data.scored_tickers) == pytest.approx(0.2 * toy_series.UNIT, rel=1e-5)


def test_the_last_close_errs_by_the_change_of_the_price() -> None:
    data = ohlc_data(OhlcSpec(), "one_to_many")
    scores = score_table(with_last_close(backtest_from(data, 0.0), data))
    close, start = data.frames.reference_close[0], data.fold.test.start
    slow = [np.mean((close[start + h :] - close[start:-h]) ** 2) * len(close[start + h :]) for h in range(1, 6)]
    rows = sum(len(close[start + h :]) for h in range(1, 6))
    assert rmse(scores, data, LAST_CLOSE, data.scored_tickers) == pytest.approx(np.sqrt(sum(slow) / rows), rel=1e-4)


def test_without_a_last_close_nothing_is_added() -> None:
    data = replace(toy_series.number_data(0), last_close=None)
    assert set(with_last_close(backtest_from(data, 0.0), data).quantiles) == {NETWORK}


def test_classes_likelihood_and_accuracy_against_slow_twins() -> None:
    draws = np.random.default_rng(1)
    values = draws.normal(size=50)
    values[:2] = (0.25, -0.25)  # the edges belong to flat
    realised = direction_classes(values, 0.25)
    assert realised.tolist() == [0 if v < -0.25 else 2 if v > 0.25 else 1 for v in values]
    probabilities = draws.dirichlet(np.ones(3), size=50)
    assert nll(probabilities, realised) == pytest.approx(
        np.mean([-np.log(row[k]) for row, k in zip(probabilities, realised, strict=True)])
    )
    assert accuracy(probabilities, realised) == np.mean(
        [int(np.argmax(row)) == k for row, k in zip(probabilities, realised, strict=True)]
    )

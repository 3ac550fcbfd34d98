"""The echo detector on trained networks: a tutorial's network of price levels, sold by the popular accuracy, is one."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.evaluation.backtest import Backtest
from pipeline.evaluation.echo import echo_of
from pipeline.models.specification import LEVELS
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import ohlc
from pipeline.tutorials.teaching import Taught, forecast_rows, teach_once


@pytest.fixture(scope="module")
def taught() -> Taught:
    tutorial = ohlc(OhlcTerms(), "many_to_one")
    return teach_once(tutorial, tutorial.lesson(0), 0)


def backtest_of(forecast: np.ndarray, truth: np.ndarray, last: np.ndarray) -> Backtest:
    """The levels of one series as changes from the last close, with a band that plays no part here."""
    shape = (1, len(truth), 1)
    days = np.datetime64("2011-01-03") + np.arange(len(truth) + 1)
    median = np.log(forecast / last).reshape(*shape, 1)
    return Backtest(
        tickers=("GOOG",),
        sessions=days[:-1],
        fold_names=("only",),
        fold_of_origin=np.zeros(len(truth), dtype=np.int64),
        quantiles={"network": (median + 0.02 * norm.ppf(LEVELS)).astype(np.float32)},
        realised=np.log(truth / last).reshape(shape).astype(np.float32),
        reference_close=last[None],
        target_sessions=days[1:, None],
    )


def test_a_network_of_levels_sold_as_accurate_is_an_echo(taught: Taught) -> None:
    rows = forecast_rows(taught)
    forecast, truth = (rows[name].to_numpy(dtype=float) for name in ("forecast", "actual"))
    last = taught.lesson.frames.reference_close[0, rows["step"]]
    accuracy = 100 * (1 - np.sqrt(np.mean(((forecast - truth) / truth) ** 2)))
    assert accuracy > 95
    found = echo_of(backtest_of(forecast, truth, last), "network", claims=True)
    assert (found.name, found.best_shift) == ("echo", -1)

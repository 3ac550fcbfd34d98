"""Error bars of scores: what drawing the sessions again by loops gives, and as wide as the scores really scatter."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.error_bars import with_error_bars
from pipeline.evaluation.scores import METRICS, POOLED, score, score_table
from pipeline.evaluation.significance.resampling import block_length, resampled_counts
from tests.evaluation.made import made_backtest


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    backtest = made_backtest(origins=70, seed=2)
    return with_error_bars(score_table(backtest), backtest)


def row_of(table: pd.DataFrame, horizon: int, forecaster: str, ticker: str) -> pd.Series:
    own = (table["horizon"] == horizon) & (table["forecaster"] == forecaster) & (table["ticker"] == ticker)
    return table[own].iloc[0]


def slow_error(horizon: int, forecaster: str, metric: str, ticker: int | None) -> float:
    """The standard deviation of the mean over sessions drawn again, by loops."""
    backtest = made_backtest(origins=70, seed=2)
    where = backtest.scored[..., horizon - 1]
    sessions = np.flatnonzero(where.any(axis=0))
    values = []
    for session in sessions:
        rows = [row for row in range(3) if where[row, session] and ticker in (None, row)]
        each = [
            score(
                metric,
                backtest.quantiles[forecaster][row, [session], horizon - 1].astype(float),
                backtest.realised[row, [session], horizon - 1].astype(float),
            )
            for row in rows
        ]
        if metric == "rmse_return":
            each = [one**2 for one in each]
        known = [one for one in each if np.isfinite(one)]
        values.append(np.mean(known) if known else np.nan)
    drawn = resampled_counts(len(sessions), block_length(len(sessions), horizon), 0)
    means = []
    for counts in drawn:
        pairs = [(value, count) for value, count in zip(values, counts, strict=True) if np.isfinite(value)]
        means.append(sum(v * c for v, c in pairs) / sum(c for _, c in pairs))
    return float(np.std(means, ddof=1))


@pytest.mark.parametrize("metric", ["pinball", "coverage_80", "directional_accuracy", "winkler_90"])
def test_a_pooled_error_is_that_of_a_loop(table: pd.DataFrame, metric: str) -> None:
    row = row_of(table, 2, "linear", POOLED)
    assert row[f"{metric}_error"] == pytest.approx(slow_error(2, "linear", metric, None), rel=1e-9)


def test_the_error_of_a_root_is_that_of_the_mean_square_over_twice_it(table: pd.DataFrame) -> None:
    row = row_of(table, 1, "network", POOLED)
    squares = slow_error(1, "network", "rmse_return", None)
    assert row["rmse_return_error"] == pytest.approx(squares / (2 * row["rmse_return"]), rel=1e-9)


def test_a_ticker_has_an_error_of_its_loss_alone(table: pd.DataFrame) -> None:
    row = row_of(table, 1, "ewma", "T1")
    assert row["pinball_error"] == pytest.approx(slow_error(1, "ewma", "pinball", 1), rel=1e-9)
    assert row["coverage_80_error"] == pytest.approx(slow_error(1, "ewma", "coverage_80", 1), rel=1e-9)
    assert np.isnan(row["winkler_80_error"])


def test_every_score_has_an_error_and_none_is_lost(table: pd.DataFrame) -> None:
    backtest = made_backtest(origins=70, seed=2)
    plain = score_table(backtest)
    pd.testing.assert_frame_equal(table[list(plain.columns)], plain)
    pooled = table[table["ticker"] == POOLED]
    learned = pooled[pooled["forecaster"] != "last_close"]
    assert (learned[[f"{name}_error" for name in METRICS]] > 0).all(axis=None)


def test_nothing_scored_has_no_error() -> None:
    backtest = made_backtest(missing=1.1)
    table = with_error_bars(score_table(backtest), backtest)
    assert table[[f"{name}_error" for name in METRICS]].isna().all(axis=None)

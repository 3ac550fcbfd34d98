"""Error bars of scores: sessions are drawn again in blocks, and every score with them."""

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.scores import METRICS, POOLED, RMSE
from pipeline.evaluation.significance.resampling import block_length, error_bar, resampled_counts
from pipeline.evaluation.significance.session_means import mean_per_session
from pipeline.forecasting.backtest import Backtest

OF_TICKERS = ("pinball", "crps", "coverage_80")
"""Scores that have an error bar for each ticker; the others have one pooled."""


def with_error_bars(scores: pd.DataFrame, backtest: Backtest, seed: int = 0) -> pd.DataFrame:
    """Return the table of scores with a standard error beside each: `pinball_error` and so on, NaN where there is none.

    The stationary bootstrap over sessions: a session's mean over its tickers is drawn as one. The error of the root
    mean squared error is that of the mean square over twice the root (delta method).
    """
    parts = [
        _errors(backtest, horizon, name, seed)
        for horizon in range(1, backtest.horizons + 1)
        for name in backtest.quantiles
    ]
    errors = pd.DataFrame([row for rows in parts for row in rows])
    both = scores.merge(errors, on=["horizon", "forecaster", "ticker"], how="left", validate="one_to_one")
    both[f"{RMSE}_error"] /= 2 * both[RMSE].where(both[RMSE] > 0)
    return both


def _errors(backtest: Backtest, horizon: int, forecaster: str, seed: int) -> list[dict[str, object]]:
    where = backtest.scored[..., horizon - 1]  # [ticker, origin]
    of = {"horizon": horizon, "forecaster": forecaster}
    sessions = where.any(axis=0)
    if not sessions.any():
        return [of | {"ticker": POOLED} | {f"{name}_error": np.nan for name in METRICS}]
    each = {name: values_by_ticker(backtest, forecaster, horizon, name)[:, sessions] for name in METRICS}
    counts = resampled_counts(int(sessions.sum()), block_length(int(sessions.sum()), horizon), seed)
    means = np.stack([_per_session(values) for values in each.values()])  # [metric, session]
    errors = error_bar(means, counts).standard_error
    pooled = {f"{name}_error": float(error) for name, error in zip(each, errors, strict=True)}
    by_ticker = {f"{name}_error": error_bar(each[name], counts).standard_error for name in OF_TICKERS}
    rows = [{key: values[row] for key, values in by_ticker.items()} for row in range(len(backtest.tickers))]
    named = [of | {"ticker": ticker} | row for ticker, row in zip(backtest.tickers, rows, strict=True)]
    return [of | {"ticker": POOLED} | pooled, *named]


def values_by_ticker(backtest: Backtest, forecaster: str, horizon: int, metric: str) -> Floats:
    """Return the values of a metric [ticker, origin], NaN where not scored or undefined."""
    where = backtest.scored[..., horizon - 1]
    values = np.full(where.shape, np.nan)
    quantiles = backtest.quantiles[forecaster][where, horizon - 1].astype(np.float64)
    values[where] = METRICS[metric](quantiles, backtest.realised[where, horizon - 1].astype(np.float64))
    return values


def _per_session(values: Floats) -> Floats:
    """Return the mean over tickers of values [ticker, session], NaN at a session without any."""
    means = np.full(values.shape[1], np.nan)
    means[np.isfinite(values).any(axis=0)] = mean_per_session(values)
    return means

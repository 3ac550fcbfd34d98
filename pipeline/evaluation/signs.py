"""Direction read off the medians, tested over all tickers (Pesaran and Timmermann)."""

import numpy as np
import pandas as pd

from pipeline.evaluation.significance.diebold_mariano import long_lags
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann_pooled
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.backtest import Backtest


def sign_table(backtest: Backtest) -> pd.DataFrame:
    """Return a row per horizon and forecaster: horizon, forecaster, hit_rate, expected_hit_rate, t, p, sessions.

    A median that never changes its sign says nothing on direction: its t and p are NaN.
    """
    return pd.DataFrame(
        [
            {"horizon": horizon, "forecaster": name} | _tested(backtest, name, horizon)
            for horizon in range(1, backtest.horizons + 1)
            for name in backtest.quantiles
        ]
    )


def _tested(backtest: Backtest, forecaster: str, horizon: int) -> dict[str, float]:
    where = backtest.scored[..., horizon - 1]
    median = np.where(where, backtest.quantiles[forecaster][..., horizon - 1, MEDIAN], np.nan).astype(np.float64)
    outcome = np.where(where, backtest.realised[..., horizon - 1], np.nan).astype(np.float64)
    test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
    return {
        "hit_rate": test.hit_rate,
        "expected_hit_rate": test.expected_hit_rate,
        "t": test.statistic,
        "p": test.p,
        "sessions": test.sessions,
    }

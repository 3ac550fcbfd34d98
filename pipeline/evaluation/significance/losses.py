"""Losses per ticker and session, which the tests compare."""

import numpy as np

from pipeline.arrays import Floats
from pipeline.evaluation.scores import pinball_by_level
from pipeline.evaluation.significance.session_means import mean_per_session
from pipeline.forecasting.backtest import Backtest


def loss_by_ticker(backtest: Backtest, forecaster: str, horizon: int) -> Floats:
    """Return the mean pinball loss over levels [ticker, session], NaN where not scored."""
    where = backtest.scored[..., horizon - 1]  # [ticker, origin]
    loss = np.full(where.shape, np.nan)
    values, outcome = backtest.quantiles[forecaster][where, horizon - 1], backtest.realised[where, horizon - 1]
    loss[where] = pinball_by_level(values.astype(np.float64), outcome.astype(np.float64)).mean(axis=1)
    return loss


def loss_per_session(backtest: Backtest, forecaster: str, horizon: int) -> Floats:
    """Return the mean pinball loss over levels and tickers [session with any scored row]."""
    return mean_per_session(loss_by_ticker(backtest, forecaster, horizon))

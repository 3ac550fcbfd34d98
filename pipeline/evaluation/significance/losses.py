"""Losses per session, and the network against every baseline per horizon."""

import numpy as np
import pandas as pd

from pipeline.dataset.panel import Floats
from pipeline.evaluation.backtest import NETWORK, Backtest
from pipeline.evaluation.scores import pinball_by_level
from pipeline.evaluation.significance.diebold_mariano import diebold_mariano, long_lags
from pipeline.evaluation.significance.session_means import mean_per_session


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


def significance_table(backtest: Backtest) -> pd.DataFrame:
    """Return the network against each baseline per horizon: t and p with long lags, and p with h - 1 lags."""
    return pd.DataFrame(
        _compare(backtest, baseline, horizon)
        for horizon in range(1, backtest.horizons + 1)
        for baseline in backtest.baselines
    )


def _compare(backtest: Backtest, baseline: str, horizon: int) -> dict[str, object]:
    difference = loss_per_session(backtest, NETWORK, horizon) - loss_per_session(backtest, baseline, horizon)
    test = diebold_mariano(difference, horizon, long_lags(horizon))
    short = diebold_mariano(difference, horizon, horizon - 1)
    return {
        "horizon": horizon,
        "baseline": baseline,
        "dm_t": test.t,
        "dm_p": test.p,
        "dm_lags": test.lags,
        "dm_p_short_lags": short.p_student,
        "sessions": test.sessions,
    }

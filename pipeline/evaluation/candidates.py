"""All forecasters at once, pooled per horizon: which may be the best, and whether any beats a simple baseline."""

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.gate import SIMPLE
from pipeline.evaluation.significance.losses import loss_by_ticker
from pipeline.evaluation.significance.session_means import mean_per_session
from pipeline.evaluation.significance.superior_ability import confidence_set, superior_ability
from pipeline.forecasting.backtest import Backtest


def candidate_table(backtest: Backtest, seed: int = 0) -> pd.DataFrame:
    """Return a row per horizon and forecaster: what the tests over all candidates say.

    Columns: horizon, forecaster, mcs_p (the level at which it leaves the model confidence set), may_be_best (a member
    at 5 %), and for the best simple baseline spa_p (Hansen's test that no other forecaster is better), else NaN.
    """
    return pd.DataFrame(
        [row for horizon in range(1, backtest.horizons + 1) for row in _at_horizon(backtest, horizon, seed)]
    )


def _at_horizon(backtest: Backtest, horizon: int, seed: int) -> list[dict[str, object]]:
    losses = {name: mean_per_session(loss_by_ticker(backtest, name, horizon)) for name in backtest.quantiles}
    best = confidence_set(losses, horizon, seed=seed)
    hardest = min((name for name in losses if name in SIMPLE), key=lambda name: _mean(losses[name]))
    return [
        {
            "horizon": horizon,
            "forecaster": name,
            "mcs_p": best.p[name],
            "may_be_best": name in best.members,
            "spa_p": superior_ability(losses, name, horizon, seed).p if name == hardest else np.nan,
        }
        for name in losses
    ]


def _mean(losses: Floats) -> float:
    return float(losses.mean()) if len(losses) else float("nan")

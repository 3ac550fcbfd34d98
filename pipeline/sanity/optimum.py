"""How near to the best that anyone could say: the true quantiles scored on the very rows of a backtest."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from pipeline.arrays import Floats, Sessions
from pipeline.evaluation.scores import pinball, skill_of
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.specification import SyntheticSource
from pipeline.market.synthetic import known_returns

USUAL = "climatology"


@dataclass(frozen=True)
class Reached:
    """A network beside the best forecast possible, one session ahead, on the same rows.

    Skill is over climatology. For an autoregression with coefficient c the optimum is expected at 1 - sqrt(1 - c^2).
    """

    skill: float
    optimum: float
    rmse_ratio: float  # RMSE of the network's median over that of the best one

    @property
    def share(self) -> float:
        """The share of the theoretical optimum; above 1 by more than luck is a leak."""
        return self.skill / self.optimum


def reached(backtest: Backtest, best: Floats) -> Reached:
    """Return what the network reached at horizon 1 beside the best quantiles [ticker, origin, level], in log return."""
    where = backtest.scored[..., 0]
    outcome = backtest.realised[where, 0].astype(np.float64)
    errors = [outcome - values[:, MEDIAN] for values in (backtest.quantiles[NETWORK][where, 0], best[where])]
    own, usual = (backtest.quantiles[name][where, 0].astype(np.float64) for name in (NETWORK, USUAL))
    loss = {"own": pinball(own, outcome), "usual": pinball(usual, outcome), "best": pinball(best[where], outcome)}
    return Reached(
        skill=skill_of(loss["own"], loss["usual"]),
        optimum=skill_of(loss["best"], loss["usual"]),
        rmse_ratio=float(np.sqrt(np.mean(errors[0] ** 2) / np.mean(errors[1] ** 2))),
    )


def best_quantiles(source: SyntheticSource, sessions: Sessions, origins: Sessions) -> Floats:
    """Return the true quantiles of the next session's log return [ticker, origin, level], NaN at the last session.

    `sessions` are those of the source's rows, `origins` some of them.
    """
    after = np.searchsorted(sessions, origins) + 1
    known = [known_returns(source, k) for k in range(source.tickers)]
    mean = np.stack([np.append(one.expectation, np.nan)[after] for one in known])
    volatility = np.stack([np.append(one.volatility, np.nan)[after] for one in known])
    quantiles: Floats = mean[..., None] + volatility[..., None] * ndtri(np.array(LEVELS))
    return quantiles

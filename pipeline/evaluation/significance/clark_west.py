"""Does the larger of two nested models forecast better? The Clark-West test, of squared errors of the mean only."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.evaluation.significance.diebold_mariano import mean_test
from pipeline.evaluation.significance.session_means import mean_per_session


@dataclass(frozen=True)
class ClarkWest:
    """A one-sided test; small p: the larger model's mean forecast is better than that of the model within it."""

    t: float
    p: float
    gain: float  # mean squared error, smaller less larger, after the adjustment
    lags: int
    sessions: int


def clark_west(outcome: Floats, smaller: Floats, larger: Floats, horizon: int, lags: int) -> ClarkWest:
    """Return the test of forecasts of the mean by nested models, [session] or [ticker, session], NaN where missing.

    Clark and West (2007), eq. 3.1: the mean of (y - f1)^2 - ((y - f2)^2 - (f1 - f2)^2), averaged over the tickers of
    a session first, over its Bartlett standard error; p is the one-sided one of `mean_test`. The adjustment is the
    noise that a larger model adds where the smaller one is true; it is one of squared errors. Never use it for pinball
    loss, where it means nothing.
    Raises UsageError where the shapes differ.
    """
    if not outcome.shape == smaller.shape == larger.shape:
        raise UsageError(
            f"Clark-West needs outcomes and two forecasts of one shape, found {outcome.shape}, {smaller.shape} and "
            f"{larger.shape}: align them by ticker and session"
        )
    gain = np.square(outcome - smaller) - (np.square(outcome - larger) - np.square(smaller - larger))
    values = mean_per_session(np.atleast_2d(gain))
    test = mean_test(values, horizon, lags)
    return ClarkWest(
        test.t, test.p_above, float(values.mean()) if len(values) else float("nan"), test.lags, len(values)
    )

"""Is a difference in loss more than luck? The Diebold-Mariano test on the mean loss per session."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pipeline.dataset.panel import Floats

FEWEST_SESSIONS = 30
FEWEST_LAGS = 20


@dataclass(frozen=True)
class DieboldMariano:
    """A two-sided test of equal mean loss; negative t: the first forecaster has the smaller loss."""

    t: float
    p: float
    lags: int
    sessions: int


def long_lags(horizon: int) -> int:
    """Return max(2h, 20): losses of neighbouring sessions are correlated through volatility, not through h alone."""
    return max(2 * horizon, FEWEST_LAGS)


def diebold_mariano(difference: Floats, horizon: int, lags: int) -> DieboldMariano:
    """Return the test on loss differences per session [session], first forecaster less second.

    Diebold and Mariano (1995), eq. 4, with the Bartlett weights of Newey and West (1987), the small-sample factor of
    Harvey, Leybourne and Newbold (1997), eq. 9, and a t distribution with n - 1 degrees of freedom. NaN with fewer
    than 30 sessions or where the losses do not differ.
    """
    n = len(difference)
    lags = min(lags, n - 1)
    variance = bartlett_variance(difference, lags) if n >= FEWEST_SESSIONS else 0.0
    if variance <= 0:
        return DieboldMariano(float("nan"), float("nan"), lags, n)
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    t = float(np.sqrt(factor) * difference.mean() / np.sqrt(variance / n))
    return DieboldMariano(t, float(2 * student.sf(abs(t), n - 1)), lags, n)


def bartlett_variance(values: Floats, lags: int) -> float:
    """Return the long-run variance with Bartlett weights 1 - k / (lags + 1); Newey and West (1987), eq. 5."""
    centred, n = values - values.mean(), len(values)
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    autocovariances = np.array([centred[k:] @ centred[: n - k] for k in range(lags + 1)]) / n
    return float(autocovariances[0] + 2 * weights @ autocovariances[1:])

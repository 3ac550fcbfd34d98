"""Is a difference in loss more than luck? The Diebold-Mariano test on the mean loss per session."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from pipeline.dataset.panel import Floats, Indices
from pipeline.evaluation.significance.fixed_bandwidth import two_sided_p

FEWEST_SESSIONS = 30
FEWEST_LAGS = 20
ROUNDING = 1e-13
"""What is smaller than this times the values is rounding, and no variance."""


@dataclass(frozen=True)
class DieboldMariano:
    """A two-sided test of equal mean loss; negative t: the first forecaster has the smaller loss.

    `p` accounts for the number of lags; `p_student` is the t distribution's, which holds for few lags only.
    """

    t: float
    p: float
    lags: int
    sessions: int
    p_student: float


@dataclass(frozen=True)
class DieboldMarianoEach:
    """The test of each of many series [series]; NaN where nothing can be tested."""

    t: Floats
    p: Floats
    sessions: Indices


def long_lags(horizon: int) -> int:
    """Return max(2h, 20): losses of neighbouring sessions are correlated through volatility, not through h alone."""
    return max(2 * horizon, FEWEST_LAGS)


def diebold_mariano(difference: Floats, horizon: int, lags: int) -> DieboldMariano:
    """Return the test on loss differences per session [session], first forecaster less second.

    Diebold and Mariano (1995), eq. 4, with the Bartlett weights of Newey and West (1987) and the small-sample factor
    of Harvey, Leybourne and Newbold (1997), eq. 9; `p` by the fixed-bandwidth law of Kiefer and Vogelsang (2005),
    `p_student` by a t distribution with n - 1 degrees of freedom. NaN with fewer than 30 sessions or where the losses
    do not differ.
    """
    n = len(difference)
    lags = min(lags, n - 1)
    raw = mean_over_error(difference, lags)
    if np.isnan(raw):
        return DieboldMariano(raw, float("nan"), lags, n, float("nan"))
    t = raw * small_sample_factor(n, horizon)
    p = float(_p(np.array([t]), n, lags)[0])
    return DieboldMariano(t, p, lags, n, float(2 * stdtr(n - 1, -abs(t))))


def diebold_mariano_each(differences: Floats, horizon: int, lags: int) -> DieboldMarianoEach:
    """Return the test of each row of loss differences [series, session], NaN where a series has no such session.

    The same as `diebold_mariano` of a row's finite values, one after the other.
    """
    present = np.isfinite(differences)
    sessions = present.sum(axis=1)
    t, p = np.full(len(differences), np.nan), np.full(len(differences), np.nan)
    for n in np.unique(sessions[sessions >= FEWEST_SESSIONS]).tolist():
        rows = sessions == n
        values = differences[rows][present[rows]].reshape(-1, n)
        own_lags = min(lags, n - 1)
        t[rows] = _means_over_errors(values, own_lags) * small_sample_factor(n, horizon)
        p[rows] = _p(t[rows], n, own_lags)
    return DieboldMarianoEach(t, p, sessions)


def small_sample_factor(sessions: int, horizon: int) -> float:
    """Return sqrt((n + 1 - 2h + h (h - 1) / n) / n); Harvey, Leybourne and Newbold (1997), eq. 9."""
    factor = (sessions + 1 - 2 * horizon + horizon * (horizon - 1) / sessions) / sessions
    return float(np.sqrt(factor)) if factor > 0 else float("nan")


def _p(t: Floats, sessions: int, lags: int) -> Floats:
    # The law knows by itself that n values have n - 1 degrees of freedom, which is the factor at horizon 1.
    return two_sided_p(t / small_sample_factor(sessions, 1), sessions, lags)


def mean_over_error(values: Floats, lags: int) -> float:
    """Return mean / sqrt(Bartlett variance / n) of values [session]; NaN with fewer than 30 or where all are equal."""
    n = len(values)
    variance = bartlett_variance(values, min(lags, n - 1)) if n >= FEWEST_SESSIONS else 0.0
    if n == 0 or variance <= (ROUNDING * np.abs(values).max()) ** 2:
        return float("nan")
    return float(values.mean() / np.sqrt(variance / n))


def _means_over_errors(values: Floats, lags: int) -> Floats:
    """Return the same of each row [series, session] without a gap; NaN where all values of a row are equal."""
    mean = values.mean(axis=1)
    variance = bartlett_variances(values, lags)
    equal = variance <= (ROUNDING * np.abs(values).max(axis=1)) ** 2
    t: Floats = mean / np.sqrt(np.where(equal, np.nan, variance) / values.shape[1])
    return t


def bartlett_variance(values: Floats, lags: int) -> float:
    """Return the long-run variance with Bartlett weights 1 - k / (lags + 1); Newey and West (1987), eq. 5."""
    centred, n = values - values.mean(), len(values)
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    autocovariances = np.array([centred[k:] @ centred[: n - k] for k in range(lags + 1)]) / n
    return float(autocovariances[0] + 2 * weights @ autocovariances[1:])


def bartlett_variances(values: Floats, lags: int) -> Floats:
    """Return the same of each row [series, session]: the mean square of the sums over every lags + 1 sessions.

    A product of sessions k apart is in lags + 1 - k of those sums, which are its Bartlett weights.
    """
    rows, n = values.shape
    running = np.cumsum(values - values.mean(axis=1, keepdims=True), axis=1)
    padded = np.concatenate([np.zeros((rows, lags + 1)), running, np.repeat(running[:, -1:], lags, axis=1)], axis=1)
    sums = padded[:, lags + 1 :] - padded[:, : -lags - 1]
    variances: Floats = np.square(sums).sum(axis=1) / (n * (lags + 1))
    return variances

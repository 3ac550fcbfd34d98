"""Is a difference in loss more than luck? The Diebold-Mariano test on the mean loss per session."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from pipeline.arrays import Floats, Indices
from pipeline.evaluation.significance.fixed_bandwidth import two_sided_p

FEWEST_SESSIONS = 30
FEWEST_LAGS = 20
ROUNDING = 1e-13
"""What is smaller than this times the values is rounding, and no variance."""


FLAT_BEYOND_HORIZON = 2


@dataclass(frozen=True)
class MeanTest:
    """A two-sided test of a mean of zero."""

    t: float
    p: float
    lags: int
    sessions: int

    @property
    def p_above(self) -> float:
        """The one-sided p: the chance of a larger t."""
        return self.p / 2 if self.t > 0 else 1 - self.p / 2


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
    of Harvey, Leybourne and Newbold (1997), eq. 9. `p` is that of `mean_test`, `p_student` that of a t distribution
    with n - 1 degrees of freedom. NaN with fewer than 30 sessions or where the losses do not differ.
    """
    test = mean_test(difference, horizon, lags)
    t = test.t * small_sample_factor(test.sessions, horizon)
    return DieboldMariano(t, test.p, test.lags, test.sessions, float(2 * stdtr(test.sessions - 1, -abs(t))))


def mean_test(values: Floats, horizon: int, lags: int) -> MeanTest:
    """Return the test that the mean of serially correlated values [session] at a horizon is zero.

    t is the mean over its Bartlett error. For p, t is made smaller by the small-sample factor of the horizon against
    that of horizon 1, and by what the Bartlett weights take off the autocovariances that matter (`_taken_off`); the
    law of what is left accounts for the number of lags (Kiefer and Vogelsang 2005). NaN with fewer than 30 sessions or
    where all values are equal.
    """
    n = len(values)
    lags = min(lags, max(n - 1, 0))
    if n < FEWEST_SESSIONS:
        return MeanTest(float("nan"), float("nan"), lags, n)
    t, p = _mean_tests(values[None], horizon, lags)
    return MeanTest(float(t[0]), float(p[0]), lags, n)


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
        t[rows], p[rows] = _mean_tests(values, horizon, min(lags, n - 1))
        t[rows] *= small_sample_factor(n, horizon)
    return DieboldMarianoEach(t, p, sessions)


def small_sample_factor(sessions: int, horizon: int) -> float:
    """Return sqrt((n + 1 - 2h + h (h - 1) / n) / n); Harvey, Leybourne and Newbold (1997), eq. 9."""
    factor = (sessions + 1 - 2 * horizon + horizon * (horizon - 1) / sessions) / sessions if sessions else 0.0
    return float(np.sqrt(factor)) if factor > 0 else float("nan")


def _mean_tests(values: Floats, horizon: int, lags: int) -> tuple[Floats, Floats]:
    """Return t and p of each row [series, session] without a gap; NaN where all values of a row are equal."""
    n = values.shape[1]
    variance = bartlett_variances(values, lags)
    variance[variance <= (ROUNDING * np.abs(values).max(axis=1)) ** 2] = np.nan
    t = values.mean(axis=1) / np.sqrt(variance / n)
    # The law knows by itself that n values have n - 1 degrees of freedom, which is the factor at horizon 1.
    smaller = small_sample_factor(n, horizon) / small_sample_factor(n, 1)
    kept = np.sqrt(variance / (variance + _taken_off(values, horizon, lags)))
    return t, two_sided_p(t * smaller * kept, n, lags)


def _taken_off(values: Floats, horizon: int, lags: int) -> Floats:
    """Return what the Bartlett weights take off the variance of each row: 2 sum k / (lags + 1) gamma_k; zero at least.

    Over the lags h + 2 at most, where the overlap of horizons and a mild autocorrelation are: with it those lags
    have the weight one, as under the flat top of Politis and Romano (1995). Without, such series reject too often.
    """
    n = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    taken = np.zeros(len(values))
    for k in range(1, min(horizon + FLAT_BEYOND_HORIZON, lags) + 1):
        taken += 2 * k / (lags + 1) * np.einsum("st,st->s", centred[:, k:], centred[:, :-k]) / n
    return np.maximum(taken, 0.0)


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

"""Test that the mean of serially correlated values is zero: Bartlett variance, with a law that accounts for the lags.

With 20 lags of 250 sessions the variance estimate is itself uncertain and too small, so that a t distribution rejects
too often. Kiefer and Vogelsang (2005, theorem 3) take the limit with lags / sessions fixed. Here the same is done
without the limit: for independent normal values the mean Z and the variance estimate Q = sum of lambda_i chi2_i are
independent, lambda_i the eigenvalues of the centred weights, and P(|Z| > c sqrt(Q)) is an integral over an angle.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import stdtr

from pipeline.arrays import Floats

MIN_SESSIONS = 30
MIN_LAGS = 20
FLAT_BEYOND_HORIZON = 2
"""Lags beyond the horizon that have the weight one in the more cautious of two variances."""
RELATIVE_ROUNDING = 1e-13
"""A variance below the square of this times the largest value is rounding error."""
GRID_SESSIONS = 128
ANGLES = 48
_TINY = 1e-300


def mean_per_session(values: Floats) -> Floats:
    """Return the mean over the tickers present [session with any], of values [ticker, session], NaN where missing.

    A session is one observation: its tickers move together.
    """
    present = np.isfinite(values)
    count = present.sum(axis=0)
    mean: Floats = np.where(present, values, 0.0).sum(axis=0)[count > 0] / count[count > 0]
    return mean


@dataclass(frozen=True)
class MeanTest:
    """A two-sided test of a mean of zero."""

    t: float
    p: float
    lags: int
    sessions: int

    @property
    def p_above(self) -> float:
        """The one-sided p-value: the probability of a larger t."""
        return self.p / 2 if self.t > 0 else 1 - self.p / 2


def long_lags(horizon: int) -> int:
    """Return max(2h, 20): losses of neighbouring sessions are correlated through volatility, not through h alone."""
    return max(2 * horizon, MIN_LAGS)


def mean_test(values: Floats, horizon: int, lags: int) -> MeanTest:
    """Return the test that the mean of serially correlated values [session] at a horizon is zero.

    t is the mean over its Bartlett standard error. For p, t is made smaller by the small-sample factor of the horizon
    against that of horizon 1, and by the variance that the Bartlett weights remove (`_removed_variance`); the law of
    the result accounts for the number of lags (Kiefer and Vogelsang 2005). NaN with fewer than 30 sessions or where
    all values are equal.
    """
    n = len(values)
    lags = min(lags, max(n - 1, 0))
    if n < MIN_SESSIONS:
        return MeanTest(float("nan"), float("nan"), lags, n)
    t, p = mean_tests(values[None], horizon, lags)
    return MeanTest(float(t[0]), float(p[0]), lags, n)


def small_sample_factor(sessions: int, horizon: int) -> float:
    """Return sqrt((n + 1 - 2h + h (h - 1) / n) / n); Harvey, Leybourne and Newbold (1997), eq. 9."""
    factor = (sessions + 1 - 2 * horizon + horizon * (horizon - 1) / sessions) / sessions if sessions else 0.0
    return float(np.sqrt(factor)) if factor > 0 else float("nan")


def mean_tests(values: Floats, horizon: int, lags: int) -> tuple[Floats, Floats]:
    """Return t and p of each row [series, session] without a gap; NaN where all values of a row are equal."""
    n = values.shape[1]
    variance = bartlett_variances(values, lags)
    variance[variance <= (RELATIVE_ROUNDING * np.abs(values).max(axis=1)) ** 2] = np.nan
    t = values.mean(axis=1) / np.sqrt(variance / n)
    # The law already accounts for the n - 1 degrees of freedom of n values, which is the factor at horizon 1.
    factor = small_sample_factor(n, horizon) / small_sample_factor(n, 1)
    shrinkage = np.sqrt(variance / (variance + _removed_variance(values, horizon, lags)))
    return t, two_sided_p(t * factor * shrinkage, n, lags)


def _removed_variance(values: Floats, horizon: int, lags: int) -> Floats:
    """Return the variance that the Bartlett weights remove from each row: 2 sum k / (lags + 1) gamma_k, at least zero.

    Over lags up to h + 2, which hold the overlap of horizons and mild autocorrelation. Adding it back gives those lags
    the weight one, as under the flat top of Politis and Romano (1995). Without it such series reject too often.
    """
    n = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    removed = np.zeros(len(values))
    for k in range(1, min(horizon + FLAT_BEYOND_HORIZON, lags) + 1):
        removed += 2 * k / (lags + 1) * np.einsum("st,st->s", centred[:, k:], centred[:, :-k]) / n
    return np.maximum(removed, 0.0)


def bartlett_variance(values: Floats, lags: int) -> float:
    """Return the long-run variance with Bartlett weights 1 - k / (lags + 1); Newey and West (1987), eq. 5."""
    centred, n = values - values.mean(), len(values)
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    autocovariances = np.array([centred[k:] @ centred[: n - k] for k in range(lags + 1)]) / n
    return float(autocovariances[0] + 2 * weights @ autocovariances[1:])


def bartlett_variances(values: Floats, lags: int) -> Floats:
    """Return `bartlett_variance` of each row [series, session].

    It is the mean square of the sums over every lags + 1 sessions: a product of sessions k apart is in lags + 1 - k of
    those sums, which are its Bartlett weights.
    """
    rows, n = values.shape
    running = np.cumsum(values - values.mean(axis=1, keepdims=True), axis=1)
    padded = np.concatenate([np.zeros((rows, lags + 1)), running, np.repeat(running[:, -1:], lags, axis=1)], axis=1)
    sums = padded[:, lags + 1 :] - padded[:, : -lags - 1]
    variances: Floats = np.square(sums).sum(axis=1) / (n * (lags + 1))
    return variances


@dataclass(frozen=True)
class BandwidthLaw:
    """The law of mean / sqrt(Bartlett variance / n) over n independent normal values."""

    expectation: float  # of the variance estimate, where the variance is one
    freedom: float  # of the chi-square with the same mean and variance as the estimate
    eigenvalues: Floats  # of the centred weights over at most GRID_SESSIONS sessions, scaled to sum to `expectation`
    coarse_freedom: float  # `freedom` computed from those eigenvalues


def two_sided_p(t: Floats, sessions: int, lags: int) -> Floats:
    """Return P(|T| > |t|) of a mean over its Bartlett standard error, for values t of any shape; NaN stays NaN.

    A t distribution with the exact mean and variance of the variance estimate, times the exact law over the same
    weights on at most GRID_SESSIONS sessions, and divided by the t distribution of those: exact up to that many.
    """
    law = bandwidth_law(sessions, lags)
    scaled = np.abs(t) * np.sqrt(law.expectation)
    coarse = 2 * stdtr(law.coarse_freedom, -scaled)
    fine = 2 * stdtr(law.freedom, -scaled)
    p: Floats = np.minimum(fine * _exact_p(np.abs(t), law.eigenvalues) / np.maximum(coarse, _TINY), 1.0)
    return p


@lru_cache(maxsize=4096)
def bandwidth_law(sessions: int, lags: int) -> BandwidthLaw:
    """Return the law for weights 1 - k / (lags + 1) over n sessions.

    The moments are traces: E Q = tr(MWM) / n and Var Q = 2 tr(MWMMWM) / n^2, W the weights and M the centring.
    """
    weights = np.clip(1 - np.arange(sessions) / (lags + 1), 0, None)
    towards = np.cumsum(weights)
    rows = towards + towards[::-1] - 1  # of W
    squares = sessions + 2 * (sessions - np.arange(1, sessions)) @ weights[1:] ** 2
    trace = (sessions - rows.sum() / sessions) / sessions
    square = (squares - 2 * rows @ rows / sessions + (rows.sum() / sessions) ** 2) / sessions**2
    eigenvalues = _eigenvalues(min(sessions, GRID_SESSIONS), (lags + 1) / sessions)
    eigenvalues *= trace / eigenvalues.sum()
    coarse_freedom = trace**2 / (eigenvalues @ eigenvalues)
    return BandwidthLaw(float(trace), float(trace**2 / square), eigenvalues, float(coarse_freedom))


def _eigenvalues(size: int, bandwidth: float) -> Floats:
    """Return the eigenvalues of the centred weights 1 - |r - s| / bandwidth at `size` points of the unit interval."""
    place = np.arange(size) / size
    weights = np.clip(1 - np.abs(np.subtract.outer(place, place)) / bandwidth, 0, None)
    centred = weights - weights.mean(axis=0) - weights.mean(axis=1)[:, None] + weights.mean()
    values: Floats = np.clip(np.linalg.eigvalsh(centred), _TINY, None)
    return values


def _exact_p(t: Floats, eigenvalues: Floats) -> Floats:
    """Return P(Z^2 > t^2 Q), the mean over angles a of the product of (1 + t^2 lambda_i / sin^2 a)^(-1/2).

    The normal tail as an integral over an angle (Craig 1991), and E exp(-s Q) of a sum of chi-squares.
    """
    angles = (np.arange(ANGLES) + 0.5) * np.pi / 2 / ANGLES
    odds = np.square(t)[..., None] / np.sin(angles) ** 2  # [..., angle]
    with np.errstate(over="ignore"):  # an infinite product is a probability of zero
        product = np.prod(1 + odds[..., None] * eigenvalues, axis=-1)
    p: Floats = (product**-0.5).mean(axis=-1)
    return p

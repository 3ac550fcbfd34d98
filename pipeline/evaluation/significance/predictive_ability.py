"""Tests of equal predictive ability: Diebold-Mariano, Giacomini-White, and Clark-West for nested models."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, stdtr

from pipeline.arrays import Floats, Indices
from pipeline.errors import UsageError
from pipeline.evaluation.significance.mean_test import (
    FLAT_BEYOND_HORIZON,
    MIN_SESSIONS,
    RELATIVE_ROUNDING,
    bandwidth_law,
    long_lags,
    mean_per_session,
    mean_test,
    mean_tests,
    small_sample_factor,
)


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


def diebold_mariano(difference: Floats, horizon: int, lags: int) -> DieboldMariano:
    """Return the test on loss differences per session [session], first forecaster less second.

    Diebold and Mariano (1995), eq. 4, with the Bartlett weights of Newey and West (1987) and the small-sample factor
    of Harvey, Leybourne and Newbold (1997), eq. 9. `p` is that of `mean_test`, `p_student` that of a t distribution
    with n - 1 degrees of freedom. NaN with fewer than 30 sessions or where the losses do not differ.
    """
    test = mean_test(difference, horizon, lags)
    t = test.t * small_sample_factor(test.sessions, horizon)
    return DieboldMariano(t, test.p, test.lags, test.sessions, float(2 * stdtr(test.sessions - 1, -abs(t))))


def diebold_mariano_each(differences: Floats, horizon: int, lags: int) -> DieboldMarianoEach:
    """Return the test of each row of loss differences [series, session], NaN where a series has no such session.

    Equal to `diebold_mariano` on the finite values of each row.
    """
    present = np.isfinite(differences)
    sessions = present.sum(axis=1)
    t, p = np.full(len(differences), np.nan), np.full(len(differences), np.nan)
    for n in np.unique(sessions[sessions >= MIN_SESSIONS]).tolist():
        rows = sessions == n
        values = differences[rows][present[rows]].reshape(-1, n)
        t[rows], p[rows] = mean_tests(values, horizon, min(lags, n - 1))
        t[rows] *= small_sample_factor(n, horizon)
    return DieboldMarianoEach(t, p, sessions)


@dataclass(frozen=True)
class GiacominiWhite:
    """A test of equal predictive ability; small p: the losses differ on average, or the last one predicts the next."""

    wald: float
    p: float
    restrictions: int
    lags: int
    sessions: int


def giacomini_white(difference: Floats, horizon: int, conditional: bool = True) -> GiacominiWhite:
    """Return the test on loss differences per session [session], first forecaster less second.

    Giacomini and White (2006), eq. 6: n z' O^-1 z of z, the mean of (1, last difference known) times the difference;
    at origin t the last one known is that of origin t - h. Not conditional, it is the Diebold-Mariano test (their
    section 3.4), here its squared t without the small-sample factor, and its p. O is centred and has Bartlett weights:
    no lags at horizon 1, where the null is that nothing is predictable, else as many as the Diebold-Mariano test. The
    centred wald W and the paper's uncentred one U are tied by U = W / (1 + W / n) without lags. Chi-square is replaced
    by its small-sample counterpart: Hotelling's F with the degrees of freedom of the variance estimate, of which
    chi-square is the limit. Above horizon 1, p is of the smaller wald where the lags of the overlap have the
    weight one, as in `mean_test`. NaN with fewer than 30 sessions or where the losses do not differ.
    """
    if not conditional:
        test = mean_test(difference, horizon, long_lags(horizon))
        return GiacominiWhite(test.t**2, test.p, 1, test.lags, test.sessions)
    moments = _moments(difference, horizon)
    n = len(moments)
    lags = 0 if horizon == 1 else min(long_lags(horizon), max(n - 1, 0))
    if n < MIN_SESSIONS:
        return GiacominiWhite(float("nan"), float("nan"), 2, lags, n)
    wald = _wald(moments, bartlett_weights(lags))
    cautious = np.fmin(wald, _wald(moments, bartlett_weights(lags, flat=horizon + FLAT_BEYOND_HORIZON)))
    factor = small_sample_factor(n, horizon) / small_sample_factor(n, 1)
    return GiacominiWhite(wald, _p(cautious * factor**2, n, lags), 2, lags, n)


def bartlett_weights(lags: int, flat: int = 0) -> Floats:
    """Return 1 - k / (lags + 1) of lag k = 1 to lags, but 1 up to the lag `flat`."""
    k = np.arange(1, lags + 1)
    return np.where(k <= flat, 1.0, 1 - k / (lags + 1))


def _p(wald: float, sessions: int, lags: int) -> float:
    """Return P(W > wald) of two restrictions: Hotelling's F with the degrees of freedom of the variance estimate."""
    law = bandwidth_law(sessions, lags)
    denominator = max(law.freedom - 1, RELATIVE_ROUNDING)
    return float(fdtrc(2, denominator, wald * law.expectation * denominator / (law.freedom * 2)))


def _moments(difference: Floats, horizon: int) -> Floats:
    """Return the difference and its product with the last one known [session, 2]; its scale changes no statistic."""
    now, known = difference[horizon:], difference[: len(difference) - horizon]
    scale = np.abs(known).max(initial=0.0)
    return np.stack([now, now * known / scale if scale > 0 else np.zeros(len(now))], axis=1)


def _wald(moments: Floats, weights: Floats) -> float:
    """Return n z' O^-1 z, O with these weights of lags; NaN where O cannot be inverted."""
    mean, n = moments.mean(axis=0), len(moments)
    centred = moments - mean
    omega = centred.T @ centred
    for k, weight in enumerate(weights.tolist(), start=1):
        product = centred[k:].T @ centred[: n - k]
        omega += weight * (product + product.T)
    omega /= n
    if np.linalg.eigvalsh(omega)[0] <= (RELATIVE_ROUNDING * np.abs(moments).max()) ** 2:
        return float("nan")
    return float(n * mean @ np.linalg.solve(omega, mean))


@dataclass(frozen=True)
class ClarkWest:
    """A one-sided test; small p: the larger model's mean forecast is better than that of the nested model."""

    t: float
    p: float
    gain: float  # mean squared error, smaller less larger, after the adjustment
    lags: int
    sessions: int


def clark_west(outcome: Floats, smaller: Floats, larger: Floats, horizon: int, lags: int) -> ClarkWest:
    """Return the test of forecasts of the mean by nested models, [session] or [ticker, session], NaN where missing.

    Clark and West (2007), eq. 3.1: the mean of (y - f1)^2 - ((y - f2)^2 - (f1 - f2)^2), averaged over the tickers of
    a session first, over its Bartlett standard error; p is the one-sided one of `mean_test`. The adjustment is the
    noise that a larger model adds where the smaller one is true. It holds for squared errors only: never use it for
    pinball loss.
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

"""Could the better forecaster have been told beforehand? The Giacomini-White test of predictive ability."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from pipeline.arrays import Floats
from pipeline.evaluation.significance.diebold_mariano import (
    FEWEST_SESSIONS,
    FLAT_BEYOND_HORIZON,
    ROUNDING,
    long_lags,
    mean_test,
    small_sample_factor,
)
from pipeline.evaluation.significance.fixed_bandwidth import bandwidth_law


@dataclass(frozen=True)
class GiacominiWhite:
    """A test of equal predictive ability; small p: the losses differ on average or in a way the last one foretells."""

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
    no lags at horizon 1, where the null is that nothing is foretold, else as many as the Diebold-Mariano test. The
    centred wald W and the paper's uncentred one U are tied by U = W / (1 + W / n) without lags. In the place of
    chi-square stands its small-sample counterpart: Hotelling's F with the degrees of freedom of the variance estimate,
    of which chi-square is the limit. Above horizon 1, p is of the smaller wald where the lags of the overlap have the
    weight one, as in `mean_test`. NaN with fewer than 30 sessions or where the losses do not differ.
    """
    if not conditional:
        test = mean_test(difference, horizon, long_lags(horizon))
        return GiacominiWhite(test.t**2, test.p, 1, test.lags, test.sessions)
    moments = _moments(difference, horizon)
    n = len(moments)
    lags = 0 if horizon == 1 else min(long_lags(horizon), max(n - 1, 0))
    if n < FEWEST_SESSIONS:
        return GiacominiWhite(float("nan"), float("nan"), 2, lags, n)
    wald = _wald(moments, bartlett_weights(lags))
    cautious = np.fmin(wald, _wald(moments, bartlett_weights(lags, flat=horizon + FLAT_BEYOND_HORIZON)))
    smaller = small_sample_factor(n, horizon) / small_sample_factor(n, 1)
    return GiacominiWhite(wald, _p(cautious * smaller**2, n, lags), 2, lags, n)


def bartlett_weights(lags: int, flat: int = 0) -> Floats:
    """Return 1 - k / (lags + 1) of lag k = 1 to lags, but 1 up to the lag `flat`."""
    k = np.arange(1, lags + 1)
    return np.where(k <= flat, 1.0, 1 - k / (lags + 1))


def _p(wald: float, sessions: int, lags: int) -> float:
    """Return P(W > wald) of two restrictions: Hotelling's F with as many degrees of freedom as the variance has."""
    law = bandwidth_law(sessions, lags)
    left = max(law.freedom - 1, ROUNDING)
    return float(fdtrc(2, left, wald * law.expectation * left / (law.freedom * 2)))


def _moments(difference: Floats, horizon: int) -> Floats:
    """Return the difference and its product with the last one known [session, 2]; the scale of that is no matter."""
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
    if np.linalg.eigvalsh(omega)[0] <= (ROUNDING * np.abs(moments).max()) ** 2:
        return float("nan")
    return float(n * mean @ np.linalg.solve(omega, mean))

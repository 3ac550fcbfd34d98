"""Could the better forecaster have been told beforehand? The Giacomini-White test of predictive ability."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from pipeline.dataset.panel import Floats
from pipeline.evaluation.significance.diebold_mariano import FEWEST_SESSIONS, ROUNDING, long_lags
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

    Giacomini and White (2006), eq. 6 and 9: n z' O^-1 z of the moments z = mean of (1, last difference known) times
    the difference, or of the difference alone where it is not conditional. At origin t the last difference known is
    that of origin t - h. O is centred with Bartlett weights: no lags at horizon 1, where the null is that nothing is
    foretold, else as many as the Diebold-Mariano test has. The centred wald W and the paper's uncentred one, U, are
    tied by U = W / (1 + W / n) at no lags. In the place of chi-square(q) stands its small-sample counterpart:
    Hotelling's F with the degrees of freedom of the variance estimate, of which chi-square is the limit.
    NaN with fewer than 30 sessions or where the losses do not differ.
    """
    moments = _moments(difference, horizon) if conditional else difference[:, None]
    n, q = moments.shape
    lags = min(0 if conditional and horizon == 1 else long_lags(horizon), max(n - 1, 0))
    wald = _wald(moments, lags) if n >= FEWEST_SESSIONS else float("nan")
    if np.isnan(wald):
        return GiacominiWhite(wald, float("nan"), q, lags, n)
    law = bandwidth_law(n, lags)
    left = law.freedom - q + 1
    p = fdtrc(q, left, wald * law.expectation * left / (law.freedom * q)) if left > 0 else float("nan")
    return GiacominiWhite(wald, float(p), q, lags, n)


def _moments(difference: Floats, horizon: int) -> Floats:
    """Return the difference and its product with the last one known [session, 2]; the scale of that is no matter."""
    now, known = difference[horizon:], difference[: len(difference) - horizon]
    scale = np.abs(known).max(initial=0.0)
    return np.stack([now, now * known / scale if scale > 0 else np.zeros(len(now))], axis=1)


def _wald(moments: Floats, lags: int) -> float:
    """Return n z' O^-1 z; NaN where O cannot be inverted."""
    mean, n = moments.mean(axis=0), len(moments)
    centred = moments - mean
    omega = centred.T @ centred
    for k in range(1, lags + 1):
        product = centred[k:].T @ centred[: n - k]
        omega += (1 - k / (lags + 1)) * (product + product.T)
    omega /= n
    if np.linalg.eigvalsh(omega)[0] <= (ROUNDING * np.abs(moments).max()) ** 2:
        return float("nan")
    return float(n * mean @ np.linalg.solve(omega, mean))

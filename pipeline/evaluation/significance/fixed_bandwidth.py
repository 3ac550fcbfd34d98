"""The law of a mean over its Bartlett standard error when the lags are a part of the sample that counts.

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

GRID = 128
ANGLES = 48
_TINY = 1e-300


@dataclass(frozen=True)
class BandwidthLaw:
    """The law of mean / sqrt(Bartlett variance / n) over n independent normal values."""

    expectation: float  # of the variance estimate, where the variance is one
    freedom: float  # of the chi-square with the same mean and variance as the estimate
    eigenvalues: Floats  # of the centred weights over at most GRID sessions, scaled to sum to `expectation`
    coarse_freedom: float  # `freedom` as those eigenvalues have it


def two_sided_p(t: Floats, sessions: int, lags: int) -> Floats:
    """Return P(|T| > |t|) of a mean over its Bartlett standard error, for values t of any shape; NaN stays NaN.

    A t distribution with the exact mean and variance of the variance estimate, times the exact law over the same
    weights on at most GRID sessions, and divided by the t distribution of those: exact up to GRID sessions.
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
    eigenvalues = _eigenvalues(min(sessions, GRID), (lags + 1) / sessions)
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

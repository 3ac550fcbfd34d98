"""GJR-GARCH(1,1): the variance known at each session, and its sum over the sessions ahead."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pipeline.arrays import Floats
from pipeline.errors import FitError
from pipeline.models.specification import LEVELS


@dataclass(frozen=True)
class Gjr:
    """Parameters of each ticker [ticker]: all finite, the variance positive, the t with a variance of its own.

    Glosten, Jagannathan and Runkle (1993): v_{t+1} = omega + (alpha + gamma 1[r_t < 0]) r_t^2 + beta v_t.
    """

    omega: Floats
    alpha: Floats
    gamma: Floats
    beta: Floats
    degrees_of_freedom: Floats
    start: Floats  # the variance of the first session

    def __post_init__(self) -> None:
        every = (self.omega, self.alpha, self.gamma, self.beta, self.degrees_of_freedom, self.start)
        if not (np.isfinite(every).all() and (self.start > 0).all() and (self.degrees_of_freedom > 2).all()):
            raise FitError(
                "found GARCH parameters that are not finite, or without a variance; expected finite ones, a positive "
                "start variance and more than 2 degrees of freedom; fit again"
            )

    @property
    def persistence(self) -> Floats:
        """Return alpha + gamma / 2 + beta [ticker]: half of all symmetric returns are negative."""
        return self.alpha + self.gamma / 2 + self.beta


def next_variances(returns: Floats, gjr: Gjr) -> Floats:
    """Return the variance of the next session known at each session [ticker, session]; absent sessions change none."""
    variance, result = gjr.start, np.empty(returns.shape)
    for session, own in enumerate(returns.T):
        following = gjr.omega + (gjr.alpha + gjr.gamma * (own < 0)) * own**2 + gjr.beta * variance
        variance = np.where(np.isfinite(own), following, variance)
        result[:, session] = variance
    return result


def summed_variances(following: Floats, gjr: Gjr, horizons: int) -> Floats:
    """Return the expected variance of the sum of the next h returns [ticker, origin, horizon].

    Each further session's variance is omega + persistence x that of the session before it; returns do not correlate.
    """
    variance, ahead = following, []
    for _ in range(horizons):
        ahead.append(variance)
        variance = gjr.omega[:, None] + gjr.persistence[:, None] * variance
    summed: Floats = np.cumsum(np.stack(ahead, axis=-1), axis=-1)
    return summed


def unit_quantiles(gjr: Gjr) -> Floats:
    """Return the quantiles [ticker, level] of each ticker's Student t, scaled to unit variance."""
    degrees = gjr.degrees_of_freedom[:, None]
    quantiles: Floats = student.ppf(np.array(LEVELS), degrees) * np.sqrt(1 - 2 / degrees)
    return quantiles

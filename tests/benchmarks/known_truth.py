"""Made panels whose conditional quantiles are known exactly, at every horizon.

Prices move by a clock of their own, which differs from session to session: given what the clock adds, a return is
normal. What the clock adds in a session is inverse Gaussian, with a mean, the activity, that wanders and is drawn
beforehand: who knows it knows the law of the next sessions. A sum of inverse Gaussian values of one shape is one again,
its activity the sum of theirs (Barndorff-Nielsen 1997), so the return over h sessions has a normal inverse Gaussian law
just as that over one: heavy tails at both, and no simulation or approximation for the longer. A part of clock and moves
is common to all tickers, so that they have their bad sessions together.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import ndtr

from pipeline.forecasters.forecaster import LEVELS
from tests.benchmarks.multiple_testing import wandering

PACE = 0.75
"""The usual activity of a session: an excess kurtosis of 3 / activity, 4 here, and of 0.8 over five sessions."""
CLUSTERING, PERSISTENCE = 0.35, 0.97
"""How far each half of the logarithm of volatility wanders, and how slowly."""
DAILY_VOLATILITY = 0.01
UNIT = DAILY_VOLATILITY / np.sqrt(PACE)
"""The volatility of a session of activity one."""
ACTIVITIES = np.exp(np.linspace(np.log(0.01), np.log(300), 80))
"""What can come lies well within these."""


@dataclass(frozen=True)
class Known:
    """Returns over 1 to H sessions after each origin, with the volatility of the next session and the true law."""

    future_return: np.ndarray  # [ticker, origin, horizon]
    volatility: np.ndarray  # [ticker, origin]
    quantiles: np.ndarray  # [ticker, origin, horizon, level]


@cache
def spline() -> CubicSpline:
    """Return the quantiles [level] in units of the volatility by the logarithm of the activity; off by 1e-7 at most."""
    unit = np.array([unit_quantiles(activity) for activity in ACTIVITIES])
    return CubicSpline(np.log(ACTIVITIES), unit, extrapolate=False)  # NaN beyond them


def unit_quantiles(activity: float) -> np.ndarray:
    """Return the quantiles [level] of the normal inverse Gaussian law of variance one: a mean of normal laws."""
    reach = np.arccosh(1 + 40 / activity)  # beyond it the density of the clock is below exp(-40)
    log_clock = np.linspace(-reach, reach, 801)  # of mean one; a sum of equal steps is exact to rounding
    weight = np.exp(-log_clock / 2 - activity * (np.cosh(log_clock) - 1))
    weight, deviation = weight / weight.sum(), np.exp(log_clock / 2)
    return np.array([brentq(lambda x: weight @ ndtr(x / deviation) - level, -50, 50, xtol=1e-10) for level in LEVELS])  # noqa: B023


def known_panel(seed: int, tickers: int, origins: int, horizons: int) -> Known:
    """Return a made panel."""
    draws, count = np.random.default_rng((seed, 14)), origins + horizons
    # Half of the activity is that of the clock of all tickers, half of each ticker's own.
    active = [PACE / 2 * np.exp(2 * CLUSTERING * wandering(draws, (rows, count), PERSISTENCE)) for rows in (1, tickers)]
    clock = [draws.wald(mean, mean**2) for mean in active]
    shocks = [draws.standard_normal((rows, count)) for rows in (1, tickers, tickers)]
    together = (shocks[0] + shocks[1]) / np.sqrt(2)
    returns = UNIT * (np.sqrt(clock[0]) * together + np.sqrt(clock[1]) * shocks[2])
    activity = active[0] + active[1]
    volatility = UNIT * np.sqrt(ahead(activity, horizons))  # of the sum over 1 to H sessions
    quantiles = volatility[..., None] * spline()(np.log(ahead(activity, horizons)))
    return Known(ahead(returns, horizons), volatility[..., 0], quantiles)


def ahead(values: np.ndarray, horizons: int) -> np.ndarray:
    """Return sums over the next 1 to H sessions [ticker, origin, horizon] of values [ticker, session].

    The first session is that after the first origin.
    """
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
    origins = values.shape[1] - horizons
    return np.stack([sums[:, h : h + origins] - sums[:, :origins] for h in range(1, horizons + 1)], axis=-1)

"""Simulated loss differences [series, session] of mean zero: independent, correlated, clustered, overlapping."""

import numpy as np

from pipeline.arrays import Floats


def independent(draws: np.random.Generator, series: int, sessions: int) -> Floats:
    return draws.normal(size=(series, sessions))


def autoregressive(draws: np.random.Generator, series: int, sessions: int, rho: float = 0.2) -> Floats:
    values = np.empty((series, sessions))
    values[:, 0] = draws.normal(size=series) / np.sqrt(1 - rho**2)
    for k in range(1, sessions):
        values[:, k] = rho * values[:, k - 1] + draws.normal(size=series)
    return values


def clustered(draws: np.random.Generator, series: int, sessions: int) -> Floats:
    """GARCH(1,1), 0.05 + 0.1 x^2 + 0.85 s^2, begun 100 sessions before."""
    values, variance = np.empty((series, sessions + 100)), np.ones(series)
    for k in range(sessions + 100):
        values[:, k] = np.sqrt(variance) * draws.normal(size=series)
        variance = 0.05 + 0.1 * values[:, k] ** 2 + 0.85 * variance
    return values[:, 100:]


def overlapping(draws: np.random.Generator, series: int, sessions: int, horizon: int = 5) -> Floats:
    """Sums of h independent values, h - 1 of them shared with the next."""
    running = np.cumsum(draws.normal(size=(series, sessions + horizon)), axis=1)
    return (running[:, horizon:] - running[:, :-horizon]) / np.sqrt(horizon)


PROCESSES = {"independent": independent, "autoregressive": autoregressive, "clustered": clustered}


def directions(
    draws: np.random.Generator, tickers: int, sessions: int, common: float, skill: float = 0.0
) -> tuple[Floats, Floats]:
    """Forecasts and outcomes [ticker, session]: each has a common part over tickers; forecasts are persistent."""
    shape = (tickers, sessions)
    market = np.sqrt(common) * draws.normal(size=(2, 1, sessions))
    idiosyncratic = np.sqrt(1 - common) * draws.normal(size=(2, *shape))
    outcome = market[0] + idiosyncratic[0]
    return skill * outcome + market[1] + idiosyncratic[1] + 0.3, outcome + 0.1


def largest_size(replications: int, nominal: float = 0.05) -> float:
    """Return the nominal size plus two standard errors of the simulation."""
    return nominal + 2 * np.sqrt(nominal * (1 - nominal) / replications)

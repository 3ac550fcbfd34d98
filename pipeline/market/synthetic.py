"""Synthetic prices: seeded, with a predictable part that is known exactly, so that a forecaster can be judged.

The daily log return is r_t = E[r_t | past] + sigma_t * eps_t with eps_t iid standard normal:

- random_walk:        E = 0, sigma = noise
- sine:               E = strength * noise * sin(2 pi t / period_sessions + phase_k), sigma = noise; phase_k uniform
- planted:            E = strength * r_(t-1), sigma = noise
- planted_volatility: E = 0, sigma_t = noise * exp(h_t), h_t = 0.97 h_(t-1) + strength * eta_t, h stationary
- planted_garch:      E = 0, sigma_t^2 = 0.05 noise^2 + strength r_(t-1)^2 + (0.95 - strength) sigma_(t-1)^2 from
                      sigma_0 = noise: a GARCH(1, 1) (Bollerslev 1986, eq. 2), whose past returns determine its
                      volatility; planted_volatility has a shock of its own

In the first three the smallest one-step root mean square error that any forecaster can have is therefore `noise`,
and over the next h sessions of a sine it is noise * sqrt(h). Ticker k depends on (seed, k) and the process alone.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Sessions
from pipeline.market.calendars import sessions_between
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.specification import GARCH_PERSISTENCE, SyntheticSource

VOLATILITY_PERSISTENCE = 0.97
FIRST_PRICE = 100.0


@dataclass(frozen=True, eq=False)
class KnownReturns:
    """A ticker's daily log returns [session], and the mean and volatility [session] that each is drawn with.

    The best forecaster knows both from earlier returns, except the volatility of planted_volatility.
    """

    returns: Floats
    expectation: Floats
    volatility: Floats


def open_synthetic(spec: SyntheticSource) -> InMemoryPrices:
    """Return the specified prices as a source: as traded, without actions."""
    sessions = _sessions(spec)
    frames = {ticker_name(k): _bars(spec, k, sessions) for k in range(spec.tickers)}
    note = f"Synthetic prices ({spec.process}, seed {spec.seed}): made up, not a market."
    return InMemoryPrices(frames, "as_traded", has_actions=False, returns_from="close", note=note)


def ticker_name(k: int) -> str:
    """Return the name of ticker number k, counted from 0."""
    return f"SYN{k + 1:03d}"


def known_returns(spec: SyntheticSource, k: int) -> KnownReturns:
    """Return ticker k's daily log returns, and the mean and volatility that each is drawn with."""
    draws = np.random.default_rng((spec.seed, k, 0))
    phase = draws.uniform(0.0, 2.0 * np.pi)
    eps, eta = draws.standard_normal((spec.sessions, 2)).T
    strength = spec.effective_strength
    flat = np.full(spec.sessions, spec.noise)
    match spec.process:
        case "random_walk":
            return _drawn(np.zeros(spec.sessions), flat, eps)
        case "sine":
            angle = 2.0 * np.pi * np.arange(spec.sessions) / spec.period_sessions + phase
            return _drawn(strength * spec.noise * np.sin(angle), flat, eps)
        case "planted":
            returns = _autoregression(strength, spec.noise * eps)
            return KnownReturns(returns, np.append(0.0, strength * returns[:-1]), flat)
        case "planted_volatility":
            return _drawn(np.zeros(spec.sessions), spec.noise * np.exp(_log_volatility(strength, eta)), eps)
        case "planted_garch":
            return _drawn(np.zeros(spec.sessions), spec.noise * _garch_volatility(strength, eps), eps)


def _drawn(expectation: Floats, volatility: Floats, eps: Floats) -> KnownReturns:
    return KnownReturns(expectation + volatility * eps, expectation, volatility)


def _autoregression(coefficient: float, shocks: Floats) -> Floats:
    """Return x_t = coefficient * x_(t-1) + shock_t, from x_0 = shock_0."""
    values = shocks.copy()
    for t in range(1, len(values)):
        values[t] += coefficient * values[t - 1]
    return values


def _log_volatility(strength: float, eta: Floats) -> Floats:
    shocks = strength * eta
    shocks[0] /= np.sqrt(1.0 - VOLATILITY_PERSISTENCE**2)  # starts in its stationary distribution
    return _autoregression(VOLATILITY_PERSISTENCE, shocks)


def _garch_volatility(strength: float, eps: Floats) -> Floats:
    """Return the volatility of a GARCH(1, 1) with a mean variance of one, starting at one."""
    variance = np.ones(len(eps))
    for t in range(1, len(eps)):
        kept = strength * eps[t - 1] ** 2 + GARCH_PERSISTENCE - strength
        variance[t] = 1 - GARCH_PERSISTENCE + kept * variance[t - 1]
    return np.sqrt(variance)


def _sessions(spec: SyntheticSource) -> Sessions:
    return sessions_between("XNYS", np.datetime64("1990-01-01"), spec.end)[-spec.sessions :]


def _bars(spec: SyntheticSource, k: int, sessions: Sessions) -> pd.DataFrame:
    """Return bars with these returns: the open has a random part of the day's return, high and low lie outside both."""
    shape = np.random.default_rng((spec.seed, k, 1))
    returns = known_returns(spec, k).returns
    close = FIRST_PRICE * np.exp(np.cumsum(returns))
    open_ = close * np.exp(-returns * shape.uniform(0.0, 1.0, spec.sessions))
    above, below = np.exp(spec.noise / 2 * np.abs(shape.standard_normal((2, spec.sessions))))
    prices = {"open": open_, "high": np.maximum(open_, close) * above, "low": np.minimum(open_, close) / below}
    volume = np.round(1e6 * np.exp(0.3 * shape.standard_normal(spec.sessions)))
    return pd.DataFrame({"session": sessions.astype("datetime64[s]"), **prices, "close": close, "volume": volume})

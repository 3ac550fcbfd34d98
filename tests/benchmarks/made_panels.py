"""Made markets whose conditional quantiles are known: jumps, sessions around the clock, many sessions without a trade.

A GARCH(1, 1) (Bollerslev 1986, eq. 2) moves each ticker, four tenths of its shock's variance being common to all. To it
come jumps of a return that leave the volatility as it is, calmer weekends, or sessions in which nothing is traded: the
price stands still then, and so does the volatility. Who knows the variance of the next session knows the law of the
next H; its quantiles are taken from simulated paths.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pandas as pd

from pipeline.forecasters.forecaster import LEVELS
from pipeline.market.bars import Bars
from pipeline.market.calendars import sessions_between
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.validation.validate import load_bars

ALPHA, BETA = 0.09, 0.89
COMMON = 0.4
FIRST_PRICE = 100.0
SETTLED = 500
"""Sessions before the first, in which the volatility forgets where it began."""
PATHS = 60_000
LOG_VARIANCES = np.linspace(-3.0, 4.0, 36)
"""Relative to the mean; what comes lies within these, and between two of them quantiles in units of it are linear."""
SATURDAY = 5


@dataclass(frozen=True)
class Process:
    """The law of a made market."""

    calendar: str
    volatility: float  # of a session, on average
    degrees: float = 8.0  # of the Student t of the shocks
    jump_rate: float = 0.0  # jumps per session
    jump_size: float = 0.0  # their standard deviation in units of the volatility
    traded: float = 1.0  # share of sessions in which a ticker is traded
    weekend: float = 1.0  # volatility of a weekend's session in units of that of other days


JUMPS = Process("XNYS", 0.015, jump_rate=0.02, jump_size=4.0)
AROUND_THE_CLOCK = Process("24/7", 0.035, degrees=5.0, weekend=0.7)
ZERO_RETURNS = Process("XNYS", 0.02, traded=0.65)


@dataclass(frozen=True)
class Market:
    """A made market: its bars, and the variance of the next session in units of the mean one [ticker, session]."""

    bars: Bars
    sessions: np.ndarray
    variance: np.ndarray


def made_market(process: Process, seed: int, tickers: int, first: str, last: str) -> Market:
    """Return the market of these sessions, both days included."""
    sessions = sessions_between(process.calendar, np.datetime64(first), np.datetime64(last))
    draws = np.random.default_rng((seed, 15))
    weekdays = np.concatenate([np.zeros(SETTLED, dtype=int), weekday(sessions)])
    shape = (len(weekdays), tickers)
    shocks = np.sqrt(COMMON) * draws.standard_normal((shape[0], 1)) + np.sqrt(1 - COMMON) * draws.standard_normal(shape)
    shocks *= heavier(draws, process, shape)
    happens = draws.random(shape) < process.jump_rate
    jumps = np.where(happens, process.jump_size * draws.standard_normal(shape), 0.0)
    traded = draws.random(shape) < process.traded
    variance, returns, following = np.ones(tickers), np.empty(shape), np.empty(shape)
    for t in range(shape[0]):
        returns[t], variance = next_session(process, variance, shocks[t], jumps[t], traded[t], weekdays[t])
        following[t] = variance
    kept = slice(SETTLED, None)
    deviation = process.volatility * np.sqrt(np.concatenate([np.ones((1, tickers)), following[:-1]]))[kept]
    frames = {
        f"MADE{k + 1:03d}": bars_of(
            sessions, process.volatility * returns[kept, k], deviation[:, k], traded[kept, k], draws
        )
        for k in range(tickers)
    }
    names = dict.fromkeys(frames, process.calendar)
    source = InMemoryPrices(frames, "as_traded", has_actions=False, returns_from="close", note="", exchanges=names)
    return Market(load_bars(source, (), datetime.now(UTC), 1).bars, sessions, following[kept].T)


def next_session(
    process: Process, variance: np.ndarray, shock: np.ndarray, jump: np.ndarray, traded: np.ndarray, day: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns of a session in units of the volatility, and the variance of the session after it."""
    moved = np.sqrt(variance) * shock
    after = 1 - ALPHA - BETA + ALPHA * moved**2 + BETA * variance
    factor = process.weekend if day >= SATURDAY else 1.0
    return np.where(traded, factor * moved + jump, 0.0), np.where(traded, after, variance)


def heavier(draws: np.random.Generator, process: Process, shape: tuple[int, ...]) -> np.ndarray:
    """Return the factors that make normal shocks those of a Student t of variance one."""
    return np.sqrt((process.degrees - 2) / draws.chisquare(process.degrees, shape))


def weekday(sessions: np.ndarray) -> np.ndarray:
    """Return 0 for a Monday to 6 for a Sunday."""
    return (sessions.astype("datetime64[D]").astype(int) + 3) % 7


def bars_of(
    sessions: np.ndarray, returns: np.ndarray, deviation: np.ndarray, traded: np.ndarray, draws: np.random.Generator
) -> pd.DataFrame:
    """Return bars of these returns: part of a move comes before the open, high and low are as wide as the volatility.

    The bar of a session without a trade is flat and without volume.
    """
    close = FIRST_PRICE * np.exp(np.cumsum(returns))
    before = close * np.exp(-returns)
    open_ = before * np.exp(np.where(traded, 0.3 * returns, 0.0))
    above, below = np.exp(np.where(traded, 0.4 * deviation * np.abs(draws.standard_normal((2, len(returns)))), 0.0))
    high, low = np.maximum(open_, close) * above, np.minimum(open_, close) / below
    volume = np.where(traded, np.round(1e6 * np.exp(0.3 * draws.standard_normal(len(returns)))), 0.0)
    dates = sessions.astype("datetime64[s]")
    return pd.DataFrame({"session": dates, "open": open_, "high": high, "low": low, "close": close, "volume": volume})


# --- The truth ---


def true_quantiles(process: Process, variance: np.ndarray, sessions: np.ndarray, horizons: int) -> np.ndarray:
    """Return the quantiles of the log return [ticker, session, horizon, level] after each session."""
    table = simulated_quantiles(process, horizons)  # [weekday, variance, horizon, level]
    place = np.interp(np.log(variance), LOG_VARIANCES, np.arange(len(LOG_VARIANCES)))  # [ticker, session]
    left = np.minimum(place.astype(int), len(LOG_VARIANCES) - 2)
    share = (place - left)[..., None, None]
    day = weekday(sessions) if len(table) > 1 else np.zeros(len(sessions), dtype=int)
    unit = (1 - share) * table[day, left] + share * table[day, left + 1]
    return process.volatility * np.sqrt(variance)[..., None, None] * unit


@cache
def simulated_quantiles(process: Process, horizons: int) -> np.ndarray:
    """Return quantiles in units of the next session's deviation, by weekday of the origin (one where all are alike)."""
    draws = np.random.default_rng(15)
    shape = (horizons, PATHS)
    shocks = draws.standard_normal(shape) * heavier(draws, process, shape)
    jumps = np.where(draws.random(shape) < process.jump_rate, process.jump_size * draws.standard_normal(shape), 0.0)
    traded = draws.random(shape) < process.traded
    days = range(7) if process.weekend != 1.0 else range(1)
    table = np.empty((len(days), len(LOG_VARIANCES), horizons, len(LEVELS)))
    for day in days:
        for row, start in enumerate(np.exp(LOG_VARIANCES)):
            variance, total = np.full(PATHS, start), np.zeros(PATHS)
            for h in range(horizons):
                moved, variance = next_session(process, variance, shocks[h], jumps[h], traded[h], (day + 1 + h) % 7)
                total += moved
                table[day, row, h] = np.quantile(total, LEVELS) / np.sqrt(start)
    return table

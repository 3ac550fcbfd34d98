"""Made worlds in which a model lives for years: steady, with a switch of dynamics, and with more volatility.

A GARCH(1, 1) with Student t shocks moves each ticker, a part of the shock being common to all. A return goes on with
`momentum` in units of the volatility: at the switch that turns its sign, so that what a model has learned of the mean
is wrong from then on, while volatilities and bars look as before. Or the volatility is multiplied, and nothing else.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt

import numpy as np

from pipeline.arrays import Floats
from pipeline.market.bars import Bars
from pipeline.market.calendars import sessions_between
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.validation.validate import load_bars
from tests.benchmarks.made_panels import bars_of

DEGREES, ALPHA, BETA, COMMON = 6.0, 0.06, 0.91, 0.3
VOLATILITY = 0.012
FIRST = np.datetime64("2010-01-04")
SETTLED = 300


@dataclass(frozen=True)
class World:
    """The law of a made world. From the session `changes_at` on the momentum and the volatility are others."""

    sessions: int
    tickers: int = 12
    momentum: float = 0.3
    changes_at: int | None = None
    momentum_after: float = 0.3
    volatility_after: float = 1.0  # in units of that before


def steady(sessions: int) -> World:
    return World(sessions)


def switched(sessions: int, changes_at: int) -> World:
    return World(sessions, changes_at=changes_at, momentum_after=-0.3)


def more_volatile(sessions: int, changes_at: int) -> World:
    return World(sessions, changes_at=changes_at, volatility_after=3.0)


def returns_of(world: World, seed: int) -> tuple[Floats, Floats]:
    """Return log returns and the volatility that each is drawn with [session, ticker]."""
    draws = np.random.default_rng((seed, 16))
    count = SETTLED + world.sessions
    shape = sqrt(DEGREES / (DEGREES - 2))
    common, own = draws.standard_t(DEGREES, (count, 1)), draws.standard_t(DEGREES, (count, world.tickers))
    shocks = (sqrt(COMMON) * common + sqrt(1 - COMMON) * own) / shape
    variance, unit = np.ones(world.tickers), np.zeros(world.tickers)  # the last return in units of its volatility
    returns, deviations = np.empty_like(shocks), np.empty_like(shocks)
    for t, shock in enumerate(shocks):
        after = world.changes_at is not None and t >= SETTLED + world.changes_at
        momentum, factor = (world.momentum_after, world.volatility_after) if after else (world.momentum, 1.0)
        unit = momentum * np.clip(unit, -3, 3) + sqrt(1 - momentum**2) * shock
        deviations[t] = factor * VOLATILITY * np.sqrt(variance)
        returns[t] = deviations[t] * unit
        variance = 1 - ALPHA - BETA + ALPHA * variance * unit**2 + BETA * variance
    return returns[SETTLED:], deviations[SETTLED:]


def world_bars(world: World, seed: int) -> Bars:
    """Return the validated bars of a world."""
    returns, deviations = returns_of(world, seed)
    draws = np.random.default_rng((seed, 17))
    last = FIRST + np.timedelta64(int(world.sessions * 1.6) + 30, "D")
    sessions = sessions_between("XNYS", FIRST, last)[: world.sessions]
    traded = np.ones(world.sessions, dtype=bool)
    frames = {
        f"W{k + 1:03d}": bars_of(sessions, returns[:, k], deviations[:, k], traded, draws) for k in range(world.tickers)
    }
    source = InMemoryPrices(frames, "as_traded", has_actions=False, returns_from="close", note="")
    return load_bars(source, (), datetime(2026, 1, 1, tzinfo=UTC), 1).bars

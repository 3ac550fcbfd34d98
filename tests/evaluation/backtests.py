"""Small backtests: random quantiles and outcomes with some rows missing, or given medians and outcomes."""

from dataclasses import replace

import numpy as np
from scipy.stats import norm

from pipeline.arrays import Floats
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.money.account import Opens
from pipeline.evaluation.scores import loss_by_ticker
from pipeline.evaluation.significance.mean_test import mean_per_session
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CORE_FORECASTERS, NETWORK

NOISE = 0.02
"""Standard deviation of outcomes and of normal quantiles."""


def random_backtest(
    origins: int = 60, tickers: int = 3, horizons: int = 2, seed: int = 0, missing: float = 0.1
) -> Backtest:
    """Return a backtest of every forecaster with random quantiles; the share `missing` of outcomes is unknown."""
    draws = np.random.default_rng(seed)
    shape = (tickers, origins, horizons)
    realised = draws.normal(0, 0.02, shape).astype(np.float32)
    realised[draws.uniform(size=shape) < missing] = np.nan
    quantiles = {}
    for name in CORE_FORECASTERS:
        values = np.sort(draws.normal(0, 0.02, (*shape, 7)), axis=-1).astype(np.float32)
        values[draws.uniform(size=shape) < missing / 3] = np.nan
        quantiles[name] = values
    realised[:, 7] = np.nan  # a session without any score
    days = np.datetime64("2023-01-02") + np.arange(origins + horizons)
    return Backtest(
        tickers=tuple(f"T{k}" for k in range(tickers)),
        sessions=days[:origins],
        fold_names=("only",),
        fold_of_origin=np.zeros(origins, dtype=np.int64),
        quantiles=quantiles,
        realised=realised,
        reference_close=draws.uniform(10, 90, (tickers, origins)),
        target_sessions=np.stack([days[h : h + origins] for h in range(1, horizons + 1)], axis=1),
    )


def flat_opens(backtest: Backtest) -> Opens:
    """Return opens at which every price is constant."""
    tradable = np.ones((len(backtest.tickers), len(backtest.sessions)), dtype=bool)
    return Opens(backtest.tickers, backtest.sessions, tradable, ~tradable, np.ones(tradable.shape))


def draws_of(origins: int, tickers: int, horizons: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, NOISE, (tickers, origins, horizons))


def around(median: np.ndarray, spread: float = 1.0) -> np.ndarray:
    """Return normal quantiles [ticker, origin, horizon, level] around a median."""
    return (median[..., None] + spread * NOISE * norm.ppf(LEVELS)).astype(np.float32)


def backtest_with(realised: np.ndarray, **medians: np.ndarray) -> Backtest:
    """Return a backtest of these outcomes; named forecasters have these medians, the others a median of zero."""
    tickers, origins, horizons = realised.shape
    backtest = random_backtest(origins, tickers, horizons, missing=0.0)
    plain = {
        name: around(np.zeros_like(realised), 1.0 + 0.1 * place)
        for place, name in enumerate((NETWORK, *BASELINE_KINDS))
    }
    informed = {name: around(median) for name, median in medians.items()}
    return replace(backtest, quantiles=plain | informed, realised=realised.astype(np.float32))


def scored_medians(backtest: Backtest, name: str, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return medians and outcomes [ticker, origin] of one horizon, NaN where it is not scored."""
    where = backtest.scored[..., horizon - 1]
    values = (backtest.quantiles[name][..., horizon - 1, MEDIAN], backtest.realised[..., horizon - 1])
    median, outcome = (np.where(where, column.astype(np.float64), np.nan) for column in values)
    return median, outcome


def loss_per_session(backtest: Backtest, forecaster: str, horizon: int) -> Floats:
    """Return the mean pinball loss over levels and tickers [session with any scored row]."""
    return mean_per_session(loss_by_ticker(backtest, forecaster, horizon))

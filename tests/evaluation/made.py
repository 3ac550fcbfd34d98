"""A made backtest: random quantiles and outcomes, some rows missing."""

import numpy as np

from pipeline.evaluation.money.opens import Opens
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CORE_FORECASTERS


def made_backtest(
    origins: int = 60, tickers: int = 3, horizons: int = 2, seed: int = 0, missing: float = 0.1
) -> Backtest:
    draws = np.random.default_rng(seed)
    shape = (tickers, origins, horizons)
    realised = draws.normal(0, 0.02, shape).astype(np.float32)
    realised[draws.uniform(size=shape) < missing] = np.nan
    quantiles = {}
    for name in CORE_FORECASTERS:
        values = np.sort(draws.normal(0, 0.02, (*shape, 7)), axis=-1).astype(np.float32)
        values[draws.uniform(size=shape) < missing / 3] = np.nan
        quantiles[name] = values
    realised[:, 7] = np.nan  # a session that nobody is scored on
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
    """Opens at which every price stands still."""
    tradable = np.ones((len(backtest.tickers), len(backtest.sessions)), dtype=bool)
    return Opens(backtest.tickers, backtest.sessions, tradable, ~tradable, np.ones(tradable.shape))

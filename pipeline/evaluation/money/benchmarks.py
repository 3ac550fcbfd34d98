"""Benchmarks: the orders of those who do nothing clever, in the same tickers, at the same opens and costs."""

import numpy as np

from pipeline.arrays import Booleans, Floats

BENCHMARK = "benchmark"
"""What stands in the place of the forecaster's name."""


def equal_weight(forecast: Booleans) -> Floats:
    """Return the same weight for every ticker that is forecast at the close [session, ticker], together one."""
    count = forecast.sum(axis=1, keepdims=True)
    weights: Floats = np.divide(forecast, count, out=np.zeros(forecast.shape), where=count > 0)
    return weights


def buy_and_hold(forecast: Booleans, tradable: Booleans) -> Floats:
    """Return one order per ticker [period, ticker], NaN where there is none.

    The tickers `forecast` [period, ticker] at the first close at which any is, each with the same part of the
    capital, are bought at the next open, or at their first `tradable` one after it, and never traded again.
    """
    if not forecast.any():
        return np.full(forecast.shape, np.nan)
    begin = int(forecast.any(axis=1).argmax())
    fills = np.where(np.arange(len(forecast))[:, None] >= begin, tradable, False).cumsum(axis=0)
    waits = fills <= 1  # until it is filled, that fill included; without an open an order is none
    waits[:begin] = False
    return np.where(waits & forecast[begin], 1.0 / forecast[begin].sum(), np.nan)

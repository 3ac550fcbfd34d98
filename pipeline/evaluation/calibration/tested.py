"""Kupiec's and Christoffersen's tests of every band, ticker by ticker."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.evaluation.error_bars import values_by_ticker
from pipeline.evaluation.scores import BANDS
from pipeline.evaluation.significance.coverage_tests import coverage_tests_overlapping
from pipeline.forecasting.backtest import Backtest


def coverage_test_table(backtest: Backtest, forecasters: tuple[str, ...]) -> pd.DataFrame:
    """Return a row per horizon, forecaster, band and ticker, for the named forecasters.

    Columns: horizon, forecaster, band, ticker, coverage, sessions, kupiec_p (the right share of outcomes within),
    independence_p (misses do not follow misses) and christoffersen_p (both); Monte Carlo p-values, NaN with fewer than
    30 sessions.
    """
    return pd.DataFrame(
        [
            row
            for horizon in range(1, backtest.horizons + 1)
            for name in forecasters
            for band in BANDS
            for row in _rows(backtest, name, horizon, band)
        ]
    )


def _rows(backtest: Backtest, forecaster: str, horizon: int, band: int) -> Iterator[dict[str, object]]:
    hits = values_by_ticker(backtest, forecaster, horizon, f"coverage_{band}")
    found = coverage_tests_overlapping(hits, band / 100, horizon)
    for row in np.flatnonzero(found.sessions):
        yield {
            "horizon": horizon,
            "forecaster": forecaster,
            "band": band,
            "ticker": backtest.tickers[row],
            "coverage": float(found.coverage[row]),
            "sessions": int(found.sessions[row]),
            "kupiec_p": float(found.unconditional_p[row]),
            "independence_p": float(found.independence_p[row]),
            "christoffersen_p": float(found.conditional_p[row]),
        }

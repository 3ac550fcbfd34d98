"""Measures of calibration: PIT histograms, reliability, coverage of each band by group of origins, and its tests."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices
from pipeline.evaluation.scores import BANDS, POOLED, values_by_ticker
from pipeline.evaluation.significance.coverage_tests import coverage_tests_overlapping
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest

EDGES = np.array([0.0, *LEVELS, 1.0])
"""The levels cut the unit interval into bins; the first and the last are tails of which only the mass is known."""


REGIMES = ("calmest", "calm", "middle", "turbulent", "most turbulent")
"""Fifths of the forecasts by the ticker's volatility against its own past, known at the origin."""


def pit_bins(quantiles: Floats, outcome: Floats) -> Indices:
    """Return the bin 0..7 between EDGES of each outcome [...] among its quantiles [..., level].

    The probability integral transform (Dawid 1984), as far as seven quantiles determine it. An outcome on a quantile is
    in the bin below it, as it is at or below that level.
    """
    bins: Indices = (outcome[..., None] > quantiles).sum(axis=-1)
    return bins


def pit_table(backtest: Backtest) -> pd.DataFrame:
    """Return the PIT histogram, pooled over tickers: a row per horizon, forecaster and bin.

    Columns: horizon, forecaster, low and high (levels that bound the bin), expected and observed (shares of the rows),
    rows. Observed is NaN at a horizon without any outcome.
    """
    scored = backtest.scored
    return pd.concat(
        (
            _histogram(backtest, name, horizon, scored[..., horizon - 1])
            for horizon in range(1, backtest.horizons + 1)
            for name in backtest.quantiles
        ),
        ignore_index=True,
    )


def _histogram(backtest: Backtest, forecaster: str, horizon: int, where: Booleans) -> pd.DataFrame:
    values, outcome = backtest.quantiles[forecaster][where, horizon - 1], backtest.realised[where, horizon - 1]
    counts = np.bincount(pit_bins(values, outcome), minlength=len(EDGES) - 1)
    rows = len(outcome)
    return pd.DataFrame(
        {
            "horizon": horizon,
            "forecaster": forecaster,
            "low": EDGES[:-1],
            "high": EDGES[1:],
            "expected": np.diff(EDGES),
            "observed": counts / rows if rows else np.nan,
            "rows": rows,
        }
    )


def coverage_table(backtest: Backtest) -> pd.DataFrame:
    """Return the coverage of each band: a row per horizon, forecaster and group of origins.

    Columns: horizon, forecaster, by ("all", "regime", "ticker"), group, rows, coverage_50, coverage_80, coverage_90.
    Regimes are fifths of all forecasts by their ticker's volatility over its median of the last 250 sessions, known at
    the origin; the bounds of the fifths are known only after the test: they describe forecasts and enter none. A group
    without rows is omitted, and so are regimes where the volatility is not known.
    """
    groups, scored = list(_groups(backtest)), backtest.scored
    rows: list[dict[str, object]] = []
    for horizon in range(1, backtest.horizons + 1):
        scored_groups = [(by, group, where & scored[..., horizon - 1]) for by, group, where in groups]
        for name in backtest.quantiles:
            rows += _coverage_rows(backtest, name, horizon, scored_groups)
    return pd.DataFrame(rows)


def _groups(backtest: Backtest) -> Iterator[tuple[str, str, Booleans]]:
    """Yield (by, group, mask [ticker, origin])."""
    shape = backtest.realised.shape[:2]
    yield "all", POOLED, np.ones(shape, dtype=bool)
    if backtest.relative_volatility is not None:
        regimes = regime_of_origin(backtest.relative_volatility)
        yield from (("regime", name, regimes == k) for k, name in enumerate(REGIMES))
    rows = np.arange(shape[0])[:, None]
    yield from (("ticker", ticker, np.broadcast_to(rows == k, shape)) for k, ticker in enumerate(backtest.tickers))


def regime_of_origin(relative_volatility: Floats32) -> Indices:
    """Return 0 (calmest) to 4 (most turbulent) [ticker, origin], -1 where the volatility is not known.

    It is -1 everywhere where all volatilities are the same.
    """
    known = np.isfinite(relative_volatility)
    regimes = np.full(relative_volatility.shape, -1, dtype=np.int64)
    values = relative_volatility[known]
    if len(values) and np.ptp(values) > 0:
        regimes[known] = np.searchsorted(np.quantile(values, (0.2, 0.4, 0.6, 0.8)), values)
    return regimes


def _coverage_rows(
    backtest: Backtest, forecaster: str, horizon: int, groups: list[tuple[str, str, Booleans]]
) -> Iterator[dict[str, object]]:
    values, outcome = backtest.quantiles[forecaster][:, :, horizon - 1], backtest.realised[..., horizon - 1]
    inside = {
        f"coverage_{band}": (values[..., low] <= outcome) & (outcome <= values[..., high])
        for band, (low, high) in BANDS.items()
    }
    for by, group, where in groups:
        rows = int(where.sum())
        if rows:
            shares = {name: float(hits[where].mean()) for name, hits in inside.items()}
            yield {"horizon": horizon, "forecaster": forecaster, "by": by, "group": group, "rows": rows, **shares}


def coverage_test_table(backtest: Backtest, forecasters: tuple[str, ...]) -> pd.DataFrame:
    """Return Kupiec's and Christoffersen's tests of every band: a row per horizon, forecaster, band and ticker.

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
            for row in _coverage_tests(backtest, name, horizon, band)
        ]
    )


def _coverage_tests(backtest: Backtest, forecaster: str, horizon: int, band: int) -> Iterator[dict[str, object]]:
    hits = values_by_ticker(backtest, forecaster, horizon, f"coverage_{band}")
    tests = coverage_tests_overlapping(hits, band / 100, horizon)
    for row in np.flatnonzero(tests.sessions):
        yield {
            "horizon": horizon,
            "forecaster": forecaster,
            "band": band,
            "ticker": backtest.tickers[row],
            "coverage": float(tests.coverage[row]),
            "sessions": int(tests.sessions[row]),
            "kupiec_p": float(tests.unconditional_p[row]),
            "independence_p": float(tests.independence_p[row]),
            "christoffersen_p": float(tests.conditional_p[row]),
        }


def reliability(backtest: Backtest, horizon: int) -> dict[str, Floats]:
    """Return the share of outcomes at or below each level's quantile [level], by forecaster, at one horizon."""
    where = backtest.scored[..., horizon - 1]
    outcome = backtest.realised[where, horizon - 1][:, None]
    rows = max(len(outcome), 1)  # without any outcome the shares are 0, and nothing is plotted
    return {
        name: (outcome <= values[where, horizon - 1]).sum(axis=0) / rows for name, values in backtest.quantiles.items()
    }

"""Corrections of the splits and dividends that Yahoo reports: splits not yet applied, gains counted twice."""

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats
from pipeline.market.adjustment import as_traded
from pipeline.market.bars import Problem, Severity

MIN_FACTOR = 1.4
"""A split closer to 1 than this factor cannot be distinguished from a day's move of the market."""

MAX_MOVE = 0.25
"""How far the market may have moved on the day of the split, as a share of the split's logarithm."""


def rows_as_traded(ticker: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Problem, ...]]:
    """Return the rows as traded, and a repair for each split that the earlier prices do not show.

    Such a split stays with its row, but does not multiply the prices before it: they are as traded already.
    """
    at = np.flatnonzero(unapplied_splits(rows["close"].to_numpy(np.float64), rows["split"].to_numpy(np.float64)))
    applied = ~np.isin(np.arange(len(rows)), at)
    traded = as_traded(rows.assign(split=rows["split"].where(applied, 1.0))).assign(split=rows["split"])
    return traded, tuple(_repair(ticker, rows, int(row)) for row in at)


def unapplied_splits(close: Floats, split: Floats) -> Booleans:
    """Return, per row, whether its split is missing from the earlier closes of a split-adjusted series.

    Over a split k that was applied, the close moves as the market does; over one that was not, it also jumps by 1/k.
    A jump within a quarter of log k around -log k counts as the latter: it is at least three times as far from no jump
    as from the split. Closes that are no positive number are skipped on both sides; a split before or after which
    there is no close counts as applied.
    """
    before, after = _last_close_before(close), _first_close_from(close)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.log(np.where(np.isfinite(split) & (split > 0), split, 1.0))
        left_over = np.log(after / before) + size
    unapplied: Booleans = (np.abs(size) >= np.log(MIN_FACTOR)) & (np.abs(left_over) <= MAX_MOVE * np.abs(size))
    return unapplied


def _first_close_from(close: Floats) -> Floats:
    return np.asarray(pd.Series(_usable(close)).bfill(), np.float64)


def _last_close_before(close: Floats) -> Floats:
    return np.asarray(pd.Series(_usable(close)).ffill().shift(), np.float64)


def _usable(close: Floats) -> Floats:
    return np.where(np.isfinite(close) & (close > 0), close, np.nan)


def _repair(ticker: str, rows: pd.DataFrame, row: int) -> Problem:
    factor, close = rows["split"].iloc[row], rows["close"].to_numpy(np.float64)
    before, after = _last_close_before(close)[row], _first_close_from(close)[row]
    return Problem(
        ticker,
        str(rows["session"].iloc[row].date()),
        "unapplied_split",
        Severity.REPAIRED,
        f"a split of {factor:g} and the close going from {before:g} to {after:g} over it",
        "closes before it divided by the split; they are taken as traded",
        rows=row,
    )


def whole_dividend(close: Floats, dividend: Floats, gains: Floats) -> Floats:
    """Return the payments per share [row]: dividend and capital gains of funds, the gains counted once.

    Yahoo sometimes includes the gains in the dividend as well. That is so on a day on which the price fell by about
    the dividend alone rather than by both; a dividend smaller than the gains of its day cannot contain them. Each day
    is decided by itself, so that later reports change nothing.
    """
    reported = np.nan_to_num(gains, nan=0.0)
    paid = np.nan_to_num(dividend, nan=0.0)
    can_contain = (reported > 0) & (paid >= reported)
    contained = can_contain & _nearer_to_first(_fall(close), paid, paid + reported)
    return np.where(contained, paid, paid + reported)


def _fall(close: Floats) -> Floats:
    return np.asarray(pd.Series(close).ffill().shift(), np.float64) - close


def _nearer_to_first(measured: Floats, first: Floats, second: Floats) -> Booleans:
    nearer: Booleans = np.abs(measured - first) < np.abs(measured - second)
    return nearer

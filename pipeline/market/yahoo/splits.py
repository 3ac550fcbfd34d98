"""Splits that Yahoo tells but has not yet applied to the prices before them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.adjustment import as_traded
from pipeline.market.bars import Problem, Severity

SMALLEST_JUDGED = 1.4
"""A split nearer to 1 than by this factor cannot be told from a day's move of the market."""

LARGEST_MOVE = 0.25
"""How far the market may have moved on the split's day, as a share of the split's own logarithm."""


def traded_rows(ticker: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Problem, ...]]:
    """The rows as traded, and a repair for each split that the older prices do not show.

    Such a split stays with its row, but does not multiply the prices before it: they are as traded already.
    """
    at = np.flatnonzero(unapplied_splits(rows["close"].to_numpy(np.float64), rows["split"].to_numpy(np.float64)))
    shown = ~np.isin(np.arange(len(rows)), at)
    traded = as_traded(rows.assign(split=rows["split"].where(shown, 1.0))).assign(split=rows["split"])
    return traded, tuple(_repair(ticker, rows, int(row)) for row in at)


def unapplied_splits(close: NDArray[np.float64], split: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Per row whether its split is missing from the earlier closes of a series told as split-adjusted.

    Over a split k that was applied, the close moves as the market does; over one that was not, it also jumps by 1/k.
    A jump within a quarter of log k around -log k counts as the latter: it is at least three times as far from
    none as from the split. Closes that are no positive number are passed over on both sides; a split before or after
    which there is no close is taken as applied, as told.
    """
    before, after = _last_close_before(close), _first_close_from(close)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.log(np.where(np.isfinite(split) & (split > 0), split, 1.0))
        left_over = np.log(after / before) + size
    found: NDArray[np.bool_] = (np.abs(size) >= np.log(SMALLEST_JUDGED)) & (
        np.abs(left_over) <= LARGEST_MOVE * np.abs(size)
    )
    return found


def _first_close_from(close: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(_usable(close)).bfill(), np.float64)


def _last_close_before(close: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(_usable(close)).ffill().shift(), np.float64)


def _usable(close: NDArray[np.float64]) -> NDArray[np.float64]:
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

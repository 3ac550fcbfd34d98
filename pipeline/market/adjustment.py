"""From split-adjusted bars to bars as traded, with the splits that the source delivers."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.bars import PRICES


def plain_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with no action spelled in one way, dividend 0 and split 1: vendors leave blanks, or write split 0."""
    spelled = {"dividend": 0.0, "split": 1.0}
    return rows.assign(**{name: _spelled(rows[name], none) for name, none in spelled.items() if name in rows})


def as_traded(rows: pd.DataFrame) -> pd.DataFrame:
    """Split-adjusted rows as they were traded: prices and dividends times the later splits, volume by them divided.

    adj_close stays as delivered: it is adjusted for everything by definition. Cells that are no numbers stay as
    found, and a split that is no positive number counts as none, so that the door names that row alone: a bad split
    must not change the rows before it.
    """
    later = later_splits(rows["split"])
    if (later == 1.0).all():
        return rows
    scaled = {name: _scaled(rows[name], later) for name in (*PRICES, "dividend") if name in rows}
    return rows.assign(**scaled, volume=_scaled(rows["volume"], 1.0 / later))


def later_splits(split: pd.Series) -> NDArray[np.float64]:
    """Per row, the product of the splits of all rows after it."""
    factor = _numbers(split).to_numpy()
    usable = np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
    return np.append(np.cumprod(usable[:0:-1])[::-1], 1.0)[: len(usable)]


def _spelled(column: pd.Series, none: float) -> pd.Series:
    numbers = _numbers(column)
    no_action = column.isna() | (numbers == 0.0)
    return _or_as_found(numbers.mask(no_action, none), column)


def _scaled(column: pd.Series, factor: NDArray[np.float64]) -> pd.Series:
    return _or_as_found(_numbers(column) * factor, column)


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _or_as_found(numbers: pd.Series, column: pd.Series) -> pd.Series:
    return numbers if numbers.notna().all() else numbers.astype(object).where(numbers.notna(), column)

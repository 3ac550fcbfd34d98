"""Adjustment of prices: as traded, split-adjusted and total-return adjusted, by the source's dividends and splits."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats
from pipeline.market.bars import PRICES

View = Literal["as_traded", "split_adjusted", "total_return"]
VendorRule = Literal["total_return", "yahoo"]

MAX_SPLIT_FACTOR = 1e4
"""A larger factor, or a smaller one than its inverse, is no split, and must not change the rows before it."""

VENDOR_TOLERANCE = 1e-4
"""By how much a return implied by a vendor's adjusted close may differ from that of its actions."""

VENDOR_DIGIT = 1e-6
"""Vendors report prices to six decimals: after many splits, rounding exceeds a return's tolerance for small prices."""


def adjusted(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return bars as traded in another view; the columns, which must be those of a bars frame, stay.

    `split_adjusted`: prices and dividends in the shares of each ticker's last row, volume too. `total_return`: prices
    scaled so that close / previous close is the total return (close * split + dividend) / previous close and the last
    close is unchanged; volume in the shares of the last row. An action that the prices now contain is taken out, so
    in every view (close * split + dividend) / previous close is the same. adj_close stays as delivered.
    Rows are sorted by ticker (one ticker where there is no such column) and session.
    """
    if view == "as_traded":
        return frame
    split, dividend, close = (_column(frame, name) for name in ("split", "dividend", "close"))
    begins = _begins(frame)
    later = _product_of_later(split, begins)
    frame = frame.assign(volume=frame["volume"] * later, split=1.0)
    if view == "split_adjusted":
        prices = {name: frame[name] / later for name in PRICES}
        # a dividend is per share before the split of its own session
        return frame.assign(**prices, dividend=dividend / (later * split))
    factor = _product_of_later(close / (close * split + dividend), begins)
    return frame.assign(**{name: frame[name] * factor for name in PRICES}, dividend=0.0)


def disagreements(rows: Mapping[str, Floats] | pd.DataFrame, rule: VendorRule, tolerance: float) -> Booleans:
    """Return, per row of one ticker, whether adj_close implies another return than close, dividend and split.

    By the vendor's rule `total_return`, adj_close / previous adj_close is (close * split + dividend) / previous close;
    by `yahoo` it is close * split / previous close / (1 - dividend / previous close). Rows without adj_close are not
    compared. Beyond the tolerance (of the return) each price may be off by half of the vendor's last digit.
    """
    close, split, dividend, adj_close = (_column(rows, name) for name in ("close", "split", "dividend", "adj_close"))
    disagree = np.zeros(len(close), np.bool_)
    with np.errstate(all="ignore"):
        moved, paid = close[1:] * split[1:] / close[:-1], dividend[1:] / close[:-1]
        expected = moved + paid if rule == "total_return" else moved / (1.0 - paid)
        allowed = tolerance + VENDOR_DIGIT * (1.0 / adj_close[1:] + 1.0 / adj_close[:-1])
        off = np.abs(adj_close[1:] / adj_close[:-1] - expected) > allowed * np.maximum(1.0, expected)
    disagree[1:] = off & (adj_close[1:] > 0) & (adj_close[:-1] > 0)
    return disagree


def plain_actions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with dividend 0 and split 1 where there is no action: vendors leave blanks, or write split 0."""
    no_action = {"dividend": 0.0, "split": 1.0}
    return rows.assign(**{name: _with_none(rows[name], none) for name, none in no_action.items() if name in rows})


def as_traded(rows: pd.DataFrame) -> pd.DataFrame:
    """Return split-adjusted rows as traded: prices and dividends times the later splits, volume divided by them.

    adj_close stays as delivered: it is adjusted for everything by definition. Cells that are no numbers stay as
    delivered. A split that is no positive number counts as none, so that a bad split does not change the rows before
    it and validation names its row alone.
    """
    later = later_splits(rows["split"])
    if (later == 1.0).all():
        return rows
    scaled = {name: _scaled(rows[name], later) for name in (*PRICES, "dividend") if name in rows}
    return rows.assign(**scaled, volume=_scaled(rows["volume"], 1.0 / later))


def later_splits(split: pd.Series) -> Floats:
    """Return, per row, the product of the splits of all rows after it."""
    factor = _numbers(split).to_numpy()
    usable = np.where((factor >= 1.0 / MAX_SPLIT_FACTOR) & (factor <= MAX_SPLIT_FACTOR), factor, 1.0)
    return _product_of_later(usable, np.zeros(1, np.intp))


def _product_of_later(values: Floats, begins: NDArray[np.intp]) -> Floats:
    """Return, per row, the product of the values of all rows after it, of the same ticker."""
    product = np.ones(len(values))
    for begin, end in zip(begins, [*begins[1:], len(values)], strict=True):
        product[begin : end - 1] = np.cumprod(values[begin + 1 : end][::-1])[::-1]
    return product


def _begins(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Return each ticker's first row."""
    if "ticker" not in frame or frame.empty:
        return np.zeros(1, np.intp)
    codes, _ = pd.factorize(frame["ticker"])
    return np.append(0, np.flatnonzero(np.diff(codes)) + 1)


def _column(rows: Mapping[str, Floats] | pd.DataFrame, name: str) -> Floats:
    return np.asarray(rows[name], np.float64)


def _with_none(column: pd.Series, none: float) -> pd.Series:
    numbers = _numbers(column)
    no_action = column.isna() | (numbers == 0.0)
    return _or_as_delivered(numbers.mask(no_action, none), column)


def _scaled(column: pd.Series, factor: Floats) -> pd.Series:
    return _or_as_delivered(_numbers(column) * factor, column)


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _or_as_delivered(numbers: pd.Series, column: pd.Series) -> pd.Series:
    return numbers if numbers.notna().all() else numbers.astype(object).where(numbers.notna(), column)

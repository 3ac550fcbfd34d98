"""Prices as traded, split-adjusted and total-return adjusted, with dividends and splits that the source delivers."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.bars import PRICES

View = Literal["as_traded", "split_adjusted", "total_return"]
VendorRule = Literal["total_return", "yahoo"]

LARGEST_SPLIT = 1e4
"""A factor beyond this, either way, is no split, and must not change the rows before it."""

VENDOR_DIGIT = 1e-6
"""Vendors tell prices to six decimals: small ones, after many splits, are rounded by more than a return's tolerance."""

Numbers = NDArray[np.float64]


def adjusted(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """Bars as traded seen in another way; columns as given, which need be those of a bars frame.

    `split_adjusted`: prices and dividends in the shares of each ticker's last row, volume too. `total_return`: prices
    scaled so that close / former close is the total return (close * split + dividend) / former close and the last
    close is unchanged; volume in the shares of the last row. An action that the prices now contain is taken out, so
    in every view (close * split + dividend) / former close is the same. adj_close stays as delivered.
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
        # a dividend is told per share before the split of its own day
        return frame.assign(**prices, dividend=dividend / (later * split))
    kept = _product_of_later(close / (close * split + dividend), begins)
    return frame.assign(**{name: frame[name] * kept for name in PRICES}, dividend=0.0)


def disagreements(rows: Mapping[str, Numbers] | pd.DataFrame, rule: VendorRule, tolerance: float) -> NDArray[np.bool_]:
    """Per row of one ticker whether adj_close tells another return than close, dividend and split, by a vendor's rule.

    `total_return`: adj_close / former adj_close is (close * split + dividend) / former close. `yahoo`: it is
    close * split / former close / (1 - dividend / former close). Rows that tell no adj_close are not compared. Beyond
    the tolerance (of the return) two prices each side may be off by half of the vendor's last digit.
    """
    close, split, dividend, told = (_column(rows, name) for name in ("close", "split", "dividend", "adj_close"))
    disagree = np.zeros(len(close), np.bool_)
    with np.errstate(all="ignore"):
        moved, paid = close[1:] * split[1:] / close[:-1], dividend[1:] / close[:-1]
        expected = moved + paid if rule == "total_return" else moved / (1.0 - paid)
        allowed = tolerance + VENDOR_DIGIT * (1.0 / told[1:] + 1.0 / told[:-1])
        off = np.abs(told[1:] / told[:-1] - expected) > allowed * np.maximum(1.0, expected)
    disagree[1:] = off & (told[1:] > 0) & (told[:-1] > 0)
    return disagree


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
    usable = np.where((factor >= 1.0 / LARGEST_SPLIT) & (factor <= LARGEST_SPLIT), factor, 1.0)
    return _product_of_later(usable, np.zeros(1, np.intp))


def _product_of_later(values: Numbers, begins: NDArray[np.intp]) -> Numbers:
    """Per row the product of the values of all rows after it, of the same ticker."""
    product = np.ones(len(values))
    for begin, end in zip(begins, [*begins[1:], len(values)], strict=True):
        product[begin : end - 1] = np.cumprod(values[begin + 1 : end][::-1])[::-1]
    return product


def _begins(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Each ticker's first row."""
    if "ticker" not in frame or frame.empty:
        return np.zeros(1, np.intp)
    codes, _ = pd.factorize(frame["ticker"])
    return np.append(0, np.flatnonzero(np.diff(codes)) + 1)


def _column(rows: Mapping[str, Numbers] | pd.DataFrame, name: str) -> Numbers:
    return np.asarray(rows[name], np.float64)


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

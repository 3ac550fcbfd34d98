"""The contract that one ticker's rows must meet: every rule, and for each the rows that break it.

A rule says about a row only what is known from that row and the rows before it, so that what happens later never
changes what was said about an earlier day.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.session_dates import SessionDates

POSITIVE = ("open", "high", "low", "close", "adj_close", "split")
NOT_NEGATIVE = ("volume", "dividend")
REQUIRED = ("session", "open", "high", "low", "close", "volume")

ROUNDING = 1e-6
"""Prices come rounded to float32 or to six or seven digits, open, high, low and close each by itself: a low may then
stand above its close by that much and nothing is wrong."""

DAYLIGHT_SAVING_MINUTES = 60.0
OLDEST = np.datetime64("1900-01-01")

Mask = NDArray[np.bool_]
Numbers = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Finding:
    """The rows that break one rule, how such a row is shown, and what the rule expects."""

    broken: Mask
    found: Callable[[int], str]
    expected: str


def column_fault(rows: pd.DataFrame) -> str:
    """What is wrong with the rows' columns as a whole; nothing where every required one is there once."""
    names = [str(name) for name in rows.columns]
    lacking = [name for name in REQUIRED if name not in names]
    twice = [name for name in (*POSITIVE, *NOT_NEGATIVE, "session") if names.count(name) > 1]
    return "; ".join([f"no column {name}" for name in lacking] + [f"column {name} more than once" for name in twice])


def numbers_of(rows: pd.DataFrame) -> Numbers:
    """The delivered number columns as floats, NaN where a cell holds no number."""
    return {name: _floats(rows[name]) for name in (*POSITIVE, *NOT_NEGATIVE) if name in rows}


def findings(rows: pd.DataFrame, dates: SessionDates, numbers: Numbers) -> list[Finding]:
    """Every rule's finding on the rows, in the order in which people would look."""
    with np.errstate(invalid="ignore", over="ignore"):
        return [
            _unreadable_dates(rows, dates),
            *_mixed_time_zones(dates),
            *_out_of_order(dates),
            *(_not_positive(rows, numbers, name) for name in POSITIVE if name in numbers),
            *(_negative(rows, numbers, name) for name in NOT_NEGATIVE if name in numbers),
            _high_too_low(numbers),
            _low_too_high(numbers),
        ]


def readable(dates: SessionDates) -> Mask:
    """Which rows have a date that can be a session."""
    return ~np.isnat(dates.day) & (dates.day >= OLDEST)


def _unreadable_dates(rows: pd.DataFrame, dates: SessionDates) -> Finding:
    written = rows["session"]
    return Finding(~readable(dates), lambda at: f"date {_shown(written.iloc[at])}", "a date such as 2024-01-02")


def _mixed_time_zones(dates: SessionDates) -> tuple[Finding, Finding]:
    known, aware = readable(dates), ~np.isnan(dates.offset)
    first_aware = bool(aware[known.argmax()]) if known.any() else False
    offset = np.where(known, dates.offset, np.nan)
    ahead, behind = np.fmax.accumulate(offset) - offset, offset - np.fmin.accumulate(offset)
    return (
        Finding(
            known & (aware != first_aware),
            lambda at: "a date with a time zone" if aware[at] else "a date without a time zone",
            f"all dates {'with' if first_aware else 'without'} a time zone, like the first",
        ),
        Finding(
            np.fmax(ahead, behind) > DAYLIGHT_SAVING_MINUTES,
            lambda at: f"UTC offset {dates.offset[at] / 60:+g} h",
            "one time zone: offsets at most an hour (daylight saving) from all before",
        ),
    )


def _out_of_order(dates: SessionDates) -> tuple[Finding, Finding]:
    known = readable(dates)
    days = np.where(known, dates.day, OLDEST).astype(np.int64)
    latest = np.append(np.iinfo(np.int64).min, np.maximum.accumulate(days)[:-1])[: len(days)]
    return (
        Finding(
            known & (days < latest),
            lambda at: f"{dates.day[at]} after {np.datetime64(int(latest[at]), 'D')}",
            "sessions in ascending order; sort the rows by date",
        ),
        Finding(
            known & (days == latest),
            lambda at: f"{dates.day[at]} a second time",
            "one row per session; remove one",
        ),
    )


def _not_positive(rows: pd.DataFrame, numbers: Numbers, name: str) -> Finding:
    values = numbers[name]
    broken = ~(np.isfinite(values) & (values > 0))
    return Finding(broken, lambda at: f"{name} {_shown(rows[name].iloc[at])}", f"a positive number as {name}")


def _negative(rows: pd.DataFrame, numbers: Numbers, name: str) -> Finding:
    values = numbers[name]
    broken = ~(np.isfinite(values) & (values >= 0))
    return Finding(broken, lambda at: f"{name} {_shown(rows[name].iloc[at])}", f"a number not below 0 as {name}")


def _high_too_low(numbers: Numbers) -> Finding:
    high = numbers["high"]
    top = np.maximum(np.maximum(numbers["open"], numbers["close"]), numbers["low"])
    broken = high < top * (1.0 - ROUNDING)
    return Finding(broken, lambda at: f"high {high[at]:g} below {top[at]:g}", "high not below open, low and close")


def _low_too_high(numbers: Numbers) -> Finding:
    low = numbers["low"]
    bottom = np.minimum(np.minimum(numbers["open"], numbers["close"]), numbers["high"])
    broken = low > bottom * (1.0 + ROUNDING)
    return Finding(broken, lambda at: f"low {low[at]:g} above {bottom[at]:g}", "low not above open, high and close")


def _floats(column: pd.Series) -> NDArray[np.float64]:
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    text = column.astype(object).map(str, na_action="ignore").astype("str")
    return pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _shown(cell: object) -> str:
    shown = ascii(cell) if isinstance(cell, str) else ascii(str(cell))[1:-1]
    return shown if len(shown) <= 40 else shown[:40] + "..."

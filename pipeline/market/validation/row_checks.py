"""Checks of each row by itself: prices, their order, volume and actions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.market.adjustment import MAX_SPLIT_FACTOR
from pipeline.market.bars import PRICES
from pipeline.market.validation.rows import MAX_PRICE, MIN_PRICE, CheckedRows, Rows, finding_at, quarantine_rows
from pipeline.market.validation.rules import Finding

ROUNDING = 1e-6
"""Prices come rounded to float32 or to six or seven digits, open, high, low and close each by itself: a low may then
lie above its close by that much without an error."""

SMALL_MISS = 0.005
"""A high or low that misses open or close by at most this share is moved to it."""

MAX_VOLUME = 1e18

BrokenRule = tuple[str, Booleans, Callable[[int], str]]
"""A rule, the rows [row] that break it, and a function that describes such a row."""


def quarantine_bad_rows(rows: Rows, adjusted_returns: bool) -> CheckedRows:
    """Return the rows that can be bars.

    `adjusted_returns`: returns are computed from adj_close, so a bad one is a fault of its row.
    """
    filled, blank_volume = _with_volume(rows)
    faults = [fault for fault in (*_price_faults(filled), *_number_faults(filled, adjusted_returns)) if fault[1].any()]
    if not faults:
        return filled, blank_volume
    bad = np.logical_or.reduce([broken for _, broken, _ in faults])
    findings = [
        Finding(rule, rows.session[broken], describe(int(broken.argmax()))) for rule, broken, describe in faults
    ]
    kept, carried = quarantine_rows(filled, bad)
    return kept, [*blank_volume, *findings, *carried]


def repair_high_low(rows: Rows) -> CheckedRows:
    """Return the rows with each high and low that misses open or close by a little moved to it."""
    top, bottom = _top(rows), _bottom(rows)
    high_off, low_off = rows["high"] < top * (1.0 - ROUNDING), rows["low"] > bottom * (1.0 + ROUNDING)
    missed = high_off | low_off
    if not missed.any():
        return rows, []
    moved = rows.changed(high=np.where(high_off, top, rows["high"]), low=np.where(low_off, bottom, rows["low"]))
    return moved, finding_at(rows, "high_low", missed, partial(_prices, rows))


def _with_volume(rows: Rows) -> CheckedRows:
    blank = np.isnan(rows["volume"])
    if not blank.any():
        return rows, []
    # a row without prices is quarantined as a whole, so its volume needs no repair
    priced = blank & ~np.isnan(rows["close"])
    repaired = finding_at(rows, "blank_volume", priced, lambda _: "a blank")
    return rows.changed(volume=np.where(blank, 0.0, rows["volume"])), repaired


def _price_faults(rows: Rows) -> list[BrokenRule]:
    proper = _proper_prices(rows)
    if proper.all():
        return []
    blank = np.logical_and.reduce([np.isnan(rows[name]) for name in PRICES])
    bad = np.logical_or.reduce([~_is_price(rows[name]) for name in PRICES])
    return [
        ("blank", blank, lambda _: "no prices"),
        ("price", bad & ~blank, lambda row: _first_bad_price(rows, row)),
        ("price_order", ~proper & ~bad, lambda row: _prices(rows, row)),
    ]


def _proper_prices(rows: Rows) -> Booleans:
    """Return which rows [row] have prices within bounds, and in order but for a small miss; blank rows do not."""
    high, low = rows["high"], rows["low"]
    reached = (high >= _top(rows) * (1.0 - SMALL_MISS)) & (low <= _bottom(rows) * (1.0 + SMALL_MISS))
    within = (low >= MIN_PRICE) & (high <= MAX_PRICE) & (_bottom(rows) >= MIN_PRICE) & (_top(rows) <= MAX_PRICE)
    proper: Booleans = reached & within
    return proper


def _number_faults(rows: Rows, adjusted_returns: bool) -> list[BrokenRule]:
    volume, dividend, split = rows["volume"], rows["dividend"], rows["split"]
    checks = {
        "volume": (volume >= 0) & (volume <= MAX_VOLUME),
        "dividend": (dividend >= 0) & (dividend < MAX_PRICE),
        "split": (split >= 1.0 / MAX_SPLIT_FACTOR) & (split <= MAX_SPLIT_FACTOR),
    }
    if adjusted_returns and "adj_close" in rows.columns:
        checks["adj_close"] = _is_price(rows["adj_close"])
    return [(name, ~passed, _describe(rows, name)) for name, passed in checks.items() if not passed.all()]


def _describe(rows: Rows, name: str) -> Callable[[int], str]:
    return lambda row: f"{name} {float(rows[name][row])}"


def _first_bad_price(rows: Rows, row: int) -> str:
    bad = rows.at(slice(row, row + 1))
    return ", ".join(f"{name} {float(bad[name][0])}" for name in PRICES if not _is_price(bad[name])[0])


def _prices(rows: Rows, row: int) -> str:
    return ", ".join(f"{name} {rows[name][row]:g}" for name in PRICES)


def _is_price(values: Floats) -> Booleans:
    priced: Booleans = (values >= MIN_PRICE) & (values <= MAX_PRICE)
    return priced


def _top(rows: Rows) -> Floats:
    return np.maximum(rows["open"], rows["close"])


def _bottom(rows: Rows) -> Floats:
    return np.minimum(rows["open"], rows["close"])

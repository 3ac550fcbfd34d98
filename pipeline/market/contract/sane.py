"""Each row by itself: prices, their order, volume and actions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.market.adjustment import LARGEST_SPLIT
from pipeline.market.bars import PRICES
from pipeline.market.contract.rows import HIGHEST, LOWEST, Judged, Mask, Rows, found_at, without
from pipeline.market.contract.rules import Finding

ROUNDING = 1e-6
"""Prices come rounded to float32 or to six or seven digits, open, high, low and close each by itself: a low may then
stand above its close by that much and nothing is wrong."""

SMALL_MISS = 0.005
"""A high or low that misses open or close by at most this share is moved to it."""

LARGEST_VOLUME = 1e18

Fault = tuple[str, Mask, Callable[[int], str]]
"""A rule, the rows that break it, and how such a row is shown."""


def sane(rows: Rows, adjusted_returns: bool) -> Judged:
    """The rows that can be bars; `adjusted_returns`: returns are computed from adj_close, so it has to be sound."""
    filled, blank_volume = _with_volume(rows)
    faults = _faults(filled, adjusted_returns)
    if not faults:
        return filled, blank_volume
    aside = np.logical_or.reduce([broken for _, broken, _ in faults])
    found = [Finding(rule, rows.session[broken], shown(int(broken.argmax()))) for rule, broken, shown in faults]
    kept, carried = without(filled, aside)
    return kept, [*blank_volume, *found, *carried]


def in_order(rows: Rows) -> Judged:
    """The sane rows with each high and low that misses open or close by little moved to it."""
    top, bottom = _top(rows), _bottom(rows)
    high_off, low_off = rows["high"] < top * (1.0 - ROUNDING), rows["low"] > bottom * (1.0 + ROUNDING)
    missed = high_off | low_off
    if not missed.any():
        return rows, []
    moved = rows.changed(high=np.where(high_off, top, rows["high"]), low=np.where(low_off, bottom, rows["low"]))
    return moved, found_at(rows, "high_low", missed, partial(_prices, rows))


def _with_volume(rows: Rows) -> Judged:
    blank = np.isnan(rows["volume"])
    if not blank.any():
        return rows, []
    # a row without prices is put aside as a whole: its volume is not worth a word
    priced = blank & ~np.isnan(rows["close"])
    told = found_at(rows, "blank_volume", priced, lambda _: "a blank")
    return rows.changed(volume=np.where(blank, 0.0, rows["volume"])), told


def _faults(rows: Rows, adjusted_returns: bool) -> list[Fault]:
    """The rules on one row that rows break, in the order in which people would look."""
    faults = [*_price_faults(rows), *_number_faults(rows, adjusted_returns)]
    return [fault for fault in faults if fault[1].any()]


def _price_faults(rows: Rows) -> list[Fault]:
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


def _proper_prices(rows: Rows) -> Mask:
    """Which rows have prices within bounds, and in order but for a small miss; blanks are not."""
    high, low = rows["high"], rows["low"]
    reached = (high >= _top(rows) * (1.0 - SMALL_MISS)) & (low <= _bottom(rows) * (1.0 + SMALL_MISS))
    within = (low >= LOWEST) & (high <= HIGHEST) & (_bottom(rows) >= LOWEST) & (_top(rows) <= HIGHEST)
    proper: Mask = reached & within
    return proper


def _number_faults(rows: Rows, adjusted_returns: bool) -> list[Fault]:
    volume, dividend, split = rows["volume"], rows["dividend"], rows["split"]
    checks = {
        "volume": (volume >= 0) & (volume <= LARGEST_VOLUME),
        "dividend": (dividend >= 0) & (dividend < HIGHEST),
        "split": (split >= 1.0 / LARGEST_SPLIT) & (split <= LARGEST_SPLIT),
    }
    if adjusted_returns and "adj_close" in rows.columns:
        checks["adj_close"] = _is_price(rows["adj_close"])
    return [(name, ~sound, _shown(rows, name)) for name, sound in checks.items() if not sound.all()]


def _shown(rows: Rows, name: str) -> Callable[[int], str]:
    return lambda row: f"{name} {float(rows[name][row])}"


def _first_bad_price(rows: Rows, row: int) -> str:
    one = rows.at(slice(row, row + 1))
    return ", ".join(f"{name} {float(one[name][0])}" for name in PRICES if not _is_price(one[name])[0])


def _prices(rows: Rows, row: int) -> str:
    return ", ".join(f"{name} {rows[name][row]:g}" for name in PRICES)


def _is_price(values: np.ndarray) -> Mask:
    priced: Mask = (values >= LOWEST) & (values <= HIGHEST)
    return priced


def _top(rows: Rows) -> np.ndarray:
    return np.maximum(rows["open"], rows["close"])


def _bottom(rows: Rows) -> np.ndarray:
    return np.minimum(rows["open"], rows["close"])
